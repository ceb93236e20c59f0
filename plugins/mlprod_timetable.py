"""The timetable of schedules whose time of day comes twice when the clock is put back.

Airflow's own runs at the second of the two; a tick begins at the first (`Schedule.moment`), so its run would come an hour late.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.trigger import CronPartitionTimetable
from croniter import croniter

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class MlprodTimetablePlugin(AirflowPlugin):
    """Makes the timetable known to Airflow."""

    name = "mlprod_timetable"
    timetables: ClassVar[list[Any]] = [FirstOfTwoTimetable]
