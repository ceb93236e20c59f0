"""Windows of a training in time."""

from datetime import date, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlprod_tasks.declaration import Schedule, Split, Ticks, days
from mlprod_tasks.training.split import HistoryTooShort, on_schedule, windows

SCHEDULE = Schedule(time(4), "America/New_York", date(2013, 1, 2))

lengths = st.builds(timedelta, hours=st.integers(24, 24 * 40))
splits = st.builds(
    Split,
    validation=lengths,
    test=lengths,
    gap=st.builds(timedelta, hours=st.integers(1, 24 * 10)),
    train=st.none() | lengths,
)


@given(splits, st.integers(1, 400), st.integers(1, 10))
def test_windows_are_ordered_disjoint_gapped_and_end_where_labels_are_complete(split, day, delay):
    as_of = SCHEDULE.tick(SCHEDULE.starts + timedelta(days=day))
    try:
        made = windows(split, as_of, delay, SCHEDULE)
    except HistoryTooShort:
        assume(False)
    ordered = [made.train, made.validation, made.test]
    for earlier, later in pairwise(ordered):
        assert later.start - earlier.end >= split.gap - timedelta(hours=1)  # one hour where a clock change lies in the gap
        assert (later.first - earlier.last).days - 1 >= split.gap / days(1)
    assert made.train.first >= SCHEDULE.starts
    assert made.test.last + timedelta(days=delay) == as_of.name
    assert len(made.test) >= split.test / days(1)
    assert len(made.validation) >= split.validation / days(1)
    assert split.train is None or len(made.train) >= split.train / days(1)
    assert on_schedule(made.dates(), SCHEDULE) == made


@given(splits, st.integers(1, 400), st.integers(1, 10))
def test_a_refusal_names_exactly_the_ticks_that_are_missing(split, day, delay):
    as_of = SCHEDULE.tick(SCHEDULE.starts + timedelta(days=day))
    try:
        windows(split, as_of, delay, SCHEDULE)
    except HistoryTooShort as error:
        missing = int(str(error).split(": ")[1].split(" tick")[0])
        windows(split, SCHEDULE.tick(as_of.name + timedelta(days=missing)), delay, SCHEDULE)
        with pytest.raises(HistoryTooShort):
            windows(split, SCHEDULE.tick(as_of.name + timedelta(days=missing - 1)), delay, SCHEDULE)


counts = st.builds(Ticks, count=st.integers(1, 30))
counted = st.builds(
    Split,
    validation=lengths | counts,
    test=counts,
    gap=st.builds(timedelta, hours=st.integers(1, 100)),
    train=st.none() | counts,
)


@given(counted, st.integers(1, 400), st.integers(1, 10), st.sets(st.integers(0, 400)))
def test_windows_of_counted_ticks_have_as_many_with_rows(split, day, delay, rows):
    as_of = SCHEDULE.tick(SCHEDULE.starts + timedelta(days=day))
    populated = sorted(SCHEDULE.starts + timedelta(days=one) for one in rows if one < day)
    try:
        made = windows(split, as_of, delay, SCHEDULE, populated)
    except HistoryTooShort:
        # Then by hand, from the end, there is not enough either.
        assert not _fits(split, as_of, delay, populated)
        return
    for name, ticks in made.named():
        length = getattr(split, name)
        if isinstance(length, Ticks):
            inside = [one for one in populated if ticks.first <= one <= ticks.last]
            assert len(inside) == length.count
            assert inside[0] == ticks.first
    for earlier, later in pairwise([made.train, made.validation, made.test]):
        assert (later.first - earlier.last).days - 1 >= split.gap / days(1)
    assert made.test.last + timedelta(days=delay) == as_of.name


def _fits(split, as_of, delay, populated):
    gap, last = -(-split.gap // days(1)), as_of.name - days(delay)
    for length in (split.test, split.validation, split.train):
        before = [one for one in populated if one <= last]
        if isinstance(length, Ticks):
            if len(before) < length.count:
                return False
            first = before[-length.count]
        else:
            first = last if length is None else last - days(-(-length // days(1)) - 1)
        if first < SCHEDULE.starts:
            return False
        last = first - days(gap + 1)
    return True


def test_the_windows_of_a_june_training():
    made = windows(Split(validation=days(21), test=days(28), gap=days(2)), SCHEDULE.tick("2013-06-17"), 2, SCHEDULE)
    assert {name: str(dates) for name, dates in made.dates().named()} == {
        "train": "2013-01-02..2013-04-23",
        "validation": "2013-04-26..2013-05-16",
        "test": "2013-05-19..2013-06-15",
    }


def test_without_a_declared_length_training_takes_everything_since_the_start():
    split = Split(validation=days(1), test=days(1), gap=days(1))
    made = windows(split, SCHEDULE.tick("2013-01-08"), 1, SCHEDULE)
    assert (made.train.first, made.train.last) == (date(2013, 1, 2), date(2013, 1, 3))


def test_too_short_a_history_says_how_many_ticks_are_missing_and_from_when_on_it_works():
    split = Split(validation=days(21), test=days(28), gap=days(2))
    with pytest.raises(HistoryTooShort, match=r"46 ticks are missing. Train as of 2013-02-26 or later"):
        windows(split, SCHEDULE.tick("2013-01-11"), 2, SCHEDULE)
