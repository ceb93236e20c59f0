"""How the pipeline itself fares at a tick: how long its steps took and waited, how late data came, how old the model is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import fmean

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.models.reference_profile import ReferenceHistory
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.upstream import upstream
from mlprod_tasks.platform import Platform, step_runs
from mlprod_tasks.platform.ledger import Measurement, Publication, StepRun, Training
from mlprod_tasks.training.split import TRAIN

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# What is done for a tick up to here; what is decided and told follows, and takes no time to speak of.
VERBS = ("extract", "audit", "publish", "score", "measure")
PAST_TICKS = 30
FEWEST_PAST = 5  # ticks before, below which a mean of them says nothing
# Data that comes later than this was brought in as history: when it could have come, nobody knows any more.
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
    """All runs of one step for one tick, in the order of time; `last` is the one whose work stands."""

    name: str
    runs: tuple[StepRun, ...]

    @property
    def last(self) -> StepRun:
        return self.runs[-1]


Steps = Mapping[str, Step]


def health(pipeline: Pipeline, tick: Tick, version: int, platform: Platform) -> Iterator[Reading]:
    """The readings of a tick's own pipeline, from what ran for it; version: of the model that scored it.

    What did not run by itself for this tick (history brought in over a range of ticks), and what only Airflow knows, has no
    reading. References are means over the last ticks before, as far as they have run.
    """
    ran = _ran(pipeline, tick, platform)
    now, before = ran.get(tick.date, {}), [ran[day] for day in sorted(ran) if day < tick.date]
    yield from of_steps(now, before)
    yield from _delays(pipeline, tick, platform)
    yield from cost(now, before)
    yield _model_age(pipeline, tick, version, platform)
    yield from upstream(pipeline, tick, platform)


def past(pipeline: Pipeline, tick: Tick, platform: Platform) -> ReferenceHistory | None:
    """What the readings were on the last ticks before: what bounds of the pipeline's own health are learned from.

    A model's reference cannot tell that, for it was scored at training. Ticks out of the ordinary are among them, so that a
    bound follows a lasting change within a month.
    """
    since = tick.date - PAST_TICKS * DAY
    rows = platform.ledger.all(
        Measurement,
        (Measurement.tick >= since) & (Measurement.tick < tick.date) & Measurement.what.in_(of_family("health")),
        pipeline=pipeline.name,
    )
    days = sorted({row.tick for row in rows})
    values: dict[str, dict[date, float | None]] = {}
    for row in rows:
        values.setdefault(f"{row.what}/{row.slice}" if row.slice else row.what, {})[row.tick] = row.value
    if not days:
        return None
    return ReferenceHistory(tuple(map(str, days)), {of: tuple(by.get(day) for day in days) for of, by in values.items()})


def of_steps(now: Steps, before: Sequence[Steps]) -> Iterator[Reading]:
    """Duration, retries, wait, speed and memory of each step's last run, against its last runs on the ticks before."""
    for name, step in now.items():
        earlier = [ran[name].last for ran in before if name in ran]
        for what, number in OF_A_RUN.items():
            value = number(step.last)
            if value is not None:
                usual = [one for run in earlier if (one := number(run)) is not None]
                mean = fmean(usual) if len(usual) >= FEWEST_PAST else None
                detail = "" if mean is None else f"{mean:.3g} on the {len(usual)} ticks before"
                yield Reading(what, value, len(step.runs), name, reference=mean, detail=detail)


def cost(now: Steps, before: Sequence[Steps]) -> Iterator[Reading]:
    """Seconds of computing for the tick, tries that failed and runs again included, over the mean of the ticks before."""
    if "score" not in now:
        return
    seconds, runs = _seconds(now), sum(len(step.runs) for step in now.values())
    usual = [_seconds(ran) for ran in before if "score" in ran]
    if len(usual) < FEWEST_PAST:
        why = (
            f"{seconds:.3g} s, but of the {PAST_TICKS} ticks before only {len(usual)} ran; {FEWEST_PAST} are needed to compare"
        )
        yield Reading("cost", None, runs, why=why)
        return
    mean = fmean(usual)
    detail = f"{seconds:.3g} s; the {len(usual)} ticks before took {mean:.3g} s"
    yield Reading("cost", seconds / mean, runs, reference=mean, detail=detail)


def delay_hours(due: datetime, published: datetime | None, now: datetime) -> tuple[float | None, str]:
    """Hours from `due` until the data was published, so far where it is not; None with the reason where that says nothing.

    Data of long ago says nothing: it was brought in as history, or is not going to come.
    """
    late = (published or now) - due
    if late > BACKFILLED:
        came = f"came {late.days} days after its moment: brought in as history" if published else "is not there"
        return None, f"it {came}, so how late it was nobody knows"
    return late / HOUR, "" if published else "not published so far"


