"""Read an experiment at a tick: its units, what was compared, the verdict; and keep it in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline, Tick, TickRange, UnitMetric
from mlprod_tasks.documents.formatting import format_count, format_interval, format_number
from mlprod_tasks.experiments.checks import problems
from mlprod_tasks.experiments.compare import Compared, compare
from mlprod_tasks.experiments.plan import Plan, ticks_a_period
from mlprod_tasks.experiments.run import last_of, plan_of
from mlprod_tasks.experiments.units import moments, moments_of, open_units, opened, unit_columns
from mlprod_tasks.experiments.verdict import decide
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from mlprod_tasks.statistics.treatment_effect import Moments

if TYPE_CHECKING:
    import duckdb

BEFORE, BOTH = "units_before", "units_both"


@dataclass(frozen=True)
class Reading:
    """What an experiment shows at a tick.

    verdict: 'running', 'better' or 'worse' of the winner or loser, 'no difference', 'harmful' by a guardrail, or 'void'.
    look: the share of the planned units that a verdict rests on; None while there may be none.
    rows: scored rows of each variant, and how many of them have no outcome yet; units: those with an outcome.
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

    def as_json(self) -> dict[str, Any]:
        """The reading as plain JSON values."""
        return asdict(self)


def read_out(pipeline: Pipeline, run: ExperimentRun, tick: Tick, platform: Platform) -> Reading:
    """Read an experiment at a tick, from the outcomes known before it, and record what it shows.

    Reading it again at the same tick replaces what it showed. Looks of a sequential design are those that were recorded.
    """
    reading = _read(pipeline, run, tick, platform)
    platform.ledger.put(
        ExperimentReading(
            pipeline=pipeline.name, name=run.name, tick=tick.name, at=platform.clock.now(), verdict=reading.verdict,
            look=reading.look, reading=reading.as_json(),
        )
    )  # fmt: skip
    return reading


def _read(pipeline: Pipeline, run: ExperimentRun, tick: Tick, platform: Platform) -> Reading:
    planned = plan_of(run)
    ticks = _complete(pipeline, run, tick)
    if ticks is None:
        return Reading(str(tick), str(run.starts), None, "running", "no outcome is complete yet", None, {}, {}, (), ())
    assert pipeline.experiments is not None
    metrics = pipeline.experiments.metrics
    with opened(platform) as con:
        rows = open_units(con, pipeline, metrics, ticks, tick, platform, experiment=run.name)
        if not rows:
            sentence = f"no row of {ticks} was assigned"
            return Reading(str(tick), str(run.starts), str(ticks.last), "void", sentence, None, {}, {}, (), (sentence,))
        primary = pipeline.experiments.metric(planned.wanted.metric)
        before = _before(con, pipeline, planned, primary, metrics.index(primary), run, platform)
        wrong = tuple(problems(con, pipeline, planned, run.name, ticks, rows, before, platform))
        found = {one.name: moments(con, i, one) for i, one in enumerate(metrics)}
        covariate = moments_of(con, ("a", "x"), BOTH) if before else {}
    units = {variant: one.n for variant, one in found[primary.name].items()}
    shares = _looks(pipeline, run, planned, tick, ticks, units, platform)
    look = shares[-1] if shares else None
    compared = tuple(compare(metrics, primary, planned, found, covariate, shares))
    verdict, sentence = decide(pipeline, planned, primary, compared, wrong, shares, units)
    return Reading(str(tick), str(run.starts), str(ticks.last), verdict, sentence, look, rows, units, compared, wrong)


def _complete(pipeline: Pipeline, run: ExperimentRun, tick: Tick) -> TickRange | None:
    """The ticks of the experiment whose outcomes are complete before `tick`."""
    last = min(pipeline.schedule.shift(tick.name, -pipeline.label_delay_ticks), last_of(pipeline, run))
    return pipeline.schedule.range(run.starts, last) if last >= run.starts else None


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
    once = pipeline.population is None and unit_columns(pipeline) == pipeline.entity_table.key
    if once or first >= run.starts or primary.of == "ratio":
        return {}
    history = schedule.range(first, schedule.shift(run.starts, -1))
    open_units(con, pipeline, (primary,), history, schedule.tick(run.starts), platform, table=BEFORE)
    same = " AND ".join(f"now.u{i} = past.u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    con.execute(
        f"CREATE TABLE {BOTH} AS SELECT now.variant, now.a{position} AS a, past.a0 AS x FROM units AS now "
        f"JOIN {BEFORE} AS past ON {same}"
    )
    return moments_of(con, ("x",), BOTH)


def _looks(
    pipeline: Pipeline,
    run: ExperimentRun,
    planned: Plan,
    tick: Tick,
    ticks: TickRange,
    units: Mapping[str, int],
    platform: Platform,
) -> tuple[float, ...]:
    """The shares of the planned units at each look so far, this one last; () if none may be read at this tick."""
    at_end = ticks.last >= run.ends
    share = min(1.0, min((units.get(one.name, 0) for one in planned.variants), default=0) / planned.units)
    periods, rest = divmod(len(ticks), ticks_a_period(pipeline.schedule))
    if planned.wanted.design == "fixed":
        return (1.0,) if at_end else ()
    if planned.wanted.design == "always_valid":
        return (share,) if periods else ()
    if not at_end and (rest or not periods):
        return ()
    readings = platform.ledger.all(ExperimentReading, ExperimentReading.tick < tick.name, pipeline=pipeline.name, name=run.name)
    before = sorted({one.look for one in readings if one.look is not None and one.look < 1})
    now = 1.0 if at_end else share
    return (*(one for one in before if one < now), now) if now > 0 else ()


def told(run: ExperimentRun, reading: Reading) -> str:
    """Tell a reading in words."""
    lines = [f"{run.name}: {reading.verdict}: {reading.sentence}"]
    if reading.last is not None:
        of = ", ".join(f"{name} {format_count(n, 'unit')}" for name, n in reading.units.items())
        lines.append(f"  rows of {reading.first} to {reading.last}: {of}")
    for one in reading.compared:
        interval = format_interval(one.low, one.high)
        lift = "" if one.lift is None else f", lift {one.lift:+.1%}"
        lines.append(f"  {one.metric}, {one.variant}: {format_number(one.difference)} {interval}{lift}")
        if one.better is not None and one.better_low is not None and one.better_high is not None:
            around = format_interval(one.better_low, one.better_high)
            lines.append(f"    without what units did before: {format_number(one.better)} {around}")
    return "\n".join(lines)
