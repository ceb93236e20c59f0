"""Ticks: when a pipeline runs, and the interval of time of each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from math import ceil
from zoneinfo import ZoneInfo

from mlprod_tasks.declaration.declared import declared

ONE_DAY, ONE_HOUR = timedelta(days=1), timedelta(hours=1)


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
        return map(self.schedule.tick, self.dates)

    def __len__(self) -> int:
        return self.schedule.ticks_between(self.first, self.last) + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def dates(self) -> list[date]:
        """The dates of the ticks, which may lie outside the schedule."""
        return self.schedule.dates(self.first, self.last)

    @property
    def start(self) -> datetime:
        return self.schedule.tick(self.first).start

    @property
    def end(self) -> datetime:
        return self.schedule.tick(self.last).end

    def shifted(self, by: int) -> TickRange:
        """The same number of ticks, `by` ticks later (earlier if negative)."""
        return TickRange(self.schedule, self.schedule.shift(self.first, by), self.schedule.shift(self.last, by))


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
        return Tick(local, self.moment(local), self.moment(self.shift(local, 1)))

    def tick_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`, which needs a time zone."""
        return self.tick(self.date_at(moment))

    def last_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`; the last tick if the schedule has ended by then."""
        if self.ends is not None and moment >= self.moment(self.ends):
            return self.tick(self.ends)
        return self.tick_at(moment)

    def date_at(self, moment: datetime) -> date:
        """The date of the tick whose interval contains `moment`, as if the schedule had no first and no last tick."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
        day = moment.astimezone(self.zone).date()
        return day if self.moment(day) <= moment else self.shift(day, -1)

    def next_after(self, moment: datetime) -> date:
        """The date of the first tick that starts after `moment`, as if the schedule had no first and no last tick."""
        return self.shift(self.date_at(moment), 1)

    def shift(self, day: date, by: int) -> date:
        """The date of the tick that comes `by` ticks after that of `day` (before it if negative), also outside the schedule."""
        return day + by * ONE_DAY

    def ticks_between(self, first: date, last: date) -> int:
        """How many ticks the tick of `last` comes after that of `first`; negative if before it."""
        return (last - first).days

    def dates(self, first: date, last: date) -> list[date]:
        """The dates of the ticks from `first` to `last`, both included, also outside the schedule; none if `last` is first."""
        return [self.shift(first, by) for by in range(self.ticks_between(first, last) + 1)]

    def elapsed(self, first: date, last: date) -> timedelta:
        """The time from the tick of `first` to that of `last` by the calendar: a day of 23 or 25 hours counts as a day."""
        return last - first

    def back(self, day: date, length: timedelta) -> date:
        """The date of the earliest tick that is at most `length` before that of `day`, by the calendar."""
        return self.shift(day, -(length // ONE_DAY))

    def first_after(self, day: date, length: timedelta) -> date:
        """The date of the first tick that is at least `length` after that of `day`, by the calendar."""
        return self.shift(day, -(-length // ONE_DAY))

    def days_later(self, day: date, days: int) -> datetime:
        """The moment at the same local time as the tick of `day`, that many calendar days later."""
        return self.moment(day + days * ONE_DAY)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up."""
        return ceil(length / ONE_DAY)

    def ticks_until(self, length: timedelta, calendar_days: int = 0) -> int:
        """After how many ticks `length` and before it whole days of the calendar, of 23 to 25 hours, are over at every tick."""
        if calendar_days:
            # The day on which it ends may have 23 hours.
            return calendar_days + (ceil((length + ONE_HOUR) / ONE_DAY) if length else 0)
        return ceil(length / ONE_DAY)

    @property
    def longest(self) -> timedelta:
        """The longest time from a tick to the next one."""
        return ONE_DAY + ONE_HOUR

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
