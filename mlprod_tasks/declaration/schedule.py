"""Ticks: when a pipeline runs, and the interval of time of each run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from mlprod_tasks.declaration.cron_days import cron_days
from mlprod_tasks.declaration.cron_times import FIELDS, CronTimes, times_of
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.meant import weekday_meant
from mlprod_tasks.declaration.rhythm import FORM, LAST_OF_ANY_MONTH, ONE_HOUR, WEEKDAYS, Calendar, Hours, TickName, tick_named
from mlprod_tasks.declaration.zones import zone_of

NOTHING = timedelta(0)
HOURS = (1, 2, 3, 4, 6, 8, 12)  # that a tick may be apart within a day


@dataclass(frozen=True, order=True)
class Tick:
    """The moment of a scheduled run, and the half-open interval up to the next one.

    name: what names the tick everywhere: Airflow's partition key, the lake's partition, the ledger. Its local calendar date; of
    ticks within a day a text, their start in UTC, such as '2013-11-03T0500Z'.
    start: the moment itself, in UTC.
    end: the next tick's moment, in UTC; of daily ticks 23, 24 or 25 hours later.
    """

    name: TickName
    start: datetime
    end: datetime

    def __str__(self) -> str:
        return str(self.name)


@dataclass(frozen=True)
class TickRange:
    """Consecutive ticks, first and last included; possibly only one.

    schedule: their schedule.
    first: the name of the first tick.
    last: the name of the last tick.
    """

    schedule: Schedule
    first: TickName
    last: TickName

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range of ticks {self.first} to {self.last} is empty")

    def __iter__(self) -> Iterator[Tick]:
        return map(self.schedule.tick, self.names)

    def __len__(self) -> int:
        return self.schedule.ticks_between(self.first, self.last) + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def names(self) -> list[TickName]:
        """The names of the ticks, which may lie outside the schedule."""
        return self.schedule.names(self.first, self.last)

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
    """When a pipeline runs: one tick per day, week or month at a local time of day, on the days of a cron expression, or one
    every so many hours.

    Ticks by cron are declared by `Schedule.cron`: `ml.Schedule.cron("0 6 * * 1-5", timezone="Europe/Zurich", starts=...)` on
    working days at six, `"0 6,14,22 * * *"` three times a day. Intervals may be of unequal length: a tick's ends with the next.

    at: the local time of day, a whole minute; of hourly ticks the minute, as in `time(0, 30)`.
    timezone: the IANA time zone of `at`, such as 'Europe/Zurich'.
    starts: the date of the first tick.
    ends: the date of the last tick, for data that stops; None: no end.
    every: how often there is a tick: 'hour', 'day', 'week' or 'month', or 'cron'.
    on: of weekly ticks the day of the week, such as 'monday'; of monthly ones the day of the month, 1 to 31: of a shorter month
    the last day; of ticks by cron the last three fields of the expression, or all five where a day has several ticks.
    hours: of hourly ticks, the hours from a tick to the next one, counted in real time from midnight of `starts`.
    """

    at: time
    timezone: str
    starts: date
    ends: date | None = None
    every: Literal["hour", "day", "week", "month", "cron"] = "day"
    on: str | int | None = None
    hours: int = 1

    @classmethod
    def cron(cls, expression: str, timezone: str, starts: date, ends: date | None = None) -> Schedule:
        """Ticks by cron: minute, hour, day of the month, month, day of the week. Raises: ValueError."""
        at, *more = times_of(expression)
        on = expression if more else " ".join(expression.split()[2:])
        return cls(at=at, timezone=timezone, starts=starts, ends=ends, every="cron", on=on)

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        if self.at.tzinfo is not None:
            raise ValueError("at is a local time of day: leave its tzinfo out and declare `timezone`")
        if self.at.second or self.at.microsecond:
            raise ValueError(f"at {self.at} must be a whole minute")
        self._check_rhythm()
        if self.ends is not None and self.ends < self.starts:
            raise ValueError(f"ends {self.ends} is before starts {self.starts}")
        if self.every == "hour":
            return
        for name, day in (("starts", self.starts), ("ends", self.ends)):
            if day is not None and not self._has_tick_on(day):
                raise ValueError(f"{name} {day}, a {WEEKDAYS[day.weekday()].capitalize()}, {self._is_no_tick(day)}")

    def _check_rhythm(self) -> None:
        if self.every != "hour" and self.hours != 1:
            raise ValueError(f"hours={self.hours} is for ticks within a day: declare every='hour' too, or leave `hours` out")
        match self.every:
            case "day" | "hour" if self.on is not None:
                raise ValueError(f"on={self.on!r} is for ticks every week or month: declare `every` too, or leave `on` out")
            case "hour" if self.at.hour:
                raise ValueError(f"at {self.at:%H:%M}: of hourly ticks it is the minute alone, as in time(0, {self.at.minute})")
            case "hour" if self.hours not in HOURS:
                raise ValueError(f"hours={self.hours} must divide the day: one of {', '.join(map(str, HOURS))}")
            case "cron":
                self._check_cron(str(self.on or ""))
            case "week" if self.on not in WEEKDAYS:
                raise ValueError(f"on={self.on!r} must be a day of the week for every='week': {weekday_meant(self.on)}")
            case "month" if not isinstance(self.on, int) or not 1 <= self.on <= LAST_OF_ANY_MONTH:
                raise ValueError(f"on={self.on!r} must be a day of the month for every='month': 1 to 31; 31 is always the last")

    def _has_tick_on(self, day: date) -> bool:
        return self._rhythm.number_on(day) > self._rhythm.number_on(day - timedelta(days=1))

    def _check_cron(self, written: str) -> None:
        fields = written.split()
        try:
            cron_days(" ".join(fields[2:] if len(fields) == FIELDS else fields))
        except ValueError as error:
            raise ValueError(f"on: {error}") from None
        if len(fields) == FIELDS and (first := times_of(written)[0]) != self.at:
            raise ValueError(
                f"at {self.at:%H:%M} is not {first:%H:%M}, the first time of {written!r}: declare Schedule.cron(...)"
            )

    @property
    def is_within_day(self) -> bool:
        """Whether a day may have several ticks, which are named by their start."""
        return not isinstance(self._rhythm, Calendar)

    @property
    def words(self) -> str:
        """How often there is a tick, such as 'every Monday'."""
        return self._rhythm.words

    @property
    def due(self) -> str:
        """When ticks are due, such as 'every Monday at 04:00'; a local time."""
        if isinstance(self._rhythm, CronTimes):
            return self.words
        return f"{self.words} at minute {self.at.minute}" if self.every == "hour" else f"{self.words} at {self.at:%H:%M}"

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def first(self) -> TickName:
        """The name of the first tick."""
        return self.at_or_after(self.starts) if self.is_within_day else self.starts

    @cached_property
    def last(self) -> TickName | None:
        """The name of the last tick; None: no end."""
        if self.ends is None or not self.is_within_day:
            return self.ends
        return self.at_or_before(self.ends)

    def moment(self, name: TickName) -> datetime:
        """When a tick is due, in UTC. A local time that a clock change skips is moved later by the gap."""
        return self._rhythm.start(self._number(name))

    def tick(self, name: TickName) -> Tick:
        """The tick of a name, which may be given as text. Raises: ValueError if there is none."""
        known = self._named(name)
        if known < self.first or (self.last is not None and known > self.last):
            raise ValueError(f"tick {known} is outside the schedule, which runs from {self.first} to {self.last or 'today'}")
        number = self._number(known)
        return Tick(known, self._rhythm.start(number), self._rhythm.start(number + 1))

    def tick_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`, which needs a time zone."""
        return self.tick(self.name_at(moment))

    def last_at(self, moment: datetime) -> Tick:
        """The tick whose interval contains `moment`; the last tick if the schedule has ended by then."""
        if self.last is not None and moment >= self.moment(self.last):
            return self.tick(self.last)
        return self.tick_at(moment)

    def name_at(self, moment: datetime) -> TickName:
        """The name of the tick whose interval contains `moment`, as if the schedule had no first and no last tick."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
        return self._rhythm.name(self._rhythm.number_at(moment))

    def at_or_before(self, day: date) -> TickName:
        """The name of the last tick on a local date or before it, as if the schedule had no first and no last tick."""
        return self._rhythm.name(self._rhythm.number_on(day))

    def at_or_after(self, day: date) -> TickName:
        """The name of the first tick on a local date or after it, as if the schedule had no first and no last tick."""
        return self._rhythm.name(self._rhythm.number_on(day - timedelta(days=1)) + 1)

    def next_after(self, moment: datetime) -> TickName:
        """The name of the first tick that starts after `moment`, as if the schedule had no first and no last tick."""
        return self.shift(self.name_at(moment), 1)

    def shift(self, name: TickName, by: int) -> TickName:
        """The name of the tick that comes `by` ticks after another one (before it if negative), also outside the schedule."""
        return self._rhythm.name(self._number(name) + by)

    def ticks_between(self, first: TickName, last: TickName) -> int:
        """How many ticks the tick `last` comes after `first`; negative if before it."""
        return self._number(last) - self._number(first)

    def names(self, first: TickName, last: TickName) -> list[TickName]:
        """The names of the ticks from `first` to `last`, both included, also outside the schedule; none if `last` is first."""
        return [self._rhythm.name(number) for number in range(self._number(first), self._number(last) + 1)]

    def elapsed(self, first: TickName, last: TickName) -> timedelta:
        """The time between two ticks; of a calendar by its dates: a day of 23 or 25 hours counts as a day."""
        return self._rhythm.elapsed(self._number(first), self._number(last))

    def back(self, name: TickName, length: timedelta) -> TickName:
        """The earliest tick that is at most `length` before another one, as `elapsed` counts."""
        return self._rhythm.name(self._rhythm.back(self._number(name), length))

    def first_after(self, name: TickName, length: timedelta) -> TickName:
        """The first tick that is at least `length` after another one, as `elapsed` counts."""
        return self._rhythm.name(self._rhythm.first_after(self._number(name), length))

    def days_later(self, name: TickName, days: int) -> datetime:
        """The moment at the same local time as a tick, that many calendar days later."""
        return self._rhythm.days_later(self._number(name), days)

    def ticks_in(self, length: timedelta) -> int:
        """How many ticks a window of `length` has, rounded up; a month counts as 30.44 days."""
        return self._rhythm.ticks_in(length)

    def ticks_until(self, length: timedelta, calendar_days: int = 0) -> int:
        """After how many ticks `length` and before it whole days of the calendar, of 23 to 25 hours, are over at every tick.

        A month counts as 28 days.
        """
        # Days of the calendar end when a tick of the calendar starts; the rest may begin after a day of 23 hours.
        change = ONE_HOUR if calendar_days and (length or self.is_within_day) else NOTHING
        return self._rhythm.ticks_until(timedelta(days=calendar_days) + length + change)

    @property
    def longest(self) -> timedelta:
        """The longest time from a tick to the next one."""
        return self._rhythm.longest

    @property
    def shortest(self) -> timedelta:
        """The shortest time from a tick to the next one, by the calendar."""
        return self._rhythm.shortest

    @property
    def period(self) -> str:
        """What a digest tells of: the ticks of a 'week', or of a 'month' if they are further apart."""
        return "week" if self.ticks_a_week else self.unit

    @property
    def unit(self) -> str:
        """What a tick is called where ticks are counted: hour, day, week or month; of ticks by cron tick."""
        return "tick" if self.every == "cron" else self.every

    def is_whole(self, length: timedelta) -> bool:
        """Whether a length is some ticks, not part of one; if ticks differ, whole days that are at least the shortest one."""
        unequal = self.every in ("month", "cron")
        return length >= self.shortest and length % (timedelta(days=1) if unequal else self.shortest) == NOTHING

    @property
    def whole_words(self) -> str:
        """What `is_whole` asks for."""
        if self.every in ("month", "cron"):
            return f"whole days, at least {max(1, self.shortest.days)}"
        return f"times of {self.hours} hours" if self.hours > 1 else f"whole {self.every}s, at least one"

    @property
    def ticks_a_week(self) -> int:
        """How many ticks a week has; 0 if they are further apart."""
        if not isinstance(self._rhythm, Hours) and (days := self._rhythm.days) is not None:
            a_day = len(self._rhythm.times) if isinstance(self._rhythm, CronTimes) else 1
            return a_day * len(days.weekdays) if days.is_weekly else 0
        return 0 if self.every == "month" else int(timedelta(days=7) / self.shortest)

    def day_of(self, name: TickName) -> date:
        """The local date on which a tick starts."""
        return self.moment(name).astimezone(self.zone).date()

    def local(self, name: TickName) -> date:
        """The local date of a tick, or within a day its local moment: for axes and words that people read."""
        return name if isinstance(name, date) else self.moment(name).astimezone(self.zone)

    @property
    def seasons(self) -> int:
        """How many different `season`s ticks have: daily ones the days of a week, hourly ones the hours of a day.

        By cron, the days of the week that every week has; of several ticks a day, the hours that have some.
        """
        if isinstance(self._rhythm, CronTimes):
            return len(self._rhythm.hours)
        if self.every == "cron":
            return max(1, self.ticks_a_week)
        return {"day": 7, "hour": 24 // self.hours}.get(self.every, 1)

    def season(self, name: TickName) -> int:
        """Which part of a week or day a tick is, from 0 on: weekday (0 is Monday) or hour; 0 of what has no such parts."""
        if self.every == "day":
            return self.day_of(name).weekday()
        if isinstance(self._rhythm, Calendar) and self._rhythm.days is not None:
            return sorted(self._rhythm.days.weekdays).index(self.day_of(name).weekday()) if self._rhythm.days.is_weekly else 0
        hour = self.moment(name).astimezone(self.zone).hour
        if isinstance(self._rhythm, CronTimes):  # a tick that a clock change moves is of the hour before
            return max(0, bisect_right(self._rhythm.hours, hour) - 1)
        return hour // self.hours if self.every == "hour" else 0

    def range(self, first: TickName, last: TickName | None = None) -> TickRange:
        """The ticks from `first` to `last`, both included; only `first` if `last` is None. Names may be given as text.

        Of ticks within a day, a local date means all ticks of that day.
        """
        last = first if last is None else last
        if self.is_within_day:
            first, last = self._of_day(first, self.at_or_after), self._of_day(last, self.at_or_before)
        return TickRange(self, self.tick(first).name, self.tick(last).name)

    def _of_day(self, name: TickName, chosen: Callable[[date], TickName]) -> TickName:
        named = self._named(name, days=True)
        return chosen(named) if isinstance(named, date) else named

    @cached_property
    def _rhythm(self) -> Calendar | Hours | CronTimes:
        if self.every == "cron" and len(str(self.on).split()) == FIELDS:
            return CronTimes(str(self.on), self.zone)
        if self.every != "hour":
            return Calendar(self.at, self.zone, self.every, self.on)
        first = datetime.combine(self.starts, self.at, self.zone).astimezone(UTC)
        return Hours(first, self.zone, self.hours)

    def _named(self, name: TickName, days: bool = False) -> TickName:
        """The name that a text gives. days: whether it may be a date also where ticks are within a day."""
        if not isinstance(name, str):
            return name
        try:
            known = tick_named(name)
        except ValueError as error:
            example = "a start in UTC such as 2013-06-17T0500Z" if self.is_within_day else "a date such as 2013-06-17"
            raise ValueError(f"tick {name!r} is not {example}") from error
        if isinstance(known, date) == self.is_within_day and not (days and isinstance(known, date)):
            raise ValueError(f"{name} {self._is_no_tick(known)}")
        return known

    def _number(self, name: TickName) -> int:
        """The number of the tick of that name; ticks are numbered in order. Raises: ValueError if there is none."""
        number = self._rhythm.number(name)
        if number is None:
            raise ValueError(f"{name} {self._is_no_tick(name)}")
        return number

    def _is_no_tick(self, name: TickName) -> str:
        number = self._rhythm.number_on(name) if isinstance(name, date) else self._rhythm.number_at(_start(str(name)))
        before, after = self._rhythm.name(number), self._rhythm.name(number + 1)
        return f"is no tick: there is one {self.words}, the nearest are {before} and {after}"


def _start(name: str) -> datetime:
    return datetime.strptime(name, FORM).replace(tzinfo=UTC)
