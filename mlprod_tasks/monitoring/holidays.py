"""Ticks that are not like others: declared holidays, and what is not held to ordinary ticks on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache

from mlprod_tasks.declaration import Holidays, Pipeline, Schedule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.relevance import OF_SHIFTS
from mlprod_tasks.platform.ledger import Measurement

# How many rows there are, how they are distributed, and what comes of them. Faults of data, the quality of a model and the
# pipeline itself are judged as on every tick.
BY_CALENDAR = OF_SHIFTS | {
    "volume", "lost_categories", "kpi", "business_metric", "online_rows", "online_psi", "online_score_psi", "online_class_psi",
}  # fmt: skip
DAY = timedelta(days=1)


def is_holiday(pipeline: Pipeline, tick: TickName) -> bool:
    """Whether a tick is on a declared holiday, or on a day around it that is declared to be like one."""
    return falls_on(pipeline.monitoring.holidays, pipeline.schedule, tick)


def falls_on(declared: Holidays | None, schedule: Schedule, tick: TickName) -> bool:
    """The same of a schedule; never without holidays."""
    if declared is None:
        return False
    first = schedule.day_of(tick)
    days = 7 if schedule.ticks_a_week == 1 else 1
    return any(first + n * DAY in days_of(declared) for n in range(days))


@cache
def days_of(declared: Holidays) -> frozenset[date]:
    """The days that are not like others."""
    return frozenset(day + n * DAY for day in declared.dates for n in range(-declared.before, declared.after + 1))


def judged_ones(pipeline: Pipeline, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements that are evidence for rules: those that a holiday leaves without a bound are none."""
    return [one for one in measurements if not _is_unjudged(pipeline, one)]


def not_judged(pipeline: Pipeline, tick: TickName, measurements: Sequence[Measurement]) -> str:
    """What is not judged at a tick because it is on a holiday, as a sentence that follows another one; '' if nothing."""
    whats = {one.what for one in measurements if one.tick == tick and one.value is not None and _is_unjudged(pipeline, one)}
    return f" Not judged, on a holiday: {', '.join(sorted(whats))}." if whats else ""


def _is_unjudged(pipeline: Pipeline, one: Measurement) -> bool:
    bounded = one.low is not None or one.high is not None
    return not bounded and not one.breached and one.what in BY_CALENDAR and is_holiday(pipeline, one.tick)
