"""Plan an experiment from the history of its use case: how many units, how many weeks, or what can be seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, inf, isnan, sqrt
from typing import Any, get_args

from mlprod_tasks.declaration import Experiments, Pipeline, Schedule, TickRange, UnitMetric
from mlprod_tasks.declaration.experiment import Design, Rows, Then
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.experiments.assignment import Variant, column_of_unit, unit_columns
from mlprod_tasks.experiments.metric_sql import MetricFailed, null_for_all
from mlprod_tasks.experiments.scored_rows import SOURCES
from mlprod_tasks.experiments.units import UNITS, delay_ticks, is_summed, moments, moments_of, open_units, opened
from mlprod_tasks.platform import Platform
from mlprod_tasks.statistics import sequential
from mlprod_tasks.statistics.sample_size import smallest_difference, units_for_means
from mlprod_tasks.statistics.treatment_effect import Moments, explained

MOST_PERIODS = 26


class CannotPlan(ValueError):
    """The experiment cannot be planned; the message says why, and what would be possible."""


@dataclass(frozen=True)
class Wanted:
    """What an experiment is to show.

    metric: the name of the primary metric; difference: the smallest difference that matters, in the metric's unit; alpha: the
    probability of a false alarm; power: of finding that difference; design: when it may be read; rows: whether units are
    compared by what was scored in batch, or by what was answered on request. Both are assigned. then: what follows a verdict:
    'nothing': units keep their variants to the planned end; 'take_back': the champion answers all again; 'promote': the winner
    becomes champion, by the gates of any promotion, and else as 'take_back'. fresh: whether only units count that have no row
    before the start: they are not used to what was. All are assigned. traffic: the share of the units that take part, above 0
    and at most 1; the others are the champion's, or those of other experiments that run at once.
    """

    metric: str
    difference: float
    alpha: float = 0.05
    power: float = 0.8
    design: Design = "fixed"
    rows: Rows = "batch"
    then: Then = "nothing"
    fresh: bool = False
    traffic: float = 1.0


@dataclass(frozen=True)
class Usual:
    """What units did in as much history as the experiment lasts.

    first, last: the ticks of that history; units; mean: of the metric; sd: of a unit. Of a quantile,
    itself and its standard error times the root of the units. explained: the share of the variance that covariates explain.
    """

    first: TickName
    last: TickName
    units: int
    mean: float
    sd: float
    explained: float = 0.0

    @property
    def left(self) -> float:
        """The standard deviation that covariates leave."""
        return self.sd * sqrt(1 - self.explained)


@dataclass(frozen=True)
class Unadjusted:
    """What an experiment would need if its verdict were not adjusted for covariates.

    units: in the smallest variant; periods: until they are there, None if that is longer than the history, or than was asked
    for.
    """

    units: int
    periods: int | None


@dataclass(frozen=True)
class Plan:
    """An experiment, as planned before its first row.

    periods: how long units are assigned, in weeks, or months if there is no tick a week; units: how many the smallest variant
    needs; expected: how many it will have; seen: the smallest difference that so many show with the planned power.
    covariates: features that the verdict is adjusted for, so that fewer units are needed; unadjusted: without them, None if
    there are none.
    """

    wanted: Wanted
    variants: tuple[Variant, ...]
    periods: int
    units: int
    expected: int
    seen: float
    usual: Usual
    covariates: tuple[str, ...] = ()
    unadjusted: Unadjusted | None = None

    @property
    def control(self) -> Variant:
        return self.variants[0]

    @property
    def treated(self) -> tuple[Variant, ...]:
        return self.variants[1:]

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        plain = asdict(self)
        plain["usual"] |= {"first": str(self.usual.first), "last": str(self.usual.last)}
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Plan:
        """Read what `as_json` wrote."""
        usual = dict(plain["usual"])
        usual |= {name: tick_named(usual[name]) for name in ("first", "last")}
        read: dict[str, Any] = {
            "wanted": Wanted(**plain["wanted"]), "variants": tuple(Variant(**one) for one in plain["variants"]),
            "usual": Usual(**usual), "covariates": tuple(plain.get("covariates", ())),
        }  # fmt: skip
        if (without := plain.get("unadjusted")) is not None:
            read["unadjusted"] = Unadjusted(**without)
        return cls(**{**plain, **read})


def plan(
    pipeline: Pipeline, wanted: Wanted, variants: Sequence[Variant], platform: Platform, *, periods: int | None = None
) -> Plan:
    """Plan an experiment from the scored rows and outcomes of the last weeks.

    variants: the control first. periods: how many weeks it may last, or months if there is no tick a week; None: as short as it
    can be. They are whole, so that each weekday counts alike.

    Raises: CannotPlan.
    """
    metric = _checked(pipeline, wanted, variants)
    if periods is not None and not 1 <= periods <= MOST_PERIODS:
        raise CannotPlan(f"{format_count(periods, pipeline.schedule.period)}: give 1 to {MOST_PERIODS}")
    shortest: Plan | None = None
    enough: Plan | None = None
    longest = periods or MOST_PERIODS
    for length in range(longest if periods else 1, longest + 1):
        # Who is new can only be told from the period before.
        history = _history(pipeline, wanted.rows, length, platform, before=int(wanted.fresh))
        if history is None:
            break
        shortest = _of_length(pipeline, wanted, metric, tuple(variants), length, history, platform)
        if enough is None and shortest.expected >= shortest.units:
            enough = shortest
        if enough is not None and (without := shortest.unadjusted) is None:
            return enough
        if enough is not None and without is not None and shortest.expected >= without.units:
            assert enough.unadjusted is not None
            return replace(enough, unadjusted=replace(enough.unadjusted, periods=length))
    if enough is not None:
        return enough
    raise CannotPlan(_too_little(pipeline, wanted, metric, shortest, periods))


def _of_length(
    pipeline: Pipeline,
    wanted: Wanted,
    metric: UnitMetric,
    variants: tuple[Variant, ...],
    length: int,
    history: TickRange,
    platform: Platform,
) -> Plan:
    """The plan of an experiment of so many periods, whether they are enough or not."""
    covariates = declared(pipeline).covariates if is_summed(metric) else ()
    units = _units(pipeline, wanted, metric, covariates, history, platform)
    try:
        return _planned(wanted, variants, length, history, units, metric, covariates)
    except CannotPlan:
        raise
    except ValueError as error:  # of the numbers together, such as a difference that no number of units shows
        raise CannotPlan(f"metric {metric.name!r}: {error}") from error


def declared(pipeline: Pipeline) -> Experiments:
    """Return what experiments of a use case are judged by. Raises: CannotPlan."""
    if pipeline.experiments is None:
        raise CannotPlan(f"{pipeline.name} declares no `experiments`: declare ml.Experiments(metrics=...) first")
    return pipeline.experiments


def looks(design: str, periods: int) -> tuple[float, ...]:
    """The planned shares of the information at each look: one at the end, or one a period."""
    return tuple((one + 1) / periods for one in range(periods)) if design in sequential.SPENDING else (1.0,)


def ticks_a_period(schedule: Schedule) -> int:
    """How many ticks a week has; 1 if they are further apart."""
    return schedule.ticks_a_week or 1


def _checked(pipeline: Pipeline, wanted: Wanted, variants: Sequence[Variant]) -> UnitMetric:
    metric = _metric(declared(pipeline), wanted.metric)
    if wanted.design not in get_args(Design):
        raise CannotPlan(f"design {wanted.design!r}: there are {', '.join(get_args(Design))}")
    if wanted.rows not in get_args(Rows):
        raise CannotPlan(f"rows {wanted.rows!r}: there are {', '.join(get_args(Rows))}")
    if wanted.then not in get_args(Then):
        raise CannotPlan(f"then {wanted.then!r}: there are {', '.join(get_args(Then))}")
    for one in variants[1:] if wanted.then == "promote" else ():
        if one.held_out or one.threshold is not None:
            raise CannotPlan(f"variant {one.name!r} is no version of its own, so it cannot be promoted: plan 'take_back'")
    if wanted.fresh and pipeline.population is None and unit_columns(pipeline) == pipeline.entity_table.key:
        raise CannotPlan("a unit is a row, and each is new: leave `fresh` out, or declare a `unit` that comes again")
    if wanted.rows == "requests":
        check_unit_of_requests(pipeline)
    if not 0 < wanted.traffic <= 1:
        raise CannotPlan(f"traffic {wanted.traffic}: give the share of the units that take part, above 0 and at most 1")
    if not 0 < wanted.difference < inf:
        raise CannotPlan(f"the smallest difference that matters is {wanted.difference}: give a number above 0")
    for name, value in (("alpha", wanted.alpha), ("power", wanted.power)):
        if not 0 < value < 1:
            raise CannotPlan(f"{name} {value} must lie between 0 and 1")
    if not wanted.power > wanted.alpha:
        raise CannotPlan(f"power {wanted.power} must be above alpha {wanted.alpha}: chance alone finds a difference that often")
    if len(variants) < 2:
        raise CannotPlan("an experiment needs at least two variants")
    if len({one.name for one in variants}) < len(variants):
        raise CannotPlan(f"two variants are the same: {', '.join(one.name for one in variants)}")
    if min(one.share for one in variants) <= 0 or abs(sum(one.share for one in variants) - 1) > 1e-9:
        raise CannotPlan("the shares of the variants must be above 0 and add up to 1")
    return metric


def check_unit_of_requests(pipeline: Pipeline) -> None:
    """Raise CannotPlan if a request's unit is not known before features are looked up."""
    for name in unit_columns(pipeline):
        if column_of_unit(pipeline, name) is None:
            raise CannotPlan(
                f"unit {name!r} is looked up or computed, and requests are assigned before that: experiments and bandits of "
                "requests need a unit of columns that the scored row has"
            )


