"""Read an experiment: its units, what was compared, the verdict; and keep it in the ledger. A verdict stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline, Tick, TickRange, UnitMetric
from mlprod_tasks.documents.formatting import format_count, format_interval, format_number, p_value
from mlprod_tasks.experiments.assignment import unit_columns
from mlprod_tasks.experiments.checks import problems, sample_ratio
from mlprod_tasks.experiments.compare import Compared, Looked, compare, for_several
from mlprod_tasks.experiments.looks import Look, bound, complete_ticks, information, planned_looks
from mlprod_tasks.experiments.metric_sql import MetricFailed, null_for_all
from mlprod_tasks.experiments.novelty import Novelty, novelty
from mlprod_tasks.experiments.plan import Plan, ticks_a_period
from mlprod_tasks.experiments.run import last_of, plan_of, stop
from mlprod_tasks.experiments.units import UNITS, is_summed, moments, moments_of, open_units, opened
from mlprod_tasks.experiments.verdict import ENDED, HARMFUL, RUNNING, VOID, decide
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from mlprod_tasks.statistics.treatment_effect import Moments

if TYPE_CHECKING:
    import duckdb

BEFORE, BOTH = "units_before", "units_both"
GUARDRAIL = "guardrail"  # who ends an experiment that does harm
NULL_ROWS = 30  # without a value of a metric: less may just have none


@dataclass(frozen=True)
class Reading:
    """What an experiment shows at a tick.

    first, last: the ticks whose rows were read; last is None while no outcome is complete.
    verdict: 'running', 'better' or 'worse' of the winner or loser, 'no difference', 'harmful' by a guardrail, 'void', or
    'ended' by a person before there was a verdict.
    look: the share of the planned time at which a verdict could be given; None if there could be none.
    rows: scored rows of each variant, and how many of them have no outcome yet; units: those with an outcome.
    decided: the variant that is better or worse. final: whether the verdict stays, whatever comes later.
    novelty: how differences change with exposure, of units that come again. sample_ratio: how likely chance gives numbers of
    units so far from the planned shares. untold: of each metric that does not decide and has no difference to test, why.
    """

    tick: str
    first: str
    last: str | None
    verdict: str
    sentence: str
    look: float | None
    rows: dict[str, tuple[int, int]]
    units: dict[str, int]
    compared: tuple[Compared, ...]
    problems: tuple[str, ...]
    final: bool = False
    novelty: tuple[Novelty, ...] = ()
    decided: str | None = None
    sample_ratio: float | None = None
    untold: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The reading as plain JSON values."""
        shown = [{**asdict(one), "sentence": one.sentence} for one in self.novelty]
        return {**asdict(self), "novelty": shown}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Reading:
        """Read what `as_json` wrote."""
        rows = {variant: (int(n), int(missing)) for variant, (n, missing) in plain["rows"].items()}
        compared = tuple(Compared(**one) for one in plain["compared"])
        shown = tuple(Novelty.from_json(one) for one in plain.get("novelty", ()))
        words = {name: tuple(plain.get(name, ())) for name in ("problems", "untold")}
        return cls(**{**plain, **words, "rows": rows, "compared": compared, "novelty": shown})


def read_out(pipeline: Pipeline, run: ExperimentRun, tick: Tick, platform: Platform) -> Reading:
    """Read an experiment from the outcomes known before a tick, and record what it shows.

    Looks of the design that are due and were not recorded yet come first, in their order, each with the outcomes that were
    known when it was due; so the verdict is the same whoever reads the experiment, when and how often. Once there is a verdict,
    it stays, and is returned. What a guardrail finds harmful is ended.
    """
    recorded = _recorded(pipeline, run, platform)
    if (verdict := _final(recorded)) is not None:
        return verdict
    if (sentence := _undeclared(pipeline, run)) is not None:
        shown = Reading(str(tick), str(run.starts), None, VOID, sentence, None, {}, {}, (), (sentence,))
        return _kept(pipeline, run, shown, platform)
    complete = complete_ticks(pipeline, run, tick, platform)
    seen: list[Reading] = []
    for look in planned_looks(pipeline, run):
        if complete is None or look.ticks.last > complete.last or look.tick > tick.name:
            break
        known = recorded.get(str(look.tick))
        if known is None or known.look is None:
            at = pipeline.schedule.tick(look.tick)
            known = _kept(pipeline, run, _read(pipeline, run, at, look.ticks, look, seen, platform), platform)
        if known.final:
            return known
        seen.append(known)
    if seen and seen[-1].tick == str(tick):
        return seen[-1]
    return _kept(pipeline, run, _read(pipeline, run, tick, complete, None, seen, platform), platform)


