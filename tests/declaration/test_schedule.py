"""Ticks: their names, their intervals, and the days on which a clock is put forward or back."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import count, islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.declaration import Schedule, Tick
from mlprod_tasks.declaration.schedule import WEEKDAYS

NEW_YORK = Schedule(time(4), "America/New_York", date(2013, 1, 2), date(2013, 12, 31))

# Northern and southern summer time, half and three-quarter hours, a half-hour clock change (Lord Howe), a change at midnight
# (Sao Paulo, until 2019), none at all.
ZONES = (
    "America/New_York",
    "Europe/Zurich",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "UTC",
)
schedules = st.builds(
    Schedule,
    at=st.times(timezones=st.none()).map(lambda at: at.replace(second=0, microsecond=0, fold=0))
    | st.sampled_from([time(0), time(0, 30), time(1, 30), time(2), time(2, 30), time(3), time(23, 59)]),
    timezone=st.sampled_from(ZONES),
    starts=st.just(date(2010, 1, 1)),
)
days = st.dates(date(2010, 1, 2), date(2020, 12, 31))
skipped = example(schedule=Schedule(time(2, 30), "America/New_York", date(2010, 1, 1)), day=date(2013, 3, 10))
doubled = example(schedule=Schedule(time(1, 30), "America/New_York", date(2010, 1, 1)), day=date(2013, 11, 3))
midnight = example(schedule=Schedule(time(0), "America/Sao_Paulo", date(2010, 1, 1)), day=date(2013, 10, 20))


@pytest.mark.parametrize(
    ("day", "hours"), [("2013-03-08", 24), ("2013-03-09", 23), ("2013-03-10", 24), ("2013-11-02", 25), ("2013-11-03", 24)]
)
def test_the_tick_that_spans_a_clock_change_is_an_hour_shorter_or_longer(day: str, hours: int) -> None:
    # At 04:00 the clock has changed already: the tick named for the day before holds the change.
    tick = NEW_YORK.tick(day)
    assert tick.end - tick.start == timedelta(hours=hours)


@pytest.mark.parametrize(("day", "hours"), [("2013-03-10", 23), ("2013-11-03", 25)])
def test_from_midnight_to_midnight_the_days_of_the_change_have_23_and_25_hours(day: str, hours: int) -> None:
    tick = Schedule(time(0), "America/New_York", date(2013, 1, 1)).tick(day)
    assert tick.end - tick.start == timedelta(hours=hours)


@pytest.mark.parametrize(("day", "utc_hour"), [("2013-01-15", 9), ("2013-03-09", 9), ("2013-03-10", 8), ("2013-11-03", 9)])
def test_a_tick_starts_at_the_local_time_of_day_in_winter_and_in_summer(day: str, utc_hour: int) -> None:
    assert NEW_YORK.tick(day).start == datetime(*date.fromisoformat(day).timetuple()[:3], utc_hour, tzinfo=UTC)


def test_a_time_of_day_that_the_clock_skips_moves_on_by_the_gap() -> None:
    tick = Schedule(time(2, 30), "America/New_York", date(2013, 1, 1)).tick("2013-03-10")
    assert tick.start == datetime(2013, 3, 10, 7, 30, tzinfo=UTC)  # 03:30 summer time: there was no 02:30
    assert tick.end == datetime(2013, 3, 11, 6, 30, tzinfo=UTC)


def test_a_time_of_day_that_comes_twice_is_its_first() -> None:
    schedule = Schedule(time(1, 30), "America/New_York", date(2013, 1, 1))
    assert schedule.tick("2013-11-03").start == datetime(2013, 11, 3, 5, 30, tzinfo=UTC)
    assert str(schedule.tick_at(datetime(2013, 11, 3, 6, 30, tzinfo=UTC))) == "2013-11-03"  # half past one again


@given(schedule=schedules, day=days)
@skipped
@doubled
@midnight
@settings(deadline=None, max_examples=200, database=None)
def test_consecutive_ticks_are_adjacent_and_23_to_25_hours_long(schedule: Schedule, day: date) -> None:
    before, tick = schedule.tick(day - timedelta(days=1)), schedule.tick(day)
    assert before.end == tick.start
    assert timedelta(hours=23) <= tick.end - tick.start <= timedelta(hours=25)


@given(schedule=schedules, day=days)
@skipped
@doubled
@midnight
@settings(deadline=None, max_examples=200, database=None)
def test_every_moment_of_a_tick_and_no_other_finds_it(schedule: Schedule, day: date) -> None:
    tick, moment = schedule.tick(day), timedelta(microseconds=1)
    assert schedule.tick_at(tick.start) == tick
    assert schedule.tick_at(tick.end - moment) == tick
    assert schedule.tick_at(tick.end) != tick
    assert schedule.tick_at(tick.start - moment) != tick


@given(schedule=schedules, at=st.datetimes(datetime(2011, 1, 1), datetime(2019, 1, 1)), zone=st.sampled_from(ZONES))  # noqa: DTZ001
@settings(deadline=None, max_examples=200, database=None)
def test_a_moment_finds_the_same_tick_in_whatever_zone_it_is_told(schedule: Schedule, at: datetime, zone: str) -> None:
    moment = at.replace(tzinfo=UTC)
    tick = schedule.tick_at(moment)
    assert tick.start <= moment < tick.end
    assert schedule.tick_at(moment.astimezone(ZoneInfo(zone))) == tick
    assert schedule.tick(str(tick)) == tick


def test_a_year_of_ticks_covers_the_year_without_gap_or_overlap() -> None:
    ticks = list(NEW_YORK.range("2013-01-02", "2013-12-31"))
    assert len(ticks) == 364 == len(NEW_YORK.range("2013-01-02", "2013-12-31"))
    assert all(a.end == b.start for a, b in pairwise(ticks))
    assert ticks[-1].end - ticks[0].start == timedelta(days=364)


def test_a_range_has_both_its_ends() -> None:
    ticks = NEW_YORK.range("2013-06-01", date(2013, 6, 3))
    assert [str(tick) for tick in ticks] == ["2013-06-01", "2013-06-02", "2013-06-03"]
    assert (len(ticks), str(ticks)) == (3, "2013-06-01..2013-06-03")
    assert (ticks.start, ticks.end) == (NEW_YORK.tick("2013-06-01").start, NEW_YORK.tick("2013-06-03").end)


def test_a_range_of_one_tick_is_called_like_it() -> None:
    assert str(NEW_YORK.range("2013-06-01")) == "2013-06-01"
    assert list(NEW_YORK.range("2013-06-01")) == [NEW_YORK.tick("2013-06-01")]


def test_a_range_moves_by_ticks_not_by_hours() -> None:
    moved = NEW_YORK.range("2013-03-08", "2013-03-09").shifted(2)
    assert moved == NEW_YORK.range("2013-03-10", "2013-03-11")
    assert moved.start == datetime(2013, 3, 10, 8, tzinfo=UTC)  # 04:00 summer time
    assert moved.shifted(-2) == NEW_YORK.range("2013-03-08", "2013-03-09")


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="ticks 2013-06-02 to 2013-06-01 is empty"):
        NEW_YORK.range("2013-06-02", "2013-06-01")


@pytest.mark.parametrize("day", ["2013-01-01", "2014-01-01"])
def test_a_tick_outside_of_the_schedule_is_refused(day: str) -> None:
    with pytest.raises(ValueError, match=f"tick {day} is outside the schedule, which runs from 2013-01-02 to 2013-12-31"):
        NEW_YORK.tick(day)


@pytest.mark.parametrize("moment", [datetime(2013, 1, 2, 8, 59, tzinfo=UTC), datetime(2014, 1, 1, 9, tzinfo=UTC)])
def test_a_moment_outside_of_the_schedule_is_refused(moment: datetime) -> None:
    with pytest.raises(ValueError, match="outside the schedule"):
        NEW_YORK.tick_at(moment)


def test_the_last_tick_ends_where_the_next_would_start() -> None:
    assert NEW_YORK.tick("2013-12-31").end == datetime(2014, 1, 1, 9, tzinfo=UTC)


def test_a_range_that_moves_out_of_the_schedule_is_refused_when_it_is_read() -> None:
    moved = NEW_YORK.range("2013-12-30", "2013-12-31").shifted(1)
    with pytest.raises(ValueError, match="tick 2014-01-01 is outside the schedule"):
        list(moved)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        NEW_YORK.tick_at(datetime(2013, 6, 1, 4))  # noqa: DTZ001


@pytest.mark.parametrize("text", ["yesterday", "2013-02-30", "20130601T04", "2013-06-01T04:00"])
def test_text_that_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"tick '{text}' is not a date such as 2013-06-17"):
        NEW_YORK.tick(text)


def test_a_schedule_without_end_runs_on() -> None:
    schedule = Schedule(time(4), "UTC", date(2013, 1, 1))
    assert schedule.tick("2031-01-01").start == datetime(2031, 1, 1, 4, tzinfo=UTC)
    with pytest.raises(ValueError, match="from 2013-01-01 to today"):
        schedule.tick("2012-12-31")


def test_ticks_sort_by_date_and_are_called_by_it() -> None:
    second, first = NEW_YORK.tick("2013-06-02"), NEW_YORK.tick("2013-06-01")
    assert sorted([second, first]) == [first, second]
    assert f"{first}" == "2013-06-01"
    assert isinstance(first, Tick)


# What is not daily.

EVERY = st.one_of(st.sampled_from(WEEKDAYS).map(lambda on: ("week", on)), st.integers(1, 31).map(lambda on: ("month", on)))


def repeated(every: str, on: str | int, at: time = time(4), timezone: str = "Europe/Zurich") -> Schedule:
    """A schedule whose first tick is the first one of 2010."""
    first = next(day for day in days_from(date(2010, 1, 1)) if is_due(every, on, day))
    return Schedule(at, timezone, first, every=every, on=on)


def days_from(day: date) -> Iterator[date]:
    return (day + timedelta(days=n) for n in count())


def is_due(every: str, on: str | int, day: date) -> bool:
    """Whether there is a tick on a date, found in the plainest way."""
    if every == "week":
        return f"{day:%A}".lower() == on
    return day.day == on or (day.day < int(on) and (day + timedelta(days=1)).month != day.month)


@given(every=EVERY, start=days, zone=st.sampled_from(ZONES))
def test_ticks_every_week_or_month_are_the_due_dates_and_share_all_time(every: tuple[str, Any], start: date, zone: str) -> None:
    schedule = repeated(*every, timezone=zone)
    due = list(islice((day for day in days_from(start) if is_due(*every, day)), 15))
    assert schedule.names(due[0], due[-1]) == due
    ticks = [schedule.tick(day) for day in due]
    assert all(one.end == following.start for one, following in pairwise(ticks))
    for number, tick in enumerate(ticks):
        assert schedule.shift(due[0], number) == tick.name
        assert schedule.ticks_between(due[0], tick.name) == number
        assert schedule.tick_at(tick.start) == schedule.tick_at(tick.end - timedelta(microseconds=1)) == tick


@given(every=EVERY, day=days, length=st.timedeltas(timedelta(0), timedelta(days=400)))
def test_times_before_and_after_a_tick_are_counted_by_the_calendar(
    every: tuple[str, Any], day: date, length: timedelta
) -> None:
    schedule = repeated(*every)
    tick = schedule.at_or_after(day)
    assert schedule.at_or_before(tick) == tick
    earlier = [one for one in schedule.names(schedule.shift(tick, -70), tick) if tick - one <= length]
    assert schedule.back(tick, length) == earlier[0]
    later = [one for one in schedule.names(tick, schedule.shift(tick, 70)) if one - tick >= length]
    assert schedule.first_after(tick, length) == later[0]


@given(every=EVERY, day=days, calendar_days=st.integers(0, 100), rest=st.timedeltas(timedelta(0), timedelta(days=60)))
def test_after_ticks_until_a_length_it_has_passed_from_every_tick(
    every: tuple[str, Any], day: date, calendar_days: int, rest: timedelta
) -> None:
    schedule = repeated(*every)
    tick = schedule.at_or_after(day)
    until = schedule.shift(tick, schedule.ticks_until(rest, calendar_days))
    end = schedule.days_later(tick, calendar_days) + rest
    # A length alone is counted in days of 24 hours, whether or not the clock changes in it.
    assert end <= schedule.moment(until) + (timedelta(0) if calendar_days else timedelta(hours=1))


def test_the_thirtieth_is_the_last_day_of_february() -> None:
    schedule = Schedule(time(4), "UTC", date(2024, 1, 30), every="month", on=30)
    assert [str(tick) for tick in schedule.range("2024-01-30", "2024-04-30")] == [
        "2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30",
    ]  # fmt: skip


def test_windows_of_a_split_count_whole_ticks() -> None:
    weekly, monthly = repeated("week", "monday"), repeated("month", 1)
    assert [weekly.ticks_in(timedelta(days=days)) for days in (7, 8, 14, 364)] == [1, 2, 2, 52]
    assert [monthly.ticks_in(timedelta(days=days)) for days in (28, 91, 182, 365, 366)] == [1, 3, 6, 12, 13]


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"every": "week"}, "on=None must be a day of the week for every='week': one of monday, tuesday"),
        ({"every": "week", "on": "Mon"}, "on='Mon' must be a day of the week"),
        ({"every": "week", "on": 1}, "on=1 must be a day of the week"),
        ({"every": "month"}, "on=None must be a day of the month for every='month': 1 to 31; 31 is always the last"),
        ({"every": "month", "on": 0}, "on=0 must be a day of the month"),
        ({"every": "month", "on": "monday"}, "on='monday' must be a day of the month"),
        ({"on": "monday"}, "on='monday' is for ticks every week or month: declare `every` too"),
        (
            {"every": "week", "on": "tuesday"},
            "starts 2024-01-01, a Monday, is no tick: there is one every Tuesday, the nearest are 2023-12-26 and 2024-01-02",
        ),
        (
            {"every": "month", "on": 31},
            "starts 2024-01-01, a Monday, is no tick: there is one on the last day of every month, the nearest are 2023-12-31",
        ),
        ({"every": "week", "on": "monday", "ends": date(2024, 3, 1)}, "ends 2024-03-01, a Friday, is no tick"),
    ],
    ids=["no weekday", "a short name", "a number", "no day", "day 0", "a weekday a month", "daily", "starts", "last", "ends"],
)
def test_a_schedule_that_cannot_be_meant_is_refused(declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Schedule(time(4), "UTC", date(2024, 1, 1), **declared)


def test_a_date_that_is_no_tick_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match="14 is no tick: there is one every Monday, the nearest are 2024-02-12 and 2024-02-19"):
        Schedule(time(4), "UTC", date(2024, 1, 1), every="week", on="monday").tick("2024-02-14")


# Ticks within a day.

HOURLY = Schedule(time(0, 15), "America/New_York", date(2013, 3, 1), date(2013, 11, 5), every="hour")


@given(
    zone=st.sampled_from(ZONES),
    hours=st.sampled_from([1, 2, 3, 4, 6, 8, 12]),
    minute=st.integers(0, 59),
    start=days,
    apart=st.integers(0, 100),
)
def test_hourly_ticks_share_all_time_and_their_names_are_unique_and_in_order(
    zone: str, hours: int, minute: int, start: date, apart: int
) -> None:
    schedule = Schedule(time(0, minute), zone, start, every="hour", hours=hours)
    first = schedule.shift(schedule.first, apart)
    ticks = [schedule.tick(name) for name in schedule.names(first, schedule.shift(first, 30))]
    assert all(one.end == following.start for one, following in pairwise(ticks))
    assert {one.end - one.start for one in ticks} == {timedelta(hours=hours)}
    texts = [str(one) for one in ticks]
    assert texts == sorted(set(texts))
    for number, tick in enumerate(ticks):
        assert schedule.shift(first, number) == tick.name
        assert schedule.ticks_between(first, tick.name) == number
        assert schedule.tick_at(tick.start) == schedule.tick_at(tick.end - timedelta(microseconds=1)) == tick


@pytest.mark.parametrize(
    ("day", "count"), [("2013-03-10", 23), ("2013-06-01", 24), ("2013-11-03", 25)], ids=["forward", "ordinary", "back"]
)
def test_a_date_means_all_hours_of_the_local_day(day: str, count: int) -> None:
    ticks = HOURLY.range(day)
    assert len(ticks) == count
    assert {HOURLY.day_of(name) for name in ticks.names} == {date.fromisoformat(day)}
    assert len(HOURLY.range(day, "2013-11-03T0515Z")) == HOURLY.ticks_between(ticks.first, "2013-11-03T0515Z") + 1


def test_the_hour_that_comes_twice_has_two_ticks() -> None:
    local = [HOURLY.local(name) for name in HOURLY.range("2013-11-03").names]
    assert [f"{one:%H:%M %Z}" for one in local if f"{one:%H}" == "01"] == ["01:15 EDT", "01:15 EST"]
    assert [HOURLY.season(name) for name in HOURLY.range("2013-11-03").names][:4] == [0, 1, 1, 2]


def test_an_hourly_schedule_counts_delays_in_hours() -> None:
    assert [HOURLY.ticks_until(timedelta(minutes=minutes)) for minutes in (1, 60, 61)] == [1, 1, 2]
    assert HOURLY.ticks_until(timedelta(0), calendar_days=1) == 25, "a day may have 25 hours"
    assert HOURLY.days_later("2013-11-02T1615Z", 1) == datetime(2013, 11, 3, 17, 15, tzinfo=UTC)
    assert HOURLY.elapsed("2013-11-02T1615Z", "2013-11-03T1715Z") == timedelta(hours=25)
    assert HOURLY.back("2013-11-03T1715Z", timedelta(minutes=90)) == "2013-11-03T1615Z"
    assert HOURLY.first_after("2013-11-03T1715Z", timedelta(minutes=90)) == "2013-11-03T1915Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2013-11-03T0500Z", "is no tick: there is one every hour, the nearest are 2013-11-03T0415Z and 2013-11-03T0515Z"),
        ("2013-11-03", "2013-11-03 is no tick: there is one every hour"),
        ("2013-11-03T05", "tick '2013-11-03T05' is not a start in UTC such as 2013-06-17T0500Z"),
        ("2013-11-07T0515Z", "is outside the schedule, which runs from 2013-03-01T0515Z to 2013-11-06T0415Z"),
    ],
    ids=["another minute", "a date", "no minute", "outside"],
)
def test_a_text_that_names_no_hourly_tick_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        HOURLY.tick(text)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"at": time(4)}, "at 04:00: of hourly ticks it is the minute alone, as in time(0, 0)"),
        ({"hours": 5}, "hours=5 must divide the day: one of 1, 2, 3, 4, 6, 8, 12"),
        ({"on": "monday"}, "on='monday' is for ticks every week or month"),
        ({"every": "day", "hours": 6}, "hours=6 is for ticks within a day: declare every='hour' too"),
    ],
    ids=["a time of day", "five hours", "a weekday", "hours of days"],
)
def test_an_hourly_schedule_that_cannot_be_meant_is_refused(declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Schedule(**({"at": time(0), "timezone": "UTC", "starts": date(2024, 1, 1), "every": "hour"} | declared))