def _metric(experiments: Experiments, name: str) -> UnitMetric:
    try:
        return experiments.metric(name)
    except KeyError:
        there = ", ".join(metric.name for metric in experiments.metrics)
        raise CannotPlan(f"metric {name!r} is not declared; metrics are {there}") from None


def _history(pipeline: Pipeline, rows: Rows, periods: int, platform: Platform, before: int = 0) -> TickRange | None:
    """The last periods of ticks that are scored, and whose outcomes are complete by now.

    None if there are not as many, or no `before` more periods before them.
    """
    schedule, name = pipeline.schedule, SOURCES[rows].table(pipeline)
    if not platform.lake.exists(name):
        return None
    complete = schedule.shift(schedule.last_at(platform.clock.now()).name, -delay_ticks(pipeline))
    scored = {day for day in platform.lake.ticks(name) if day <= complete}
    if not scored:
        return None
    last = max(scored)
    first = schedule.shift(last, 1 - periods * ticks_a_period(schedule))
    needed = schedule.shift(last, 1 - (periods + before) * ticks_a_period(schedule))
    return schedule.range(first, last) if needed >= min(scored) else None


def _units(
    pipeline: Pipeline,
    wanted: Wanted,
    metric: UnitMetric,
    covariates: tuple[str, ...],
    history: TickRange,
    platform: Platform,
) -> Moments:
    """The moments of the metric, and of the covariates after it, over all units of the history."""
    with opened(platform) as con:
        as_of = pipeline.schedule.last_at(platform.clock.now())
        new_since = history.first if wanted.fresh else None
        try:
            open_units(
                con, pipeline, (metric,), history, as_of, platform, rows=wanted.rows, new_since=new_since, covariates=covariates
            )
        except MetricFailed as error:
            raise CannotPlan(str(error)) from error
        if null := null_for_all(con, (metric,), UNITS):
            raise CannotPlan(f"{pipeline.name}: {history}: {null[metric.name]}")
        known = [f"c{j}" for j, _ in enumerate(covariates)]
        found = moments_of(con, ("a0", *known)) if known else moments(con, 0, metric)
    nothing = f"{pipeline.name}: no row of {history} has an outcome{' of a new unit' if wanted.fresh else ''}"
    if "" not in found or found[""].n < 2:
        raise CannotPlan(nothing)
    return found[""]