def _undeclared(pipeline: Pipeline, run: ExperimentRun) -> str | None:
    """What the plan names and the declaration lacks; None if it has all."""
    planned = plan_of(run)
    metric = planned.wanted.metric
    known = () if pipeline.experiments is None else pipeline.experiments.metrics
    if not any(one.name == metric for one in known):
        return (
            f"{pipeline.name} does not declare metric {metric!r} any more, by which {run.name!r} is decided: declare it again"
        )
    for name in planned.covariates:
        if name not in pipeline.feature_names:
            return f"{pipeline.name} has no feature {name!r} any more, for which {run.name!r} is adjusted: declare it again"
    return None


def verdict_of(pipeline: Pipeline, run: ExperimentRun, platform: Platform) -> Reading | None:
    """The reading that gave the verdict of an experiment; None if it has none yet."""
    return _final(_recorded(pipeline, run, platform))


def _recorded(pipeline: Pipeline, run: ExperimentRun, platform: Platform) -> dict[str, Reading]:
    """What an experiment showed so far, by tick."""
    readings = platform.ledger.all(ExperimentReading, pipeline=pipeline.name, name=run.name)
    return {str(one.tick): Reading.from_json(one.reading) for one in sorted(readings, key=lambda one: one.tick)}


def _final(recorded: Mapping[str, Reading]) -> Reading | None:
    return next((one for one in recorded.values() if one.final), None)


def _kept(pipeline: Pipeline, run: ExperimentRun, reading: Reading, platform: Platform) -> Reading:
    """Record a reading, and end an experiment that does harm."""
    platform.ledger.put(
        ExperimentReading(
            pipeline=pipeline.name, name=run.name, tick=pipeline.schedule.tick(reading.tick).name, at=platform.clock.now(),
            verdict=reading.verdict, look=reading.look, reading=reading.as_json(),
        )
    )  # fmt: skip
    if reading.verdict == HARMFUL and run.ended is None:
        stop(pipeline, run.name, GUARDRAIL, reading.sentence, platform)
    return reading


def _read(
    pipeline: Pipeline,
    run: ExperimentRun,
    tick: Tick,
    ticks: TickRange | None,
    look: Look | None,
    seen: Sequence[Reading],
    platform: Platform,
) -> Reading:
    """Read rows of `ticks` with the outcomes known before `tick`. seen: the looks before this one."""
    first, over = str(run.starts), _is_over(pipeline, run, ticks)
    if ticks is None:
        verdict, sentence = (ENDED, _ended(run)) if over else (RUNNING, "no outcome is complete yet")
        return Reading(str(tick), first, None, verdict, sentence, None, {}, {}, (), (), over)
    reading = Reading(str(tick), first, str(ticks.last), VOID, "", None, {}, {}, (), ())
    try:
        reading = _measured(pipeline, run, tick, ticks, look, seen, reading, platform)
    except MetricFailed as error:
        reading = replace(reading, sentence=str(error), problems=(str(error),))
    if over and reading.verdict == RUNNING:
        reading = replace(reading, verdict=ENDED, sentence=_ended(run))
    return replace(reading, final=over or reading.verdict not in (RUNNING, VOID))


