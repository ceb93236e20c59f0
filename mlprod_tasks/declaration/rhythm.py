"""How ticks follow each other: their numbers, names and moments. Only `Schedule` uses it.

Ticks of a rhythm are numbered in order, without first or last. A calendar names them by their local date. Ticks within a day
are named by their start in UTC, such as '2013-11-03T0500Z': local names would repeat when the clock is put back. Names sort as
ticks do.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from math import ceil
from typing import Annotated, Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import PlainSerializer, PlainValidator

from mlprod_tasks.declaration.cron_days import CronDays, cron_days

ONE_DAY, ONE_HOUR = timedelta(days=1), timedelta(hours=1)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAST_OF_ANY_MONTH = 31
DATE = re.compile(r"\d{4}-\d\d-\d\d")
START = re.compile(r"\d{4}-\d\d-\d\dT\d{4}Z")
FORM = "%Y-%m-%dT%H%MZ"  # of the names of ticks within a day
SHORTEST = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 28 * ONE_DAY}  # from a tick to the next one, by the calendar
MEAN_LENGTH = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 146_097 / 4800 * ONE_DAY}
LONGEST = {"day": ONE_DAY, "week": 7 * ONE_DAY, "month": 31 * ONE_DAY}


class TickName(Protocol):
    """What names a tick: a date, or a text for ticks within a day. Ordered and hashable; `str` gives its text."""

    def __lt__(self, other: Any, /) -> bool: ...
    def __le__(self, other: Any, /) -> bool: ...
    def __gt__(self, other: Any, /) -> bool: ...
    def __ge__(self, other: Any, /) -> bool: ...
    def __hash__(self) -> int: ...


def tick_named(text: str) -> TickName:
    """The name of a tick that was written as text. Raises: ValueError."""
    if START.fullmatch(text):
        datetime.strptime(text, FORM)  # noqa: DTZ007  # only that it is a moment
        return text
    if not DATE.fullmatch(text):
        raise ValueError(f"{text!r} names no tick: neither a date nor a start in UTC such as 2013-06-17T0500Z")
    return date.fromisoformat(text)


def day_or_moment(name: TickName) -> date:
    """What a name says without its schedule: a date, or for ticks within a day their start in UTC."""
    return name if isinstance(name, date) else datetime.strptime(str(name), FORM).replace(tzinfo=UTC)


def _recorded(name: Any) -> TickName:
    return name if isinstance(name, date) else tick_named(name)


# The name of a tick in a record, which is JSON: there it is text.
RecordedName = Annotated[TickName, PlainValidator(_recorded), PlainSerializer(str, return_type=str)]


@dataclass(frozen=True)
class Calendar:
    """A tick per day, week or month, or on the days of a cron expression, at a local time of day, named by its local date.

    on: the day of the week, or of the month: of a shorter month the last day; or the last three fields of a cron expression.
    """

    at: time
    zone: ZoneInfo
    every: Literal["day", "week", "month", "cron"]
    on: str | int | None

    @cached_property
    def days(self) -> CronDays | None:
        """The days of ticks by cron."""
        return cron_days(str(self.on)) if self.every == "cron" else None

    def number_at(self, moment: datetime) -> int:
        """The number of the tick whose interval contains a moment."""
        number = self.number_on(moment.astimezone(self.zone).date())
        return number if self.start(number) <= moment else number - 1

    def number_on(self, day: date) -> int:
        """The number of the last tick on a date or before it."""
        if self.days is not None:
            return self.days.number_on(day)
        match self.every:
            case "day":
                return day.toordinal()
            case "week":
                return (day.toordinal() - 1 - WEEKDAYS.index(str(self.on))) // 7
            case "month":
                month = 12 * day.year + day.month - 1
                return month if day >= self.name(month) else month - 1
        raise AssertionError(self.every)

    def number(self, name: TickName) -> int | None:
        """The number of the tick of that name; None if there is none."""
        if not isinstance(name, date):
            return None
        number = self.number_on(name)
        return number if self.name(number) == name else None

    def name(self, number: int) -> date:
        if self.days is not None:
            return self.days.day(number)
        match self.every:
            case "day":
                return date.fromordinal(number)
            case "week":
                return date.fromordinal(7 * number + 1 + WEEKDAYS.index(str(self.on)))
            case "month":
                year, month = divmod(number, 12)
                assert isinstance(self.on, int)
                return date(year, month + 1, min(self.on, monthrange(year, month + 1)[1]))
        raise AssertionError(self.every)

    def start(self, number: int) -> datetime:
        """When a tick is due, in UTC. A local time that a clock change skips is moved later by the gap."""
        return self._moment(self.name(number))

    def days_later(self, number: int, days: int) -> datetime:
        """The moment at the same local time as a tick, that many calendar days later."""
        return self._moment(self.name(number) + days * ONE_DAY)

    def elapsed(self, first: int, last: int) -> timedelta:
        """The time between two ticks by the calendar: a day of 23 or 25 hours counts as a day."""
        return self.name(last) - self.name(first)

    def back(self, number: int, length: timedelta) -> int:
        """The earliest tick that is at most `length` before another one, by the calendar."""
        return self._from(self.name(number) - length // ONE_DAY * ONE_DAY)

    def first_after(self, number: int, length: timedelta) -> int:
        """The first tick that is at least `length` after another one, by the calendar."""
        return self._from(self.name(number) - (-length // ONE_DAY) * ONE_DAY)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up."""
        return ceil(length / (self.days.mean_length if self.days is not None else MEAN_LENGTH[self.every]))

    def ticks_until(self, length: timedelta) -> int:
        """After how many ticks `length` is over at every tick."""
        return self.days.count_until(length) if self.days is not None else ceil(length / SHORTEST[self.every])

    @property
    def shortest(self) -> timedelta:
        """The shortest time from a tick to the next one, by the calendar."""
        return self.days.shortest if self.days is not None else SHORTEST[self.every]

    @property
    def longest(self) -> timedelta:
        """The longest time from a tick to the next one."""
        return (self.days.longest if self.days is not None else LONGEST[self.every]) + ONE_HOUR

    @property
    def words(self) -> str:
        """How often there is a tick, such as 'every Monday'."""
        if self.days is not None:
            return f"on the days '{self.on}' of cron"
        if self.every == "month":
            return "on the last day of every month" if self.on == LAST_OF_ANY_MONTH else f"on day {self.on} of every month"
        return f"every {str(self.on).capitalize()}" if self.every == "week" else "every day"

    def _from(self, day: date) -> int:
        """The number of the first tick on a date or after it."""
        number = self.number_on(day)
        return number if self.name(number) == day else number + 1

    def _moment(self, day: date) -> datetime:
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)


