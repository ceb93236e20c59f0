"""Ticks: when a pipeline runs, and the interval of time of each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from mlprod_tasks.declaration.declared import declared

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Tick:
    """The moment of a scheduled run, and the half-open interval up to the next one.

    date: the local calendar date, which names the tick everywhere: Airflow's partition key, the lake's partition, the ledger.
    start: the moment itself, in UTC.
    end: the next tick's moment, in UTC; 23, 24 or 25 hours later.
    """

    date: date
    start: datetime
    end: datetime

    def __str__(self) -> str:
        return self.date.isoformat()


@dataclass(frozen=True)
class TickRange:
    """Consecutive ticks, first and last included; possibly only one.

    schedule: their schedule.
    first: the date of the first tick.
    last: the date of the last tick.
    """

    schedule: Schedule
    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range of ticks {self.first} to {self.last} is empty")

    def __iter__(self) -> Iterator[Tick]:
        for days in range(len(self)):
            yield self.schedule.tick(self.first + timedelta(days=days))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def start(self) -> datetime:
        return self.schedule.tick(self.first).start

    @property
    def end(self) -> datetime:
        return self.schedule.tick(self.last).end

    def shifted(self, days: int) -> TickRange:
        """The same number of ticks, `days` ticks later (earlier if negative)."""
        by = timedelta(days=days)
        return TickRange(self.schedule, self.first + by, self.last + by)


@declared
class Schedule:
    """One tick per day at a local time of day.

    at: the local time of day, a whole minute.
    timezone: the IANA time zone of `at`, such as 'Europe/Zurich'.
    starts: the first tick.
    ends: the last tick, for data that stops; None: no end.
    """

    at: time
    timezone: str
    starts: date
    ends: date | None = None

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        if self.at.tzinfo is not None:
            raise ValueError("at is a local time of day: leave its tzinfo out and declare `timezone`")
        if self.at.second or self.at.microsecond:
            raise ValueError(f"at {self.at} must be a whole minute")
        if self.ends is not None and self.ends < self.starts:
            raise ValueError(f"ends {self.ends} is before starts {self.starts}")

    @property
    def cron(self) -> str:
        return f"{self.at.minute} {self.at.hour} * * *"

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def moment(self, day: date) -> datetime:
        """When the tick of `day` is due, in UTC. A local time that a clock change skips is moved later by the gap."""
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)

    def tick(self, day: date | str) -> Tick:
        """The tick of a local date, given as a date or as ISO text."""
        local = _day(day) if isinstance(day, str) else day
        if local < self.starts or (self.ends is not None and local > self.ends):
            raise ValueError(f"tick {local} is outside the schedule, which runs from {self.starts} to {self.ends or 'today'}")
        return Tick(local, self.moment(local), self.moment(local + ONE_DAY))

    def tick_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`, which needs a time zone."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
        day = moment.astimezone(self.zone).date()
        return self.tick(day if self.moment(day) <= moment else day - ONE_DAY)

    def last_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`; the last tick if the schedule has ended by then."""
        if self.ends is not None and moment >= self.moment(self.ends):
            return self.tick(self.ends)
        return self.tick_at(moment)

    def range(self, first: date | str, last: date | str | None = None) -> TickRange:
        """The ticks from `first` to `last`, both included; only `first` if `last` is None."""
        begin = self.tick(first).date
        return TickRange(self, begin, begin if last is None else self.tick(last).date)


def zone_of(timezone: str) -> ZoneInfo:
    """The time zone of that name. Raises: ValueError."""
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(f"timezone {timezone!r} is not an IANA time zone such as 'Europe/Zurich'") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"tick {text!r} is not a date such as 2013-06-17") from error
