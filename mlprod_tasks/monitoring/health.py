"""The health of the pipeline: run times, waits, late data, cost, model age."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.reference_profile import ReferenceHistory
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.upstream import upstream
from mlprod_tasks.platform import Platform, step_runs
from mlprod_tasks.platform.ledger import Measurement, Publication, StepRun, Training
from mlprod_tasks.scoring.unscored_rows import unscored_rows
from mlprod_tasks.training.split import TRAIN

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# The steps of a tick so far; deciding and mailing come later and take hardly any time.
STEPS = ("extract", "audit", "publish", "score", "measure")
PAST_TICKS = 30
FEWEST_PAST = 5  # with fewer earlier ticks, their mean is not meaningful
# Data later than this was backfilled, so it is unknown when it could have arrived.
BACKFILLED = timedelta(days=7)
OF_A_RUN: Mapping[str, Callable[[StepRun], float | None]] = {
    "duration": lambda run: run.seconds,
    "retries": lambda run: float(run.try_number - 1),
    "queue_wait": lambda run: run.waited_seconds,
    "rows_per_second": lambda run: run.rows / run.seconds if run.rows and run.seconds > 0 else None,
    "memory": lambda run: run.peak_mb,
}


@dataclass(frozen=True)
class Step:
    """All runs of one step for one tick in order of time.

    `last` is the one whose result counts.
    """

    name: str
    runs: tuple[StepRun, ...]

    @property
    def last(self) -> StepRun:
        return self.runs[-1]


Steps = Mapping[str, Step]


def health(pipeline: Pipeline, tick: Tick, version: int, platform: Platform) -> Iterator[Reading]:
    """The readings of the pipeline's own health at a tick.

    version: that of the model that scored it. There is no reading for steps that did not run for this tick alone (a backfill
    over a range of ticks), nor for what only Airflow knows. References are means over the last PAST_TICKS ticks that ran.
    """
    by_day = _steps_by_day(pipeline, tick, platform)
    now, before = by_day.get(tick.name, {}), [by_day[day] for day in sorted(by_day) if day < tick.name]
    yield from of_steps(now, before)
    yield from _delays(pipeline, tick, platform)
    yield from cost(now, before)
    yield _model_age(pipeline, tick, version, platform)
    yield _unscored_rows(pipeline, tick, platform)
    yield from upstream(pipeline, tick, platform)


def past(pipeline: Pipeline, tick: Tick, platform: Platform) -> ReferenceHistory | None:
    """The health readings of the last ticks, from which its bounds are learned.

    A model's reference has no such history, since it was scored during training. Unusual ticks are included, so that a bound
    follows a lasting change within a month.
    """
    since = pipeline.schedule.shift(tick.name, -PAST_TICKS)
    rows = platform.ledger.all(
        Measurement,
        (Measurement.tick >= since) & (Measurement.tick < tick.name) & Measurement.what.in_(of_family("health")),
        pipeline=pipeline.name,
    )
    days = sorted({row.tick for row in rows})
    values: dict[str, dict[TickName, float | None]] = {}
    for row in rows:
        values.setdefault(f"{row.what}/{row.slice}" if row.slice else row.what, {})[row.tick] = row.value
    if not days:
        return None
    return ReferenceHistory(tuple(map(str, days)), {of: tuple(by.get(day) for day in days) for of, by in values.items()})


def of_steps(now: Steps, before: Sequence[Steps]) -> Iterator[Reading]:
    """Duration, retries, wait, speed and memory of each step's last run.

    References are means over earlier ticks.
    """
    for name, step in now.items():
        earlier = [ran[name].last for ran in before if name in ran]
        for what, number in OF_A_RUN.items():
            value = number(step.last)
            if value is not None:
                usual = [one for run in earlier if (one := number(run)) is not None]
                mean = fmean(usual) if len(usual) >= FEWEST_PAST else None
                detail = "" if mean is None else f"{format_number(mean)} on average over the {len(usual)} ticks before"
                yield Reading(what, value, len(step.runs), name, reference=mean, detail=detail)


def cost(now: Steps, before: Sequence[Steps]) -> Iterator[Reading]:
    """Computing time of the tick over the mean of the ticks before.

    Failed tries and reruns count.
    """
    if "score" not in now:
        return
    seconds, runs = _seconds(now), sum(len(step.runs) for step in now.values())
    usual = [_seconds(ran) for ran in before if "score" in ran]
    if len(usual) < FEWEST_PAST:
        why = (
            f"{format_number(seconds)} s, but only {len(usual)} of the {PAST_TICKS} ticks before ran; "
            f"{FEWEST_PAST} are needed to compare"
        )
        yield Reading("cost", None, runs, why=why)
        return
    mean = fmean(usual)
    detail = f"{format_number(seconds)} s; the {len(usual)} ticks before took {format_number(mean)} s on average"
    yield Reading("cost", seconds / mean, runs, reference=mean, detail=detail)


def delay_hours(due: datetime, published: datetime | None, now: datetime) -> tuple[float | None, str]:
    """Hours from `due` to the publication, or to now if there is none.

    If that is more than BACKFILLED it means nothing and is None with the reason: the data was backfilled, or will not come.
    """
    late = (published or now) - due
    if late > BACKFILLED:
        came = f"was backfilled {late.days} days after it was due" if published else "is missing"
        return None, f"it {came}, so its delay is unknown"
    return late / HOUR, "" if published else "not published yet"


def _delays(pipeline: Pipeline, tick: Tick, platform: Platform) -> Iterator[Reading]:
    """The delay of the tick's partitions and of the labels due at this tick."""
    now, schedule, delay = platform.clock.now(), pipeline.schedule, pipeline.label_delay_ticks
    days = schedule.names(max(schedule.shift(tick.name, 1 - delay), schedule.first), tick.name)
    published = _first_publications(pipeline, days, platform)
    for table in pipeline.tables:
        if table.time is not None:  # a reference table has no partitions and is published only when it changes
            publication = published.get((table.name, tick.name))
            hours, reason = delay_hours(tick.start, publication[0] if publication else None, now)
            rows = publication[1] if publication else 0
            yield Reading("data_delay", hours, rows, table.name, why=reason, detail=reason)
    if schedule.shift(tick.name, -delay) < schedule.first:
        return
    needed = [published.get((pipeline.label.table, day)) for day in days]
    publications = [one for one in needed if one is not None]
    complete = max(at for at, _ in publications) if len(publications) == len(needed) and publications else None
    hours, reason = delay_hours(tick.start, complete, now)
    yield Reading("label_delay", hours, sum(rows for _, rows in publications), why=reason, detail=reason)


