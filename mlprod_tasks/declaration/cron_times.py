"""Several ticks a day by a cron expression: their numbers, names and moments. Only `Schedule` uses it.

On most days the clock shows every time of the expression once, so a day's number of ticks is known without looking at its
moments. Only on days with a clock change they are looked up. Where every hour has ticks, they go on through an hour that the
clock repeats; where some hours have, a tick is at the first of the two. A time that the clock skips is moved later by
the gap, as for all schedules; if there is a tick already, it is the same one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from itertools import accumulate, pairwise
from math import ceil
from zoneinfo import ZoneInfo

from mlprod_tasks.declaration.cron_days import CronDays, cron_days, numbers_of

ONE_DAY, ONE_HOUR, NOTHING = timedelta(days=1), timedelta(hours=1), timedelta(0)
FORM = "%Y-%m-%dT%H%MZ"  # of the names of ticks within a day
FIRST_YEAR = 2000  # its first tick is number 0
FIELDS = 5  # of a cron expression


@dataclass(frozen=True)
class CronTimes:
    """Ticks at several times of the days of a cron expression, named by their start in UTC.

    expression: minute, hour, day of the month, month, day of the week.
    """

    expression: str
    zone: ZoneInfo

    @cached_property
    def times(self) -> list[time]:
        """The local times of a day, in order."""
        return times_of(self.expression)

    @cached_property
    def days(self) -> CronDays:
        """The days that have ticks."""
        return cron_days(" ".join(self.expression.split()[2:]))

    def number_at(self, moment: datetime) -> int:
        """The number of the tick whose interval contains a moment."""
        day = moment.astimezone(self.zone).date()
        return self._before(day) + bisect_right(self._moments(day), moment.astimezone(UTC)) - 1

    def number_on(self, day: date) -> int:
        """The number of the last tick that starts on a local date or before it."""
        return self._before(day + ONE_DAY) - 1

    def number(self, name: object) -> int | None:
        """The number of the tick of that name; None if there is none."""
        if not isinstance(name, str):
            return None
        try:
            start = datetime.strptime(name, FORM).replace(tzinfo=UTC)
        except ValueError:
            return None
        number = self.number_at(start)
        return number if self.start(number) == start else None

    def name(self, number: int) -> str:
        return self.start(number).strftime(FORM)

    def start(self, number: int) -> datetime:
        """When a tick is due, in UTC."""
        year = FIRST_YEAR + number // max(1, self._mean_of_year)
        while self._before_year(year) > number:
            year -= 1
        while self._before_year(year + 1) <= number:
            year += 1
        dates, before = self._year(year)
        place = bisect_right(before, number - self._before_year(year)) - 1
        return self._moments(dates[place])[number - self._before_year(year) - before[place]]

    def days_later(self, number: int, days: int) -> datetime:
        """The moment at the same local time as a tick, that many calendar days later."""
        local = self.start(number).astimezone(self.zone)
        return (local + days * ONE_DAY).astimezone(UTC)

    def elapsed(self, first: int, last: int) -> timedelta:
        """The time between two ticks."""
        return self.start(last) - self.start(first)

    def back(self, number: int, length: timedelta) -> int:
        """The earliest tick that is at most `length` before another one."""
        return self._from(self.start(number) - length)

    def first_after(self, number: int, length: timedelta) -> int:
        """The first tick that is at least `length` after another one."""
        return self._from(self.start(number) + length)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up."""
        return ceil(length * len(self.times) / self.days.mean_length)

    def ticks_until(self, length: timedelta) -> int:
        """After how many ticks `length` is over, whichever it begins at, clock changes included."""
        if length > NOTHING:
            length += NOTHING if self._is_even else self._change
        low, high = 0, -(-length // self.shortest)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._shortest_of(middle) >= length else (middle + 1, high)
        return low

    @cached_property
    def shortest(self) -> timedelta:
        """The shortest time from a tick to the next one, by the clock."""
        return self._shortest_of(1)

    @cached_property
    def longest(self) -> timedelta:
        """The longest time from a tick to the next one."""
        over_night = self.days.longest + self._offsets[0] - self._offsets[-1]
        return max([over_night, *(after - before for before, after in pairwise(self._offsets))]) + self._change

    @property
    def words(self) -> str:
        """How often there is a tick."""
        return f"at the times '{self.expression}' of cron"

    @cached_property
    def hours(self) -> list[int]:
        """The hours of the day that have ticks."""
        return sorted({at.hour for at in self.times})

    def _from(self, moment: datetime) -> int:
        """The number of the first tick at a moment or after it."""
        number = self.number_at(moment)
        return number if self.start(number) == moment else number + 1

    @cached_property
    def _offsets(self) -> list[timedelta]:
        """The times of a day since midnight."""
        return [timedelta(hours=at.hour, minutes=at.minute) for at in self.times]

    @cached_property
    def goes_on(self) -> bool:
        """Whether there are ticks in both of two equal hours."""
        return len(self.hours) == 24

    @cached_property
    def _change(self) -> timedelta:
        """The largest clock change of the zone."""
        seen = {
            datetime(2000 + n // 24, n // 2 % 12 + 1, 1 + n % 2 * 14, 12, tzinfo=self.zone).utcoffset() for n in range(28 * 24)
        }
        known = [offset for offset in seen if offset is not None]
        return min(max(known) - min(known), ONE_HOUR)

    @cached_property
    def _is_even(self) -> bool:
        """Whether ticks are equally far apart in real time, also where the clock changes."""
        apart = ONE_DAY / len(self._offsets)
        return (
            self.goes_on
            and self.days.is_weekly
            and len(self.days.weekdays) == 7
            and all(after - before == apart for before, after in pairwise(self._offsets))
            and self._change % apart == NOTHING
        )

    def _shortest_of(self, count: int) -> timedelta:
        """The shortest time by the clock from a tick to the one that comes `count` later.

        It is the shortest over the times of a day: how far the days of both are apart does not depend on the time.
        """
        each = len(self.times)
        spans = []
        for place, begins in enumerate(self._offsets):
            later, at = divmod(place + count, each)
            spans.append((_shortest_of_days(self.days, later) if later else NOTHING) + self._offsets[at] - begins)
        return min(spans)

    def _before(self, day: date) -> int:
        """How many ticks come before a local date."""
        dates, before = self._year(day.year)
        return self._before_year(day.year) + before[bisect_right(dates, day - ONE_DAY)]

    @cached_property
    def _mean_of_year(self) -> int:
        return int(len(self.times) * 365 * ONE_DAY / self.days.mean_length)

    def _before_year(self, year: int) -> int:
        """How many ticks come before a year; negative before the first one."""
        return _before_year(self, year)

    def _year(self, year: int) -> tuple[list[date], list[int]]:
        """The dates of a year with ticks, and how many of its ticks come before each, and at the end how many it has."""
        return _year(self, year)

    def _moments(self, day: date) -> tuple[datetime, ...]:
        """The starts of the ticks of a local date, in UTC and in order."""
        return _moments(self, day)


def times_of(expression: str) -> list[time]:
    """The local times of a day of a cron expression, in order. Raises: ValueError."""
    fields = expression.split()
    if len(fields) != FIELDS:
        raise ValueError(
            f"cron {expression!r} must have five fields, minute, hour, day of the month, month and day of the week, such as "
            "'0 6 * * 1-5'"
        )
    hours, minutes = numbers_of(fields[1], "hour", 0, 23), numbers_of(fields[0], "minute", 0, 59)
    return [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]


@cache
def _shortest_of_days(days: CronDays, count: int) -> timedelta:
    return days.shortest_of(count)


@cache
def _before_year(of: CronTimes, year: int) -> int:
    if year == FIRST_YEAR:
        return 0
    if year > FIRST_YEAR:
        return sum(_year(of, one)[1][-1] for one in range(FIRST_YEAR, year))
    return -sum(_year(of, one)[1][-1] for one in range(year, FIRST_YEAR))


@cache
def _year(of: CronTimes, year: int) -> tuple[list[date], list[int]]:
    first = date(year, 1, 1)
    dates = [first + n * ONE_DAY for n in of.days.days_of(year)]
    offsets = [datetime.combine(first + n * ONE_DAY, time(), of.zone).utcoffset() for n in range(368)]
    changes = {n for n in range(367) if offsets[n] != offsets[n + 1]}  # days on which the clock does not show every time once
    counts = (len(_moments(of, day)) if (day - first).days in changes else len(of.times) for day in dates)
    return dates, [0, *accumulate(counts)]


@cache
def _moments(of: CronTimes, day: date) -> tuple[datetime, ...]:
    if not of.days.days_of(day.year) or (day - date(day.year, 1, 1)).days not in of.days.days_of(day.year):
        return ()
    locals_ = [datetime.combine(day, at, of.zone) for at in of.times]
    if of.goes_on:
        again = (local.replace(fold=1) for local in locals_)
        locals_ += [second for second in again if second.utcoffset() < second.replace(fold=0).utcoffset()]  # type: ignore[operator]
    moments = sorted({local.astimezone(UTC) for local in locals_})
    return tuple(moment for moment in moments if moment.astimezone(of.zone).date() == day)
