"""Ticks: when a pipeline runs, and the interval of time of each run."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from math import ceil
from typing import Literal
from zoneinfo import ZoneInfo

from mlprod_tasks.declaration.declared import declared

ONE_DAY, ONE_HOUR = timedelta(days=1), timedelta(hours=1)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAST_OF_ANY_MONTH = 31
NOTHING = timedelta(0)
SHORTEST = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 28 * ONE_DAY}  # from a tick to the next one, by the calendar
MEAN_LENGTH = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 146_097 / 4800 * ONE_DAY}
LONGEST = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 31 * ONE_DAY}


@dataclass(frozen=True, order=True)
class Tick:
    """The moment of a scheduled run, and the half-open interval up to the next one.

    date: the local calendar date, which names the tick everywhere: Airflow's partition key, the lake's partition, the ledger.
    start: the moment itself, in UTC.
    end: the next tick's moment, in UTC; of daily ticks 23, 24 or 25 hours later.
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
    """When a pipeline runs: one tick per day, week or month, at a local time of day.

    at: the local time of day, a whole minute.
    timezone: the IANA time zone of `at`, such as 'Europe/Zurich'.
    starts: the first tick.
    ends: the last tick, for data that stops; None: no end.
    every: how often there is a tick: 'day', 'week' or 'month'.
    on: of weekly ticks the day of the week, such as 'monday'; of monthly ones the day of the month, 1 to 31: of a shorter month
    the last day.
    """

    at: time
    timezone: str
    starts: date
    ends: date | None = None
    every: Literal["day", "week", "month"] = "day"
    on: str | int | None = None

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        if self.at.tzinfo is not None:
            raise ValueError("at is a local time of day: leave its tzinfo out and declare `timezone`")
        if self.at.second or self.at.microsecond:
            raise ValueError(f"at {self.at} must be a whole minute")
        self._check_on()
        for name, day in (("starts", self.starts), ("ends", self.ends)):
            if day is not None and not self._is_tick(day):
                raise ValueError(f"{name} {day}, a {WEEKDAYS[day.weekday()].capitalize()}, {self._is_no_tick(day)}")
        if self.ends is not None and self.ends < self.starts:
            raise ValueError(f"ends {self.ends} is before starts {self.starts}")

    def _check_on(self) -> None:
        match self.every:
            case "day" if self.on is not None:
                raise ValueError(f"on={self.on!r} is for ticks every week or month: declare `every` too, or leave `on` out")
            case "week" if self.on not in WEEKDAYS:
                raise ValueError(f"on={self.on!r} must be a day of the week for every='week': one of {', '.join(WEEKDAYS)}")
            case "month" if not isinstance(self.on, int) or not 1 <= self.on <= 31:
                raise ValueError(f"on={self.on!r} must be a day of the month for every='month': 1 to 31; 31 is always the last")

    @property
    def words(self) -> str:
        """How often there is a tick, such as 'every Monday'."""
        if self.every == "month":
            return "on the last day of every month" if self.on == LAST_OF_ANY_MONTH else f"on day {self.on} of every month"
        return f"every {str(self.on).capitalize()}" if self.every == "week" else "every day"

    @property
    def due(self) -> str:
        """When ticks are due, such as 'every Monday at 04:00'; a local time."""
        return f"{self.words} at {self.at:%H:%M}"

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
        if not self._is_tick(local):
            raise ValueError(f"{local} {self._is_no_tick(local)}")
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
        day = self._date_of(self._number_at(moment.astimezone(self.zone).date()))
        return day if self.moment(day) <= moment else self.shift(day, -1)

    def at_or_before(self, day: date) -> date:
        """The date of the last tick on a date or before it, as if the schedule had no first and no last tick."""
        return self._date_of(self._number_at(day))

    def at_or_after(self, day: date) -> date:
        """The date of the first tick on a date or after it, as if the schedule had no first and no last tick."""
        return day if self._is_tick(day) else self._date_of(self._number_at(day) + 1)

    def next_after(self, moment: datetime) -> date:
        """The date of the first tick that starts after `moment`, as if the schedule had no first and no last tick."""
        return self.shift(self.date_at(moment), 1)

    def shift(self, day: date, by: int) -> date:
        """The date of the tick that comes `by` ticks after that of `day` (before it if negative), also outside the schedule."""
        return self._date_of(self._number(day) + by)

    def ticks_between(self, first: date, last: date) -> int:
        """How many ticks the tick of `last` comes after that of `first`; negative if before it."""
        return self._number(last) - self._number(first)

    def dates(self, first: date, last: date) -> list[date]:
        """The dates of the ticks from `first` to `last`, both included, also outside the schedule; none if `last` is first."""
        return [self._date_of(number) for number in range(self._number(first), self._number(last) + 1)]

    def elapsed(self, first: date, last: date) -> timedelta:
        """The time from the tick of `first` to that of `last` by the calendar: a day of 23 or 25 hours counts as a day."""
        return last - first

    def back(self, day: date, length: timedelta) -> date:
        """The date of the earliest tick that is at most `length` before that of `day`, by the calendar."""
        return self.at_or_after(day - length // ONE_DAY * ONE_DAY)

    def first_after(self, day: date, length: timedelta) -> date:
        """The date of the first tick that is at least `length` after that of `day`, by the calendar."""
        return self.at_or_after(day - (-length // ONE_DAY) * ONE_DAY)

    def days_later(self, day: date, days: int) -> datetime:
        """The moment at the same local time as the tick of `day`, that many calendar days later."""
        return self.moment(day + days * ONE_DAY)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up; a month counts as 30.44 days."""
        return ceil(length / MEAN_LENGTH[self.every])

    def ticks_until(self, length: timedelta, calendar_days: int = 0) -> int:
        """After how many ticks `length` and before it whole days of the calendar, of 23 to 25 hours, are over at every tick.

        A month counts as 28 days.
        """
        # The day on which the rest ends may have 23 hours.
        rest = length + ONE_HOUR if calendar_days and length else length
        return ceil((calendar_days * ONE_DAY + rest) / SHORTEST[self.every])

    @property
    def longest(self) -> timedelta:
        """The longest time from a tick to the next one."""
        return LONGEST[self.every] + ONE_HOUR

    @property
    def period(self) -> str:
        """What a digest tells of: the ticks of a 'week', or of a 'month' if they are further apart."""
        return "week" if self.ticks_a_week else self.every

    @property
    def shortest(self) -> timedelta:
        """The shortest time from a tick to the next one, by the calendar."""
        return SHORTEST[self.every]

    def is_whole(self, length: timedelta) -> bool:
        """Whether a length is some ticks, not part of one; of months, whole days that are at least the shortest month."""
        return length >= self.shortest and length % (ONE_DAY if self.every == "month" else self.shortest) == NOTHING

    @property
    def whole_words(self) -> str:
        """What `is_whole` asks for."""
        return "whole days, at least 28" if self.every == "month" else f"whole {self.every}s, at least one"

    @property
    def ticks_a_week(self) -> int:
        """How many ticks a week has; 0 if they are further apart."""
        return {"day": 7, "week": 1, "month": 0}[self.every]

    def _number(self, day: date) -> int:
        """The number of the tick of that date; ticks are numbered in order. Raises: ValueError if it is none."""
        if not self._is_tick(day):
            raise ValueError(f"{day} {self._is_no_tick(day)}")
        return self._number_at(day)

    def _is_tick(self, day: date) -> bool:
        return self._date_of(self._number_at(day)) == day

    def _is_no_tick(self, day: date) -> str:
        number = self._number_at(day)
        before, after = self._date_of(number), self._date_of(number + 1)
        return f"is no tick: there is one {self.words}, the nearest are {before} and {after}"

    def _number_at(self, day: date) -> int:
        """The number of the last tick on that date or before it."""
        match self.every:
            case "day":
                return day.toordinal()
            case "week":
                return (day.toordinal() - 1 - WEEKDAYS.index(str(self.on))) // 7
            case "month":
                month = 12 * day.year + day.month - 1
                return month if day >= self._date_of(month) else month - 1

    def _date_of(self, number: int) -> date:
        """The date of the tick with that number."""
        match self.every:
            case "day":
                return date.fromordinal(number)
            case "week":
                return date.fromordinal(7 * number + 1 + WEEKDAYS.index(str(self.on)))
            case "month":
                year, month = divmod(number, 12)
                assert isinstance(self.on, int)
                return date(year, month + 1, min(self.on, monthrange(year, month + 1)[1]))

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