def _planned(
    wanted: Wanted,
    variants: tuple[Variant, ...],
    periods: int,
    history: TickRange,
    units: Moments,
    metric: UnitMetric,
    covariates: tuple[str, ...],
) -> Plan:
    mean, sd = _mean_and_sd(units, metric)
    if isnan(sd):
        raise CannotPlan(f"metric {metric.name!r}: {format_count(units.n, 'unit')} of {history} are too few for that quantile")
    if not sd > 0:
        raise CannotPlan(
            f"metric {metric.name!r} is {format_number(mean)} for all {units.n:,} units of {history}: nothing can differ"
        )
    usual = Usual(history.first, history.last, units.n, mean, sd, explained(units) if covariates else 0.0)
    there = units.n * wanted.traffic
    needed, seen = _needed_and_seen(wanted, variants, periods, usual.left, there)
    without = None
    if covariates:
        without = Unadjusted(ceil(_needed_and_seen(wanted, variants, periods, sd, there)[0]), None)
    expected = int(there * min(one.share for one in variants))
    return Plan(wanted, variants, periods, ceil(needed), expected, seen, usual, covariates, without)


def _needed_and_seen(
    wanted: Wanted, variants: tuple[Variant, ...], periods: int, sd: float, there: float
) -> tuple[float, float]:
    """How many units the smallest variant needs, and the smallest difference that those that are `there` show."""
    control, smallest = variants[0].share, min(one.share for one in variants[1:])
    # Each of several variants is compared with the control: Holm's first step must be passed.
    alpha = wanted.alpha / (len(variants) - 1)
    factor = inflation(wanted.design, periods, alpha, wanted.power)
    needed = factor * units_for_means(wanted.difference, sd, alpha=alpha, power=wanted.power, ratio=control / smallest)
    if min(control, smallest) == control:
        needed *= control / smallest
    seen = smallest_difference(
        sd, max(2.0, there * smallest / factor), max(2.0, there * control / factor), alpha=alpha, power=wanted.power
    )
    return needed, seen


