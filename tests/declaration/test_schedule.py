"""Ticks: their names, their intervals, and the days on which a clock is put forward or back."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.declaration import Schedule, Tick

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


def test_the_cron_line_is_the_local_time_of_day() -> None:
    assert Schedule(time(23, 5), "Asia/Kolkata", date(2013, 1, 1)).cron == "5 23 * * *"


def test_ticks_sort_by_date_and_are_called_by_it() -> None:
    second, first = NEW_YORK.tick("2013-06-02"), NEW_YORK.tick("2013-06-01")
    assert sorted([second, first]) == [first, second]
    assert f"{first}" == "2013-06-01"
    assert isinstance(first, Tick)
