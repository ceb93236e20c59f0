"""Timetables of schedules that Airflow's own do not fit.

One is for times of day that come twice when the clock is put back: Airflow's own runs at the second of the two; a tick begins
at the first (`Schedule.moment`), so its run would come an hour late. The other is for ticks that are not daily: cron cannot say
'on day 30 of a month or its last', nor which tick a run on a later day belongs to.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import count, dropwhile
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo
from airflow.timetables.trigger import CronPartitionTimetable
from croniter import croniter

from mlprod_tasks.declaration.recorded import read_part
from mlprod_tasks.declaration.rhythm import TickName, tick_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pendulum import DateTime

ONE_DAY = timedelta(days=1)  # more than any clock change


class FirstOfTwoTimetable(CronPartitionTimetable):
    """Runs at the first of two equal local times; a local time that the clock skips is moved later by the gap."""

    def _get_next(self, current: DateTime) -> DateTime:
        moments = self._moments(current - ONE_DAY, "get_next")
        return next(dropwhile(lambda moment: moment <= current, moments))

    def _get_prev(self, current: DateTime) -> DateTime:
        moments = self._moments(current + ONE_DAY, "get_prev")
        return next(dropwhile(lambda moment: moment >= current, moments))

    def _moments(self, start: DateTime, step: str) -> Iterator[DateTime]:
        """The moments of the schedule from `start` on, or back from it."""
        local = pendulum.instance(start).in_timezone(self._timezone).naive()
        times: Any = croniter(self._expression, start_time=local)
        while True:
            scheduled: datetime = getattr(times, step)(datetime)
            first = scheduled.replace(tzinfo=self._timezone, fold=0)
            yield pendulum.instance(first.astimezone(UTC))


class TickTimetable(CronPartitionTimetable):
    """Runs once per tick of a schedule: at a local time on its date or some days later; or so many ticks within a day later.

    schedule: the declared `Schedule` as JSON values. at: the local time of runs; '' for ticks within a day. behind: days from a
    tick to its run; of ticks within a day, ticks. weekly: only the first tick of each week, from Monday on, has a run.
    """

    def __init__(self, schedule: Mapping[str, Any], at: str, behind: int = 0, weekly: bool = False) -> None:
        self._schedule = read_part(dict(schedule))
        self._written, self._at, self._behind, self._weekly = dict(schedule), at, behind, weekly
        # What is inherited needs an expression; no run follows from it.
        super().__init__("0 0 * * *", timezone=self._schedule.timezone if at else "UTC", key_format="%Y-%m-%d")
        later = f", {behind} later" if behind else ""
        self.description = f"{self._schedule.words}{f' at {at}' if at else ''}{later}{', once a week' if weekly else ''}"

    def serialize(self) -> dict[str, Any]:
        return {"schedule": self._written, "at": self._at, "behind": self._behind, "weekly": self._weekly}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> TickTimetable:
        return cls(data["schedule"], data["at"], data["behind"], data.get("weekly", False))

    @property
    def summary(self) -> str:
        return self.description

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """One run for each tick that starts in [earliest, latest]: local wall-clock times, of ticks within a day UTC."""
        first, last = self.localize_partition_datetime(earliest), self.localize_partition_datetime(latest)
        for tick in self._ticks(first, 1):
            start = pendulum.instance(self._schedule.moment(tick))
            if start > last:
                return
            if start >= first:
                yield DagRunInfo(run_after=start, data_interval=None, partition_date=start, partition_key=str(tick))

    def _get_next(self, current: DateTime) -> DateTime:
        return next(run for tick in self._ticks(current, 1) if (run := self._run_of(tick)) > current)

    def _get_prev(self, current: DateTime) -> DateTime:
        return next(run for tick in self._ticks(current, -1) if (run := self._run_of(tick)) < current)

    def _get_partition_date(self, *, run_date: DateTime) -> DateTime:
        tick = next(tick for tick in self._ticks(run_date, -1) if self._run_of(tick) <= run_date)
        return pendulum.instance(self._schedule.moment(tick))

    def _format_key(self, partition_date: DateTime) -> str:
        return str(self._schedule.name_at(_plain(partition_date)))

    def _decode_partition_date(self, partition_key: str) -> datetime:
        return pendulum.instance(self._schedule.moment(tick_named(partition_key)))

    def _ticks(self, around: DateTime, step: int) -> Iterator[TickName]:
        """The ticks from before a moment on, or from after it back, with those whose run is some time behind."""
        near = self._schedule.name_at(_plain(around))
        beyond = -step * (2 + self._behind + (2 * self._schedule.ticks_a_week if self._weekly else 0))
        ticks = (self._schedule.shift(near, beyond + n * step) for n in count())
        return (tick for tick in ticks if not self._weekly or self._is_first_of_week(tick))

    def _is_first_of_week(self, tick: TickName) -> bool:
        day = self._schedule.day_of(tick)
        return bool(self._schedule.at_or_after(day - day.weekday() * ONE_DAY) == tick)

    def _run_of(self, tick: TickName) -> DateTime:
        if not self._at:
            return pendulum.instance(self._schedule.moment(self._schedule.shift(tick, self._behind)))
        day = self._schedule.day_of(tick) + self._behind * ONE_DAY
        local = datetime.combine(day, time.fromisoformat(self._at), self._schedule.zone)
        return pendulum.instance(local.astimezone(UTC))


def _plain(moment: datetime) -> datetime:
    """The moment in the standard library's type: the difference of pendulum's cannot be divided by a length of time."""
    utc = moment.astimezone(UTC)
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, UTC)


class MlprodTimetablePlugin(AirflowPlugin):
    """Makes the timetable known to Airflow."""

    name = "mlprod_timetable"
    timetables: ClassVar[list[Any]] = [FirstOfTwoTimetable, TickTimetable]
