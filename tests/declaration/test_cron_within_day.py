"""Several ticks a day by cron: the times that croniter finds, in every time zone and over clock changes."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.declaration import Schedule

ZONES = ("America/New_York", "Europe/Zurich", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
TIMES = (
    "0 6,14,22", "*/15 *", "0 *", "5,50 *", "30 */2", "*/20 1-3", "15 0,2,23", "0,30 9-17", "*/30 */12", "45 2,14", "59 23,0",
)  # fmt: skip
DAYS = ("* * *", "* * 1-5", "1,15 * *", "* 3,10,11 *", "* * sun")


@cache
def matched(expression: str, zone: ZoneInfo, start: date, days: int) -> list[datetime]:
    """The ticks of some local dates, from the times that croniter finds for a clock that never changes."""
    every_hour = expression.split()[1] == "*"
    found = set()
    times = croniter(expression, datetime.combine(start, time()) - MINUTE)
    while (clock := times.get_next(datetime)) < datetime.combine(start + days * DAY, time()):
        first, second = (clock.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        moments = [first.astimezone(UTC)]  # a time that is skipped is moved later by the gap
        if every_hour and first.utcoffset() > second.utcoffset():  # type: ignore[operator]  # it comes twice
            moments.append(second.astimezone(UTC))
        found |= {one for one in moments if one.astimezone(zone).date() == clock.date()}
    return sorted(found)


starts = st.sampled_from(
    [
        date(2013, 3, 9), date(2013, 11, 2), date(2024, 3, 30), date(2024, 10, 26), date(2013, 10, 19), date(2013, 2, 16),
        date(2024, 4, 6), date(2024, 10, 5), date(2019, 12, 30), date(2024, 2, 27),
    ]
)  # fmt: skip


@given(times=st.sampled_from(TIMES), days=st.sampled_from(DAYS), zone=st.sampled_from(ZONES), start=starts)
@example(times="*/15 *", days="* * *", zone="Australia/Lord_Howe", start=date(2024, 4, 6))
@example(times="59 23,0", days="* * *", zone="America/Sao_Paulo", start=date(2013, 2, 16))
@settings(deadline=None, max_examples=40, database=None)
def test_ticks_are_the_minutes_that_match_and_share_all_time(times: str, days: str, zone: str, start: date) -> None:
    expression = f"{times} {days}"
    due = matched(expression, ZoneInfo(zone), start, 4)
    if not due:
        return
    first = due[0].astimezone(ZoneInfo(zone)).date()
    schedule = Schedule.cron(expression, zone, first)
    names = [f"{moment:%Y-%m-%dT%H%MZ}" for moment in due]
    assert schedule.first == names[0]
    assert schedule.names(names[0], names[-1]) == names
    assert list(map(schedule.moment, names)) == due
    for number, name in enumerate(names[:-1]):
        tick = schedule.tick(name)
        assert (tick.start, tick.end) == (due[number], due[number + 1])
        assert schedule.shift(names[0], number) == name
        assert schedule.ticks_between(names[0], name) == number
        assert schedule.tick_at(tick.start) == schedule.tick_at(tick.end - timedelta(microseconds=1)) == tick
        assert tick.end - tick.start <= schedule.longest
        assert schedule.season(name) in range(schedule.seasons)
    local = [moment.astimezone(ZoneInfo(zone)).date() for moment in due]
    for day in (first + n * DAY for n in range((local[-1] - first).days)):
        on = [name for name, of in zip(names, local, strict=True) if of == day]
        if on:
            assert list(schedule.range(day).names) == on  # type: ignore[call-overload]


@given(
    times=st.sampled_from(TIMES), days=st.sampled_from(DAYS[:3]), zone=st.sampled_from(ZONES),
    length=st.timedeltas(timedelta(0), timedelta(days=20)),
)  # fmt: skip
@settings(deadline=None, max_examples=40, database=None)
def test_a_length_is_over_after_the_ticks_that_are_waited_for(times: str, days: str, zone: str, length: timedelta) -> None:
    schedule = Schedule.cron(
        f"{times} {days}", zone, Schedule.cron(f"0 6 {days}", zone, date(2024, 1, 1)).at_or_after(date(2024, 1, 1))
    )
    count = schedule.ticks_until(length)
    first, last = schedule.at_or_after(date(2024, 1, 1)), schedule.at_or_before(date(2024, 12, 31))
    due = list(map(schedule.moment, schedule.names(first, schedule.shift(last, count))))
    assert min(after - before for before, after in zip(due, due[count:], strict=False)) >= length
    middle = schedule.shift(first, len(due) // 3)
    now = schedule.moment(middle)
    back, after = schedule.back(middle, length), schedule.first_after(middle, length)
    assert schedule.moment(back) >= now - length > schedule.moment(schedule.shift(back, -1))
    assert schedule.moment(after) >= now + length > schedule.moment(schedule.shift(after, -1))


def test_no_more_ticks_are_waited_for_than_it_takes_where_ticks_are_even() -> None:
    schedule = Schedule.cron("*/15 * * * *", "Europe/Zurich", date(2024, 1, 1))
    assert [schedule.ticks_until(MINUTE * n) for n in (0, 1, 15, 16, 60)] == [0, 1, 1, 2, 4]
    assert (schedule.shortest, schedule.ticks_a_week, schedule.seasons) == (15 * MINUTE, 672, 24)
    assert schedule.ticks_in(DAY) == 96
    # A night of seven hours lies between ten at night and six in the morning, when the clock is put forward.
    shifts = Schedule.cron("0 6,14,22 * * *", "Europe/Zurich", date(2024, 1, 1))
    assert [shifts.ticks_until(timedelta(hours=n)) for n in (7, 8, 23)] == [1, 2, 3]
    assert (shifts.ticks_a_week, shifts.seasons, shifts.period, shifts.unit) == (21, 3, "week", "tick")
    assert [shifts.season(name) for name in shifts.names(shifts.first, shifts.shift(shifts.first, 3))] == [0, 1, 2, 0]


def test_three_shifts_over_the_nights_on_which_the_clock_changes() -> None:
    schedule = Schedule.cron("0 6,14,22 * * *", "Europe/Zurich", date(2024, 3, 30), date(2024, 10, 27))
    assert schedule.due == "at the times '0 6,14,22 * * *' of cron"
    assert (schedule.first, schedule.last) == ("2024-03-30T0500Z", "2024-10-27T2100Z")
    assert schedule.at == time(6)
    spring = list(schedule.range(date(2024, 3, 30), date(2024, 3, 31)))  # type: ignore[arg-type]
    assert [tick.name[8:] for tick in spring] == ["30T0500Z", "30T1300Z", "30T2100Z", "31T0400Z", "31T1200Z", "31T2000Z"]
    assert [(tick.end - tick.start) // timedelta(hours=1) for tick in spring] == [8, 8, 7, 8, 8, 8]
    assert all(one.end == after.start for one, after in pairwise(spring))
    with pytest.raises(
        ValueError, match=r"2024-03-31T0500Z is no tick: .* the nearest are 2024-03-31T0400Z and 2024-03-31T1200Z"
    ):
        schedule.tick("2024-03-31T0500Z")


def test_one_time_of_day_that_is_written_as_a_list_is_a_daily_tick() -> None:
    assert Schedule.cron("0 6,6 * * *", "UTC", date(2024, 1, 1)) == Schedule.cron("0 6 * * *", "UTC", date(2024, 1, 1))
    with pytest.raises(ValueError, match=r"at 07:00 is not 06:00, the first time of '0 6,18 \* \* \*'"):
        Schedule(time(7), "UTC", date(2024, 1, 1), every="cron", on="0 6,18 * * *")
