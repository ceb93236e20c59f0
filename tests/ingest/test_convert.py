"""A value converts the same whatever stands beside it, and one that cannot is named, not thrown."""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from mlprod_tasks.ingest.convert import as_text, convert

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
