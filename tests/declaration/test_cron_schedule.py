"""Ticks by cron: the days that croniter finds, in every time zone, with intervals of unequal length."""

import re
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.declaration import Schedule

ZONES = ("America/New_York", "Europe/Zurich", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC")


def a_field(low: int, high: int) -> st.SearchStrategy[str]:
    """Numbers, ranges, steps and lists of a field of cron."""
    number = st.integers(low, high)
    # croniter takes 2-2 for every number.
    ends = st.tuples(number, number).filter(lambda two: two[0] < two[1]).map(lambda two: f"{two[0]}-{two[1]}")
    steps = st.integers(2, 7).map("*/{}".format)
    return st.lists(number.map(str) | ends | steps, min_size=1, max_size=3).map(",".join)


# A day of the month that every month has, so that every year has a tick in it.
DAYS = st.tuples(a_field(1, 28), st.just("*"), st.just("*")) | st.tuples(st.just("*"), a_field(1, 12), a_field(0, 7))
moments = st.dates(date(2010, 1, 1), date(2030, 12, 31))
clock = st.times().map(lambda at: at.replace(second=0, microsecond=0, fold=0)) | st.sampled_from(
    [time(2, 30), time(1, 30), time(0)]
)


def expected(expression: str, start: date, count: int) -> list[date]:
    """The dates of the runs from a date on, as croniter finds them."""
    times = croniter(expression, datetime.combine(start, time()) - timedelta(minutes=1))
    return [times.get_next(datetime).date() for _ in range(count)]


@given(days=DAYS.map(" ".join), at=clock, zone=st.sampled_from(ZONES), start=moments)
@example(days="* * 1-5", at=time(2, 30), zone="America/New_York", start=date(2013, 3, 4))
@example(days="* * 1-5", at=time(1, 30), zone="America/New_York", start=date(2013, 10, 30))
@example(days="* * sun", at=time(0), zone="America/Sao_Paulo", start=date(2013, 10, 13))
@settings(deadline=None, max_examples=150, database=None)
def test_ticks_are_the_runs_of_cron_and_share_all_time(days: str, at: time, zone: str, start: date) -> None:
    expression = f"{at.minute} {at.hour} {days}"
    due = expected(expression, start, 12)
    schedule = Schedule.cron(expression, zone, due[0])
    assert schedule.names(due[0], due[-1]) == due
    ticks = [schedule.tick(day) for day in due]
    assert all(one.end == following.start for one, following in pairwise(ticks))
    for number, tick in enumerate(ticks):
        local = datetime.combine(tick.name, at, schedule.zone)
        assert tick.start == local.astimezone(UTC)  # a time that the clock skips is moved later by the gap
        assert schedule.shift(due[0], number) == tick.name
        assert schedule.ticks_between(due[0], tick.name) == number
        assert schedule.tick_at(tick.start) == schedule.tick_at(tick.end - timedelta(microseconds=1)) == tick
        assert schedule.tick(str(tick.name)) == tick
        assert schedule.shortest <= schedule.elapsed(tick.name, schedule.shift(tick.name, 1)) <= schedule.longest


@given(days=DAYS.map(" ".join), start=moments, length=st.timedeltas(timedelta(0), timedelta(days=500)))
@settings(deadline=None, max_examples=100, database=None)
def test_a_length_is_over_after_the_ticks_that_are_waited_for_and_not_sooner_everywhere(
    days: str, start: date, length: timedelta
) -> None:
    schedule = Schedule.cron(f"0 6 {days}", "UTC", expected(f"0 6 {days}", start, 1)[0])
    count = schedule.ticks_until(length)
    spans = [schedule.elapsed(name, schedule.shift(name, count)) for name in _names(schedule)]
    assert min(spans) >= length
    if count:
        fewer = [schedule.elapsed(name, schedule.shift(name, count - 1)) for name in _names(schedule)]
        assert min(fewer) < length


def _names(schedule: Schedule) -> list[date]:
    """Ticks of 28 years, in which every month begins on every weekday."""
    first = schedule.at_or_after(date(2000, 1, 1))
    return schedule.names(first, schedule.at_or_before(date(2027, 12, 31)))


@given(days=DAYS.map(" ".join), start=moments, length=st.timedeltas(timedelta(0), timedelta(days=400)))
@settings(deadline=None, max_examples=100, database=None)
def test_times_before_and_after_a_tick_are_counted_by_the_calendar(days: str, start: date, length: timedelta) -> None:
    schedule = Schedule.cron(f"0 6 {days}", "UTC", expected(f"0 6 {days}", start, 1)[0])
    tick = schedule.first
    assert schedule.at_or_before(tick) == schedule.at_or_after(tick) == tick
    earlier = [one for one in schedule.names(schedule.shift(tick, -405), tick) if tick - one <= length]
    assert schedule.back(tick, length) == earlier[0]
    later = [one for one in schedule.names(tick, schedule.shift(tick, 405)) if one - tick >= length]
    assert schedule.first_after(tick, length) == later[0]


def test_working_days() -> None:
    schedule = Schedule.cron("30 6 * * mon-fri", "Europe/Zurich", date(2024, 3, 28), date(2024, 4, 30))
    assert schedule == Schedule(
        time(6, 30), "Europe/Zurich", date(2024, 3, 28), date(2024, 4, 30), every="cron", on="* * mon-fri"
    )
    friday, monday = schedule.tick("2024-03-29"), schedule.tick("2024-04-01")
    assert friday.end - friday.start == timedelta(days=2, hours=23)  # the clock is put forward on Sunday
    assert (friday.end, monday.end - monday.start) == (monday.start, timedelta(days=1))
    assert schedule.due == "on the days '* * mon-fri' of cron at 06:30"
    assert (schedule.ticks_a_week, schedule.seasons, schedule.period, schedule.unit) == (5, 5, "week", "tick")
    assert [schedule.season(day) for day in (date(2024, 4, 1), date(2024, 4, 5))] == [0, 4]
    assert schedule.ticks_in(timedelta(days=28)) == 20
    assert [schedule.ticks_until(timedelta(days=days)) for days in (1, 5, 7, 14)] == [1, 5, 5, 10]
    assert schedule.is_whole(timedelta(days=1))


def test_twice_a_month() -> None:
    schedule = Schedule.cron("0 6 1,15 * *", "UTC", date(2024, 1, 15))
    names = [str(name) for name in schedule.names(date(2024, 1, 15), date(2024, 3, 15))]
    assert names == ["2024-01-15", "2024-02-01", "2024-02-15", "2024-03-01", "2024-03-15"]
    assert (schedule.shortest, schedule.longest) == (timedelta(days=14), timedelta(days=17, hours=1))
    assert (schedule.ticks_a_week, schedule.seasons, schedule.period) == (0, 1, "tick")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("0 6", "cron '0 6' must have five fields, minute, hour, day of the month, month and day of the week"),
        ("0 6 * * 1-5 *", "cron '0 6 * * 1-5 *' must have five fields"),
        ("0 6,24 * * *", "hour '24' must be from 0 to 23"),
        ("*/0 6 * * *", "minute '*/0': '*/0' has none"),
        ("0 22-6 * * *", "hour '22-6': '22-6' has none"),
        (
            "0 6,18 * * 6,7",
            "starts 2024-01-01, a Monday, is no tick: there is one at the times '0 6,18 * * 6,7' of cron, the nearest",
        ),
        ("0 6 1 * 1", "has a day of the month and a day of the week, and cron takes the days of either"),
        ("0 6 L * *", "day of the month 'l' must be from 1 to 31"),
        ("0 6 32 * *", "day of the month '32' must be from 1 to 31"),
        ("0 6 30 2 *", "names days that not every year has"),
        ("0 6 29 2 *", "names days that not every year has"),
        ("0 6 * * 5-1", "day of the week '5-1': '5-1' has none"),
        ("0 6 * * 1#2", "day of the week '1#2': write numbers, ranges, lists and steps"),
        ("0 6 * smarch *", "month 'smarch' must be from 1 to 12, or jan to dec"),
        ("0 6 * * 6,7", "starts 2024-01-01, a Monday, is no tick: there is one on the days '* * 6,7' of cron, the nearest"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Schedule.cron(expression, "UTC", date(2024, 1, 1))
