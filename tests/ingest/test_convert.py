"""A value converts the same whatever stands beside it, and one that cannot is named, not thrown."""

from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlprod_tasks.ingest.convert import as_text, convert
from mlprod_tasks.platform.sources import as_arrow

ZONE = "America/New_York"
SKIPPED, REPEATED = datetime(2013, 3, 10, 2, 30), datetime(2013, 11, 3, 1, 30)  # noqa: DTZ001


@pytest.mark.parametrize("middle", [SKIPPED, REPEATED])
def test_a_local_time_around_a_clock_change_means_the_same_beside_a_bad_value(middle):
    texts = [str(middle + timedelta(minutes=15 * step)) for step in range(-12, 13)]
    alone = convert(pa.array(texts), "timestamp", ZONE)
    beside = convert(pa.array([*texts, "no time"]), "timestamp", ZONE)
    assert alone.lossless
    assert beside.failed.to_pylist() == [False] * len(texts) + [True]
    assert beside.values[:-1].equals(alone.values)


@pytest.mark.parametrize(("unit", "kind"), [("s", "timestamp"), ("us", "int"), ("us", "text")])
def test_a_moment_beyond_every_calendar_is_named_and_its_neighbour_kept_apart(unit, kind):
    array = pa.array([2**62, None], pa.timestamp(unit))
    made = convert(array, kind, ZONE)
    assert made.failed.to_pylist() == [True, False]
    assert made.values.to_pylist() == [None, None]


def test_what_is_no_text_is_still_shown():
    assert as_text(pa.array([b"\xff"])).to_pylist() == ["b'\\xff'"]
    assert as_text(pa.array([[1, 2]])).to_pylist() == ["[1, 2]"]
    assert as_text(pa.array([b"Ann", b"\xff"])).to_pylist() == ["Ann", "b'\\xff'"], "the good one as if it were alone"


KINDS = ("int", "float", "text", "bool", "timestamp", "date")
# Text that looks like a number or a moment, nearly.
NEARLY = st.text(st.sampled_from("0123456789-+:.TZ ExX()nainf_/"), max_size=20)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(str)  # noqa: DTZ001


@pytest.mark.parametrize("kind", KINDS)
@given(NEARLY | MOMENTS | st.dates().map(str) | st.integers().map(str) | st.floats().map(str))
@example("0x1F")
@example("nan(1)")
@example("0000-01-01")
@example("2050-07-01 12:00:00")
@settings(deadline=None)
def test_a_text_converts_the_same_beside_one_that_does_not(kind, text):
    alone, beside = convert(pa.array([text]), kind, ZONE), convert(pa.array([text, "no value"]), kind, ZONE)
    assert alone.failed[0] == beside.failed[0]
    assert str(alone.values[0]) == str(beside.values[0])


@pytest.mark.parametrize(
    ("kind", "text"), [("int", "0x1F"), ("float", "nan(1)"), ("date", "0000-01-01"), ("timestamp", "0000-01-01")]
)
def test_what_only_arrow_reads_is_no_value(kind, text):
    assert convert(pa.array([text]), kind, ZONE).failed.to_pylist() == [True]


def test_a_local_time_long_after_today_keeps_summer_time():
    made = convert(pa.array(["2050-07-01 12:00:00", "2050-01-01 12:00:00"]), "timestamp", ZONE)
    assert [str(value) for value in made.values] == ["2050-07-01 16:00:00+00:00", "2050-01-01 17:00:00+00:00"]


@pytest.mark.parametrize(
    "array",
    [pa.array([7, 8]), pa.array([7.0, None]), pa.array([Decimal("7.00")]), as_arrow([7.0, "n/a"]), pa.array([b"7", b"8"])],
)
def test_a_number_has_one_text_in_every_type_and_beside_any_other(array):
    assert convert(array, "text").values[0].as_py() == "7"
    assert as_text(array)[0].as_py() == "7"
    assert convert(as_text(array), "int").values[0].as_py() == 7
