"""The ticks and the training of a DAG's run, and the arguments that DAGs share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, time, timedelta
from typing import Any, ParamSpec, TypeVar

from airflow.sdk import Asset, CronPartitionTimetable, CronTriggerTimetable, Param

from mlprod_airflow import queues
from mlprod_airflow.mails import TablesNotPublished, TellFailure, TellKilled
from mlprod_tasks.declaration import Pipeline, Schedule, Tick, TickRange

P = ParamSpec("P")
T = TypeVar("T")
RETRY_DELAY = timedelta(seconds=30)
HOURS_BEFORE_NEXT = 4  # from a nightly run to the next tick
YEARS_LOOKED_AT = 3


def each_tick(pipeline: Pipeline, doc: str, **params: Param) -> dict[str, Any]:
    """Arguments of a DAG with one run per tick. The partition key is the tick's date; ticks may run in any order."""
    schedule = pipeline.schedule
    return _common(pipeline, doc) | {
        "schedule": _timetable(pipeline, schedule.at),
        "start_date": datetime.combine(schedule.starts, time(), schedule.zone),
        "end_date": datetime.combine(schedule.ends, time(23, 59), schedule.zone) if schedule.ends else None,
        "catchup": False,
        "params": params,
    }


def where_declared(part: object, task: Callable[[], Any]) -> list[Any]:
    """The task, for the use cases that declare the part it is about; none for the others."""
    return [] if part is None else [task()]


def nightly(pipeline: Pipeline, doc: str) -> dict[str, Any]:
    """Arguments of a DAG that runs in the night after each tick, off-peak; the partition key is the tick's date.

    Ticks within a day have their run when the next one is due.
    """
    schedule = pipeline.schedule
    if schedule.is_within_day:
        first, last = (name and schedule.moment(schedule.shift(name, 1)) for name in (schedule.first, schedule.last))
        timetable = _timetable(pipeline, schedule.at, behind=1)
        return each_tick(pipeline, doc) | {"schedule": timetable, "start_date": first, "end_date": last}
    hour = schedule.at.hour - HOURS_BEFORE_NEXT
    behind = 1 if hour >= 0 else 0  # days from the tick's date to the run's date
    return each_tick(pipeline, doc) | {
        "schedule": _timetable(pipeline, schedule.at.replace(hour=hour % 24), behind=behind),
        "start_date": datetime.combine(schedule.starts + timedelta(days=behind), time(), schedule.zone),
        "end_date": datetime.combine(schedule.ends + timedelta(days=behind), time(23, 59), schedule.zone)
        if schedule.ends
        else None,
    }


def tick_param(pipeline: Pipeline, description: str = "", required: bool = False) -> Param:
    """A parameter of a DAG that names a tick; None if it is not given."""
    form = {"format": "date"}
    if pipeline.schedule.is_within_day:  # a date means all ticks of the day
        form = {"pattern": r"^\d{4}-\d\d-\d\d(T\d{4}Z)?$"}
    return Param(None, type="string" if required else ["null", "string"], description=description or None, **form)


def each_week(pipeline: Pipeline, doc: str) -> dict[str, Any]:
    """Arguments of a DAG with one run per week, at its first tick from Monday on; of rarer ticks, with one run per tick."""
    return each_tick(pipeline, doc) | {"schedule": _timetable(pipeline, pipeline.schedule.at, days="1")}


def often(pipeline: Pipeline, doc: str) -> dict[str, Any]:
    """Arguments of a DAG that runs every ten minutes, one run at a time, without catchup."""
    schedule = pipeline.schedule
    return _common(pipeline, doc) | {
        "schedule": CronTriggerTimetable("*/10 * * * *", timezone=schedule.timezone),
        "start_date": datetime.combine(schedule.starts, time(), schedule.zone),
        "catchup": False,
        "max_active_runs": 1,
    }


def to_train(pipeline: Pipeline, doc: str, **params: Param) -> dict[str, Any]:
    """Arguments of the DAG that trains: it runs on request, on the workers of that queue."""
    arguments = on_request(pipeline, doc, **params)
    return arguments | {"default_args": arguments["default_args"] | queues.arguments(pipeline.queues.training)}


def on_request(pipeline: Pipeline, doc: str, **params: Param) -> dict[str, Any]:
    """Arguments of a DAG that runs on request only, one run at a time."""
    return _common(pipeline, doc) | {"schedule": None, "max_active_runs": 1, "params": params}