def _is_over(pipeline: Pipeline, run: ExperimentRun, ticks: TickRange | None) -> bool:
    """Whether nothing more will come: the outcomes of its last row are complete."""
    last = last_of(pipeline, run)
    return last < run.starts or (ticks is not None and ticks.last >= last)


def _ended(run: ExperimentRun) -> str:
    why = f": {run.end_reason}" if run.end_reason else ""
    return f"{run.ended_by} ended it before there was a verdict{why}"


def _measured(
    pipeline: Pipeline,
    run: ExperimentRun,
    tick: Tick,
    ticks: TickRange,
    look: Look | None,
    seen: Sequence[Reading],
    reading: Reading,
    platform: Platform,
) -> Reading:
    planned = plan_of(run)
    assert pipeline.experiments is not None
    metrics = pipeline.experiments.metrics
    primary = pipeline.experiments.metric(planned.wanted.metric)
    with opened(platform) as con:
        position, covariates = metrics.index(primary), planned.covariates or pipeline.experiments.covariates
        again = None if _once(pipeline) or not is_summed(primary) else position
        rows = open_units(
            con,
            pipeline,
            metrics,
            ticks,
            tick,
            platform,
            experiment=run.name,
            rows=planned.wanted.rows,
            new_since=run.starts if planned.wanted.fresh else None,
            by_tick=again,
            covariates=covariates,
            variants=[one.name for one in planned.variants],
        )
        if not rows:
            sentence = f"no row of {ticks} was assigned"
            return replace(reading, sentence=sentence, problems=(sentence,))
        before = _before(con, pipeline, planned, primary, position, run, platform)
        _, ratio = sample_ratio(con, planned)
        null = null_for_all(con, metrics, UNITS)
        wrong = (
            *problems(con, pipeline, planned, run, ticks, rows, before, platform),
            *_null(pipeline, primary, null, sum(n - waiting for n, waiting in rows.values())),
        )
        found = {one.name: moments(con, i, one) for i, one in enumerate(metrics)}
        known = [f"c{j}" for j, _ in enumerate(covariates)]
        covariate = moments_of(con, ("a", "x", *known), BOTH) if before else {}
        if known and (planned.covariates or not before) and is_summed(primary):  # a verdict is about all units
            covariate = moments_of(con, (f"a{position}", *known))
        shown = novelty(con, pipeline, planned, primary, ticks) if again is not None and found[primary.name] else ()
    units = {variant: one.n for variant, one in found[primary.name].items()}
    time, looked = _looked(pipeline, run, planned, ticks, look, seen, units)
    compared = for_several(list(compare(metrics, primary, planned, found, covariate, looked)), primary)
    decided = decide(pipeline, planned, primary, compared, wrong, looked, units)
    return replace(
        reading,
        verdict=decided.verdict,
        sentence=decided.sentence,
        decided=decided.variant,
        look=time,
        rows=rows,
        units=units,
        compared=compared,
        problems=wrong,
        novelty=shown,
        sample_ratio=ratio,
        untold=_untold(metrics, primary, compared, null) if units else (),
    )


def _null(pipeline: Pipeline, primary: UnitMetric, null: Mapping[str, str], rows: int) -> list[str]:
    """What voids the experiment of metrics that are null in all rows: one that decides, or that a guardrail watches."""
    assert pipeline.experiments is not None
    deciding = {primary.name, *(one.metric for one in pipeline.experiments.guardrails)}
    return [why for name, why in null.items() if name in deciding] if rows >= NULL_ROWS else []


def _untold(
    metrics: Sequence[UnitMetric], primary: UnitMetric, compared: Sequence[Compared], null: Mapping[str, str]
) -> tuple[str, ...]:
    """Why metrics that do not decide have no difference to test, each in a sentence."""
    told = {primary.name, *(one.metric for one in compared)}
    alike = "metric {!r} has no difference to test: all units are alike, or a variant has too few"
    return tuple(null.get(one.name, alike.format(one.name)) for one in metrics if one.name not in told)