@dataclass(frozen=True)
class Hours:
    """A tick every so many hours of real time, whatever the clock shows, named by its start in UTC.

    first: the start of tick 0. hours: from a tick to the next one.
    """

    first: datetime
    zone: ZoneInfo
    hours: int

    def number_at(self, moment: datetime) -> int:
        """The number of the tick whose interval contains a moment."""
        return (moment - self.first) // self.shortest

    def number_on(self, day: date) -> int:
        """The number of the last tick that starts on a local date or before it."""
        midnight = datetime.combine(day + ONE_DAY, time(), self.zone).astimezone(UTC)
        return self.number_at(midnight - timedelta(microseconds=1))

    def number(self, name: TickName) -> int | None:
        """The number of the tick of that name; None if there is none."""
        if not isinstance(name, str) or not START.fullmatch(name):
            return None
        number, rest = divmod(datetime.strptime(name, FORM).replace(tzinfo=UTC) - self.first, self.shortest)
        return None if rest else number

    def name(self, number: int) -> str:
        return self.start(number).strftime(FORM)

    def start(self, number: int) -> datetime:
        """When a tick is due, in UTC."""
        return self.first + number * self.shortest

    def days_later(self, number: int, days: int) -> datetime:
        """The moment at the same local time as a tick, that many calendar days later."""
        local = self.start(number).astimezone(self.zone)
        return (local + days * ONE_DAY).astimezone(UTC)

    def elapsed(self, first: int, last: int) -> timedelta:
        """The time between two ticks."""
        return (last - first) * self.shortest

    def back(self, number: int, length: timedelta) -> int:
        """The earliest tick that is at most `length` before another one."""
        return number - length // self.shortest

    def first_after(self, number: int, length: timedelta) -> int:
        """The first tick that is at least `length` after another one."""
        return number + self.ticks_until(length)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up."""
        return ceil(length / self.shortest)

    def ticks_until(self, length: timedelta) -> int:
        """After how many ticks `length` is over."""
        return ceil(length / self.shortest)

    @property
    def shortest(self) -> timedelta:
        """The time from a tick to the next one."""
        return self.hours * ONE_HOUR

    @property
    def longest(self) -> timedelta:
        """The time from a tick to the next one."""
        return self.shortest

    @property
    def words(self) -> str:
        """How often there is a tick, such as 'every 6 hours'."""
        return "every hour" if self.hours == 1 else f"every {self.hours} hours"