def _first_publications(
    pipeline: Pipeline, days: Sequence[TickName], platform: Platform
) -> dict[tuple[str, TickName], tuple[datetime, int]]:
    """When each partition was first published, and its current number of rows.

    The keys are table and tick. A partition that was published again (a correction, a rerun) was not late because of that.
    """
    rows = platform.ledger.all(Publication, Publication.tick.in_(days), pipeline=pipeline.name)
    return {(row.table_name, row.tick): (row.first_at or row.at, row.rows) for row in rows}


def _model_age(pipeline: Pipeline, tick: Tick, version: int, platform: Platform) -> Reading:
    """Days from the last tick of the version's training window to this one."""
    if not platform.ledger.all(Training, pipeline=pipeline.name, model_version=version):
        return Reading("model_age", None, 0, why=f"the ledger has no training of version {version}")
    window = platform.registry.version_tags(pipeline, version).get(f"mlprod.window.{TRAIN}", "")
    if not window:
        return Reading("model_age", None, 0, why=f"the registry does not say which ticks version {version} was trained on")
    last = tick_named(window.rpartition("..")[2])
    detail = f"version {version} was fitted on rows up to {last}"
    return Reading("model_age", pipeline.schedule.elapsed(last, tick.name) / DAY, 1, detail=detail)


def _unscored_rows(pipeline: Pipeline, tick: Tick, platform: Platform) -> Reading:
    """The rows that arrived after their tick was scored, of the last week or as many ticks as are read again."""
    schedule, read_again = pipeline.schedule, pipeline.entity_table.refresh_ticks
    first = min(schedule.back(tick.name, BACKFILLED), schedule.shift(tick.name, -read_again))
    with platform.ledger.session() as session:
        found = unscored_rows(session, [pipeline])[pipeline.name]
    recent = {day: rows for day, rows in found.items() if first <= day <= tick.name}
    of = ", ".join(f"{rows:,} of {day}" for day, rows in recent.items())
    remedy = f"{of}: score these ticks again, or leave them" if of else ""
    return Reading("unscored_rows", float(sum(recent.values())), len(recent), reference=0.0, detail=remedy)


def _steps_by_day(pipeline: Pipeline, tick: Tick, platform: Platform) -> dict[TickName, dict[str, Step]]:
    """The steps that ran for this tick and the ticks before it, by tick.

    The current step is included with its work so far.
    """
    schedule = pipeline.schedule
    days = {str(day): day for day in schedule.names(schedule.shift(tick.name, -PAST_TICKS), tick.name)}
    runs = platform.ledger.all(StepRun, StepRun.subject.in_(list(days)), pipeline=pipeline.name)
    current = step_runs.so_far(pipeline, str(tick))
    by_day: dict[TickName, list[StepRun]] = {}
    for run in [*runs, *([current] if current else [])]:
        if run.step in STEPS:
            by_day.setdefault(days[run.subject], []).append(run)
    return {day: dict(_steps(ran)) for day, ran in by_day.items()}


def _steps(runs: Iterable[StepRun]) -> Iterator[tuple[str, Step]]:
    by_name: dict[str, list[StepRun]] = {}
    for run in sorted(runs, key=lambda run: (STEPS.index(run.step), run.at)):
        by_name.setdefault(run.step, []).append(run)
    for name, runs_of_step in by_name.items():
        yield name, Step(name, tuple(runs_of_step))


def _seconds(ran: Steps) -> float:
    return sum(run.seconds for step in ran.values() for run in step.runs)