def _looked(
    pipeline: Pipeline,
    run: ExperimentRun,
    planned: Plan,
    ticks: TickRange,
    look: Look | None,
    seen: Sequence[Reading],
    units: dict[str, int],
) -> tuple[float | None, Looked | None]:
    """The share of the planned time, and what a verdict may rest on; None each if there may be no verdict now."""
    if planned.wanted.design == "always_valid" and len(ticks) >= ticks_a_period(pipeline.schedule):
        whole = planned.periods * ticks_a_period(pipeline.schedule)
        return len(ticks) / whole, Looked(None, ticks.last >= run.ends)
    if look is None:
        return None, None
    at_end = look.time == 1
    if planned.wanted.design == "fixed":
        return look.time, Looked(None, at_end)
    before = [(one.look, information(planned, one.units)) for one in seen if one.look is not None]
    return look.time, Looked(bound(planned, (*before, (look.time, information(planned, units)))), at_end)


def _once(pipeline: Pipeline) -> bool:
    """Whether units are rows that come once, so that nothing is known of them before, and nothing changes with exposure."""
    return pipeline.population is None and unit_columns(pipeline) == pipeline.entity_table.key


def _before(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    planned: Plan,
    primary: UnitMetric,
    position: int,
    run: ExperimentRun,
    platform: Platform,
) -> dict[str, Moments]:
    """The primary metric's moments before the start, by variant, of units that were there; {} if units do not come again."""
    schedule = pipeline.schedule
    first = max(schedule.first, schedule.shift(run.starts, -planned.periods * ticks_a_period(schedule)))
    if _once(pipeline) or first >= run.starts or not is_summed(primary) or planned.wanted.fresh:
        return {}
    history = schedule.range(first, schedule.shift(run.starts, -1))
    as_of = schedule.tick(run.starts)
    open_units(con, pipeline, (primary,), history, as_of, platform, rows=planned.wanted.rows, table=BEFORE)
    same = " AND ".join(f"now.u{i} = past.u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    con.execute(
        f"CREATE TABLE {BOTH} AS SELECT now.* EXCLUDE (a{position}), now.a{position} AS a, past.a0 AS x FROM units AS now "
        f"JOIN {BEFORE} AS past ON {same}"
    )
    return moments_of(con, ("x",), BOTH)


def told(run: ExperimentRun, reading: Reading) -> str:
    """Tell a reading in words."""
    lines = [f"{run.name}: {reading.verdict}: {reading.sentence}"]
    if reading.last is not None:
        rows = {name: f" of {format_count(n, 'row')}" for name, (n, _) in reading.rows.items()}
        there = [one.name for one in plan_of(run).variants if one.name in reading.units]
        of = ", ".join(f"{name} {format_count(reading.units[name], 'unit')}{rows.get(name, '')}" for name in there)
        ratio = "" if reading.sample_ratio is None else f"; sample ratio p {p_value(reading.sample_ratio)}"
        lines.append(f"  rows of {reading.first} to {reading.last}: {of}{ratio}")
    for one in reading.compared:
        interval = format_interval(one.low, one.high)
        lift = "" if one.lift is None else f", lift {one.lift:+.1%}"
        lines.append(f"  {one.metric}, {one.variant}: {format_number(one.difference)} {interval}{lift}")
        if one.better is not None and one.better_low is not None and one.better_high is not None:
            around = format_interval(one.better_low, one.better_high)
            decides = " (this decides, as planned)" if plan_of(run).covariates else ""
            lines.append(f"    without what was known before: {format_number(one.better)} {around}{decides}")
    for shown in reading.novelty:
        if shown.later is not None:
            later = f"{format_number(shown.later.value)} {format_interval(shown.later.low, shown.later.high)}"
            lines.append(f"  {shown.variant}, without each unit's first period: {later}")
        if shown.sentence is not None:
            lines.append(f"  {shown.sentence} ({p_value(shown.p)})")
    lines += [f"  {why}" for why in reading.untold]
    if run.conclusion:
        lines.append(f"  {run.conclusion}")
    return "\n".join(lines)