def _common(pipeline: Pipeline, doc: str) -> dict[str, Any]:
    return {
        "doc_md": f"{doc}\n\n**{pipeline.name}**: {pipeline.doc.strip()} Alerts go to {', '.join(pipeline.alert_to)}.",
        "tags": [pipeline.name],
        "default_args": {
            "owner": pipeline.owner,
            "retries": 2,
            "retry_delay": RETRY_DELAY,
            "retry_exponential_backoff": True,
            "on_failure_callback": TellFailure(pipeline),
            **queues.arguments(pipeline.queues.others),
        },
        # A killed task cannot send a mail; the DAG's callback, which runs in another process, can.
        "on_failure_callback": TellKilled(pipeline),
    }


def _timetable(pipeline: Pipeline, at: time, days: str = "*", behind: int | None = None) -> Any:
    """The timetable of runs at a local time of day, so many days behind a tick. The partition key is the tick's date.

    days: of daily ticks, the days of the week that have a run, as cron writes them.
    """
    schedule = pipeline.schedule
    if schedule.every != "day":
        from mlprod_timetable import TickTimetable

        hourly = schedule.is_within_day
        clock = "" if hourly else at.isoformat("minutes")
        weekly = schedule.ticks_a_week > 1 and days != "*"
        return TickTimetable(pipeline.as_json()["schedule"], clock, behind or 0, weekly=weekly)
    more = {} if behind is None else {"run_offset": -behind}
    cron = f"{at.minute} {at.hour} * * {days}"
    if not _comes_twice(schedule, at):
        return CronPartitionTimetable(cron, timezone=schedule.timezone, key_format="%Y-%m-%d", **more)
    from mlprod_timetable import FirstOfTwoTimetable

    return FirstOfTwoTimetable(cron, timezone=schedule.timezone, key_format="%Y-%m-%d", **more)


def _comes_twice(schedule: Schedule, at: time) -> bool:
    """Whether a clock change repeats the time of day, in the years after the schedule starts."""
    for day in range(YEARS_LOOKED_AT * 366):
        first = datetime.combine(schedule.starts + timedelta(days=day), at, schedule.zone)
        if first.utcoffset() > first.replace(fold=1).utcoffset():  # type: ignore[operator]
            return True
    return False


def ticks(pipeline: Pipeline, context: Any) -> TickRange:
    """The ticks of this run: its partition, or `first` to `last` if it was started by hand over a range."""
    params = context["params"]
    first = params.get("first") or context["dag_run"].partition_key
    if not first:
        raise ValueError(f"{context['dag_run'].run_id} names no tick: give a partition key, or `first` and `last`")
    return pipeline.schedule.range(first, params.get("last") if params.get("first") else None)


def tick(pipeline: Pipeline, context: Any) -> Tick:
    """The only tick of this run."""
    return next(iter(ticks(pipeline, context)))


def as_of(pipeline: Pipeline, context: Any) -> Tick:
    """The tick as of which this run trains."""
    return pipeline.schedule.tick(context["params"]["as_of"])


def decided_at(pipeline: Pipeline, context: Any) -> Tick | None:
    """The tick whose decision requested this training; None if a person requested it."""
    tick = context["params"].get("decided_at")
    return pipeline.schedule.tick(tick) if tick else None


def training_id(pipeline: Pipeline, context: Any) -> str:
    """The training's id: the same for every task of a run and when tasks run again."""
    # The hash contains the whole name: two use cases may begin alike, and a tick's run has the same id in both.
    run = hashlib.sha256(f"{pipeline.name} {context['dag_run'].run_id}".encode()).hexdigest()[:12]
    return f"{pipeline.name[:38]}-{context['params']['as_of']}-{run}"


def lake_asset(pipeline: Pipeline, what: str) -> Asset:
    """A lake table as an asset of Airflow's lineage."""
    return Asset(name=f"{pipeline.name}/{what}", uri=f"mlprod://lake/{pipeline.name}/{what}", group=pipeline.name)


def reference(done: Any) -> dict[str, Any]:
    """The result of a step as plain values, small enough to pass between tasks.

    The task that returns it is annotated `-> Any`: of a dict Airflow would store every field by itself, with a request each.
    """
    return {name: value if isinstance(value, int | float | str | None) else str(value) for name, value in asdict(done).items()}


def or_missing(publish: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Publish. Raises: TablesNotPublished, which is not retried, if tables are missing because an earlier task failed."""
    from mlprod_tasks.ingest.tables import TablesMissing

    try:
        return publish(*args, **named)
    except TablesMissing as error:
        raise TablesNotPublished(str(error)) from error
