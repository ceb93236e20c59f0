"""Ticks: when a pipeline runs, and the interval of time of each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from mlprod_tasks.declaration.cron_days import cron_days
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.rhythm import FORM, LAST_OF_ANY_MONTH, ONE_HOUR, WEEKDAYS, Calendar, Hours, TickName, tick_named

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
    working days at six. They have at most one tick a day, and intervals of unequal length: a tick's ends with the next tick.

    at: the local time of day, a whole minute; of hourly ticks the minute, as in `time(0, 30)`.
    timezone: the IANA time zone of `at`, such as 'Europe/Zurich'.
    starts: the date of the first tick.
    ends: the date of the last tick, for data that stops; None: no end.
    every: how often there is a tick: 'hour', 'day', 'week' or 'month', or 'cron'.
    on: of weekly ticks the day of the week, such as 'monday'; of monthly ones the day of the month, 1 to 31: of a shorter month
    the last day; of ticks by cron the last three fields of the expression.
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
        """Ticks on the days of a cron expression: minute, hour, day of the month, month, day of the week.

        Minute and hour are one number each; several ticks a day are declared with `every="hour"`. Raises: ValueError.
        """
        minute, hour, days = (*expression.split(maxsplit=2), "", "", "")[:3]
        if not (minute.isdecimal() and hour.isdecimal() and int(minute) < 60 and int(hour) < 24):
            raise ValueError(
                f"cron {expression!r}: minute and hour must be one number each, as in '0 6 * * 1-5': there is at most one tick "
                "a day; for more declare every='hour', with `hours` from one to the next"
            )
        return cls(at=time(int(hour), int(minute)), timezone=timezone, starts=starts, ends=ends, every="cron", on=days)

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
            if day is not None and self._rhythm.number(day) is None:
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
                try:
                    cron_days(str(self.on or ""))
                except ValueError as error:
                    raise ValueError(f"on: {error}") from None
            case "week" if self.on not in WEEKDAYS:
                raise ValueError(f"on={self.on!r} must be a day of the week for every='week': {_weekday_meant(self.on)}")
            case "month" if not isinstance(self.on, int) or not 1 <= self.on <= LAST_OF_ANY_MONTH:
                raise ValueError(f"on={self.on!r} must be a day of the month for every='month': 1 to 31; 31 is always the last")

    @property
    def words(self) -> str:
        """How often there is a tick, such as 'every Monday'."""
        return self._rhythm.words

    @property
    def due(self) -> str:
        """When ticks are due, such as 'every Monday at 04:00'; a local time."""
        return f"{self.words} at minute {self.at.minute}" if self.every == "hour" else f"{self.words} at {self.at:%H:%M}"

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def first(self) -> TickName:
        """The name of the first tick."""
        return self._rhythm.name(0) if self.every == "hour" else self.starts

    @cached_property
    def last(self) -> TickName | None:
        """The name of the last tick; None: no end."""
        if self.ends is None or self.every != "hour":
            return self.ends
        return self._rhythm.name(self._rhythm.number_on(self.ends))

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
        change = ONE_HOUR if calendar_days and (length or self.every == "hour") else NOTHING
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
            return f"whole days, at least {self.shortest.days}"
        return f"times of {self.hours} hours" if self.hours > 1 else f"whole {self.every}s, at least one"

    @property
    def ticks_a_week(self) -> int:
        """How many ticks a week has; 0 if they are further apart."""
        if isinstance(self._rhythm, Calendar) and self._rhythm.days is not None:
            return len(self._rhythm.days.weekdays) if self._rhythm.days.is_weekly else 0
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

        By cron, the days of the week that every week has.
        """
        if self.every == "cron":
            return max(1, self.ticks_a_week)
        return {"day": 7, "hour": 24 // self.hours}.get(self.every, 1)

    def season(self, name: TickName) -> int:
        """Which part of a week or day a tick is, from 0 on: weekday (0 is Monday) or hour; 0 of what has no such parts."""
        if self.every == "day":
            return self.day_of(name).weekday()
        if isinstance(self._rhythm, Calendar) and self._rhythm.days is not None:
            return sorted(self._rhythm.days.weekdays).index(self.day_of(name).weekday()) if self._rhythm.days.is_weekly else 0
        return self.moment(name).astimezone(self.zone).hour // self.hours if self.every == "hour" else 0

    def range(self, first: TickName, last: TickName | None = None) -> TickRange:
        """The ticks from `first` to `last`, both included; only `first` if `last` is None. Names may be given as text.

        Of ticks within a day, a local date means all ticks of that day.
        """
        last = first if last is None else last
        if self.every == "hour":
            first, last = self._of_day(first, self.at_or_after), self._of_day(last, self.at_or_before)
        return TickRange(self, self.tick(first).name, self.tick(last).name)

    def _of_day(self, name: TickName, chosen: Callable[[date], TickName]) -> TickName:
        named = self._named(name, days=True)
        return chosen(named) if isinstance(named, date) else named

    @cached_property
    def _rhythm(self) -> Calendar | Hours:
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
            example = "a start in UTC such as 2013-06-17T0500Z" if self.every == "hour" else "a date such as 2013-06-17"
            raise ValueError(f"tick {name!r} is not {example}") from error
        if isinstance(known, date) == (self.every == "hour") and not (days and isinstance(known, date)):
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


def zone_of(timezone: str) -> ZoneInfo:
    """The time zone of that name. Raises: ValueError."""
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(f"timezone {timezone!r} is not an IANA time zone{_zone_meant(timezone)}") from error


def _weekday_meant(given: object) -> str:
    """The day that was likely meant, or all."""
    near = [day for day in WEEKDAYS if isinstance(given, str) and given and day.startswith(given.lower()[:3])]
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(WEEKDAYS)}"


def _zone_meant(given: str) -> str:
    """The zone of a city, or an example."""
    city = given.strip().replace(" ", "_").lower()
    near = sorted(zone for zone in available_timezones() if zone.rpartition("/")[2].lower() == city)
    return f"; did you mean {near[0]!r}?" if near else " such as 'Europe/Zurich'"