def _delays(pipeline: Pipeline, tick: Tick, platform: Platform) -> Iterator[Reading]:
    """How late the tick's partitions came, and those that complete the labels which are due with this tick."""
    now, first = platform.clock.now(), max(tick.date - (pipeline.label_delay_ticks - 1) * DAY, pipeline.schedule.starts)
    published = _published(pipeline, [first + n * DAY for n in range((tick.date - first).days + 1)], platform)
    for table in pipeline.tables:
        if table.time is not None:  # else it has no partitions, and is published only when it changes
            there = published.get((table.name, tick.date))
            hours, said = delay_hours(tick.start, there[0] if there else None, now)
            rows = there[1] if there else 0
            yield Reading("data_delay", hours, rows, table.name, why=said, detail=said)
    if tick.date - pipeline.label_delay_ticks * DAY < pipeline.schedule.starts:
        return
    needed = [published.get((pipeline.label.table, first + n * DAY)) for n in range((tick.date - first).days + 1)]
    found = [one for one in needed if one is not None]
    complete = max(at for at, _ in found) if len(found) == len(needed) and found else None
    hours, said = delay_hours(tick.start, complete, now)
    yield Reading("label_delay", hours, sum(rows for _, rows in found), why=said, detail=said)


def _published(pipeline: Pipeline, days: Sequence[date], platform: Platform) -> dict[tuple[str, date], tuple[datetime, int]]:
    """By table and tick, when its partition was first published, and its rows of now.

    A partition that is published again (a correction, a rerun) was not late for that: its first publication is among the
    runs of the step, as far as it was recorded.
    """
    rows = platform.ledger.all(Publication, Publication.tick.in_(days), pipeline=pipeline.name)
    found = {(row.table_name, row.tick): (row.at, row.rows) for row in rows}
    wanted = {str(day): day for day in days}
    for run in platform.ledger.all(StepRun, StepRun.subject.in_(list(wanted)), pipeline=pipeline.name, succeeded=True):
        verb, _, table = run.step.partition(" ")
        key = (table, wanted[run.subject])
        if verb == "publish" and key in found:
            at, n = found[key]
            found[key] = (min(at, run.at + timedelta(seconds=run.seconds)), n)
    return found


def _model_age(pipeline: Pipeline, tick: Tick, version: int, platform: Platform) -> Reading:
    """Days from the last tick that the version was fitted on to this one."""
    trainings = platform.ledger.all(Training, pipeline=pipeline.name, model_version=version)
    run_id = next((training.run_id for training in trainings if training.run_id), None)
    if run_id is None:
        return Reading("model_age", None, 0, why=f"the ledger knows no training of version {version}")
    window = platform.registry.run_tags(run_id).get(f"mlprod.window.{TRAIN}", "")
    if not window:
        return Reading("model_age", None, 0, why=f"the run of version {version} does not say which ticks it was trained on")
    last = date.fromisoformat(window.rpartition("..")[2])
    detail = f"version {version} was fitted on rows up to {last}"
    return Reading("model_age", float((tick.date - last).days), 1, detail=detail)


def _ran(pipeline: Pipeline, tick: Tick, platform: Platform) -> dict[date, dict[str, Step]]:
    """What ran for this tick and for the ticks before it, by tick and step; of the step that asks, what it did so far."""
    days = {str(day): day for day in (tick.date - n * DAY for n in range(PAST_TICKS + 1))}
    runs = platform.ledger.all(StepRun, StepRun.subject.in_(list(days)), pipeline=pipeline.name)
    asking = step_runs.so_far(pipeline, str(tick))
    by_day: dict[date, list[StepRun]] = {}
    for run in [*runs, *([asking] if asking else [])]:
        if run.step.partition(" ")[0] in VERBS:
            by_day.setdefault(days[run.subject], []).append(run)
    return {day: dict(_steps(ran)) for day, ran in by_day.items()}


def _steps(runs: Iterable[StepRun]) -> Iterator[tuple[str, Step]]:
    by_name: dict[str, list[StepRun]] = {}
    for run in sorted(runs, key=lambda run: (VERBS.index(run.step.partition(" ")[0]), run.step, run.at)):
        by_name.setdefault(run.step, []).append(run)
    for name, of_it in by_name.items():
        yield name, Step(name, tuple(of_it))


def _seconds(ran: Steps) -> float:
    return sum(run.seconds for step in ran.values() for run in step.runs)