def _mean_and_sd(units: Moments, metric: UnitMetric) -> tuple[float, float]:
    if metric.of != "ratio":
        return float(units.mean[0]), sqrt(float(units.covariance[0, 0]))
    above, below = (float(one) for one in units.mean)
    if below == 0:
        raise CannotPlan(f"metric {metric.name!r}: the denominator is 0 for all units")
    ratio = above / below
    (aa, ab), (_, bb) = units.covariance
    return ratio, sqrt(max(0.0, float(aa - 2 * ratio * ab + ratio**2 * bb))) / abs(below)


def inflation(design: str, periods: int, alpha: float, power: float) -> float:
    """How many more units a design needs than one that is read once, at its end."""
    from scipy import stats

    once = float(stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power))
    if design == "fixed":
        return 1.0
    if design == "always_valid":
        # Its width at the end decides; that it may end earlier is for free.
        at_end = sequential.always_valid_half(1.0, 1.0, 1.0, alpha)
        return ((at_end + float(stats.norm.isf(1 - power))) / once) ** 2
    shares = looks(design, periods)
    return (sequential.drift_for(shares, sequential.bounds(shares, alpha, design), power) / once) ** 2


def _too_little(pipeline: Pipeline, wanted: Wanted, metric: UnitMetric, longest: Plan | None, periods: int | None) -> str:
    unit, period = f" {metric.unit}" if metric.unit else "", pipeline.schedule.period
    if longest is None:
        least = format_count((periods or 1) + wanted.fresh, f"whole {period}")
        return f"{pipeline.name}: {least} of scored ticks with complete outcomes are needed to plan, and there are less"
    return (
        f"{pipeline.name}: a difference of {format_number(wanted.difference)}{unit} in {metric.name} needs {longest.units:,} "
        f"units in the smallest variant; {format_count(longest.periods, period)} have {longest.expected:,}, which show a "
        f"difference of {format_number(longest.seen)}{unit}. Ask for a greater difference, "
        + (f"or more {period}s" if periods else "or plan again when there is more history")
    )
