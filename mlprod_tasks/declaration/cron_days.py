"""The days of a cron expression, numbered in order. Only `rhythm` uses it.

The calendar repeats every 400 years, and a year's days follow from its first weekday and whether it is a leap year.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import isleap
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from itertools import accumulate, pairwise

ONE_DAY = timedelta(days=1)
CYCLE = 400  # years
CYCLE_DAYS = 146_097
SEEN = range(2000, 2028)  # years in which every month begins on every weekday, in leap years too
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
FORM = "three fields: day of the month, month, day of the week, such as '* * 1-5' for Monday to Friday"


@dataclass(frozen=True)
class CronDays:
    """The dates that meet the last three fields of a cron expression.

    days, months, weekdays: the allowed days of the month, months, and weekdays (0 is Monday).
    """

    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def is_weekly(self) -> bool:
        """Whether every week has the same days."""
        return len(self.days) == 31 and len(self.months) == 12

    def number_on(self, day: date) -> int:
        """The number of the last of these dates on a date or before it."""
        cycle, year = divmod(day.year - 1, CYCLE)
        within = bisect_right(self.days_of(day.year), day.timetuple().tm_yday - 1)
        return cycle * self._before[-1] + self._before[year] + within - 1

    def day(self, number: int) -> date:
        """The date of that number."""
        cycle, rest = divmod(number, self._before[-1])
        year = bisect_right(self._before, rest) - 1
        first = CYCLE * cycle + year + 1
        return date(first, 1, 1) + self.days_of(first)[rest - self._before[year]] * ONE_DAY

    @property
    def mean_length(self) -> timedelta:
        """The mean time from one of these dates to the next."""
        return CYCLE_DAYS / self._before[-1] * ONE_DAY

    @cached_property
    def shortest(self) -> timedelta:
        """The shortest time from one of these dates to the next."""
        return self.shortest_of(1)

    @cached_property
    def longest(self) -> timedelta:
        """The longest time from one of these dates to the next."""
        listed = self._listed
        return max(after - before for before, after in pairwise(listed)) * ONE_DAY

    def shortest_of(self, count: int) -> timedelta:
        """The shortest time from one of these dates to the one that comes `count` later."""
        listed = self._listed
        return min(after - before for before, after in zip(listed, listed[count:], strict=False)) * ONE_DAY

    def count_until(self, length: timedelta) -> int:
        """After how many of these dates `length` is over, whichever it begins at."""
        low, high = 0, -(-length // self.shortest)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.shortest_of(middle) >= length else (middle + 1, high)
        return low

    @cached_property
    def _listed(self) -> list[int]:
        return [date(year, 1, 1).toordinal() + day for year in SEEN for day in self.days_of(year)]

    @cached_property
    def _before(self) -> list[int]:
        """How many of these dates come before each year of the cycle, and at the end how many it has."""
        return [0, *accumulate(len(self.days_of(year + 1)) for year in range(CYCLE))]

    def days_of(self, year: int) -> tuple[int, ...]:
        """Which days of a year there are, from 0 on."""
        return _days_of(self, date(1 + (year - 1) % CYCLE, 1, 1).weekday(), isleap(year))


@cache
def _days_of(of: CronDays, first_weekday: int, leap: bool) -> tuple[int, ...]:
    year = next(y for y in range(1, CYCLE + 1) if date(y, 1, 1).weekday() == first_weekday and isleap(y) == leap)
    first = date(year, 1, 1)
    dates = [first + n * ONE_DAY for n in range(366 if leap else 365)]
    return tuple(
        n for n, day in enumerate(dates) if day.day in of.days and day.month in of.months and day.weekday() in of.weekdays
    )


def cron_days(written: str) -> CronDays:
    """Read the last three fields of a cron expression. Raises: ValueError."""
    fields = written.split()
    if len(fields) != 3:
        raise ValueError(f"{written!r} must be {FORM}")
    days = numbers_of(fields[0], "day of the month", 1, 31)
    months = numbers_of(fields[1], "month", 1, 12, MONTHS)
    weekdays = frozenset((day - 1) % 7 for day in numbers_of(fields[2], "day of the week", 0, 7, WEEK))
    if len(days) < 31 and len(weekdays) < 7:
        raise ValueError(
            f"{written!r} has a day of the month and a day of the week, and cron takes the days of either: write '*' for one"
        )
    found = CronDays(days, months, weekdays)
    if not all(found.days_of(year) for year in SEEN):
        raise ValueError(f"{written!r} names days that not every year has: {FORM}")
    return found


def numbers_of(written: str, what: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    """The numbers that a field of cron allows."""
    allowed: set[int] = set()
    for part in written.lower().split(","):
        match = PART.fullmatch(part)
        if match is None or (match["first"] == "*" and match["last"]):
            raise ValueError(f"{what} {written!r}: write numbers, ranges, lists and steps, such as 1-5, 1,15 or */2")
        if match["first"] == "*":
            first, last = low, high if names is not WEEK else 6
        else:
            first = _number(match["first"], what, low, high, names)
            last = _number(match["last"], what, low, high, names) if match["last"] else (high if match["step"] else first)
        if last < first or match["step"] == "0":
            raise ValueError(f"{what} {written!r}: {part!r} has none")
        allowed |= set(range(first, last + 1, int(match["step"] or 1)))
    return frozenset(allowed)


def _number(written: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    number = names.index(written) + (low if names is MONTHS else 0) if written in names else None
    number = int(written) if number is None and written.isdecimal() else number
    if number is None or not low <= number <= high:
        raise ValueError(f"{what} {written!r} must be from {low} to {high}{f', or {names[0]} to {names[-1]}' if names else ''}")
    return number
