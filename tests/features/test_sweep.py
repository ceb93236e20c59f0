"""The compiled loops against a reading of the definition that cannot be misunderstood."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.features import sweep, trailing
from mlprod_tasks.features.keys import key_codes
from mlprod_tasks.features.rows import scored_rows

TABLE = ml.Table(
    "events", ml.Files("x", "e.csv", "csv"), ("id",), time="at",
    columns=(
        ml.Column("id", "int", "-"), ml.Column("at", "timestamp", "-"),
        ml.Column("k", "int", "-"), ml.Column("v", "float", "-"),
    ),
)  # fmt: skip
FEATURE = ml.Trailing(
    "f", "events", {"k": "k"}, (timedelta(seconds=7), timedelta(seconds=2)), (ml.Count(), ml.Mean("v"), ml.Rate("r", "v > 0"))
)
SKIPPING = ml.Trailing("g", "events", {"k": "k"}, (timedelta(seconds=3),), (ml.Count(),), skip=timedelta(seconds=2))
KEY = st.one_of(st.none(), st.integers(0, 2))
MOMENT = st.integers(0, 12)
VALUE = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.1, -0.2, 1e-9, 1e6]))
# When it became known, its key, its value, and if it arrived late, the moment from which rows may use it.
EVENTS = st.lists(st.tuples(MOMENT, KEY, VALUE, st.one_of(st.none(), st.none(), MOMENT)), max_size=25)
ROWS = st.lists(st.tuples(MOMENT, KEY), max_size=12)


def computed(events: list[tuple[int, Any, Any, Any]], asked: list[tuple[int, Any]]) -> dict[str, list[Any]]:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    values = pa.array([e[2] for e in events], pa.float64())
    positive = pa.array([None if e[2] is None else int(e[2] > 0) for e in events], pa.int8())
    told = trailing.values_of([FEATURE])
    held = {f"value_{i}": values if sql == '"v"' else positive for i, sql in enumerate(told)}
    assert len(told) == 2
    base = int(start.timestamp()) * 10**6
    table = pa.table(
        {
            "at_0": pa.array([base + e[0] * 10**6 for e in events], pa.int64()),
            "key_k": pa.array([e[1] for e in events], pa.int64()),
            "usable": pa.array([None if e[3] is None else base + e[3] * 10**6 for e in events], pa.int64()),
        }
        | held
    )
    spine = pa.table(
        {
            "tick": pa.array([start.date()] * len(asked), pa.date32()),
            "id": pa.array(range(len(asked)), pa.int64()),
            "k": pa.array([a[1] for a in asked], pa.int64()),
            "predict_at": pa.array([start + timedelta(seconds=a[0]) for a in asked], pa.timestamp("us", "UTC")),
        }
    )
    scored = scored_rows(spine, ["id"])
    with ThreadPoolExecutor(1) as pool:
        made = trailing.compute(
            TABLE, [FEATURE, SKIPPING], table, scored, lambda a, b: key_codes(spine[a], table[f"key_{b}"]), pool
        )
        return {name: column.to_pylist() for name, column in made}


@settings(max_examples=150, deadline=None)
@given(EVENTS, ROWS)
def test_counts_means_and_rates_are_those_of_the_events_in_the_window(events: list[Any], asked: list[Any]) -> None:
    got = computed(events, asked)
    for i, (at, key) in enumerate(asked):
        of_key = [(moment, v, usable) for moment, k, v, usable in events if k is not None and k == key]
        arrived = [(moment, v) for moment, v, usable in of_key if usable is None or usable <= at]
        assert got["g_count_3s"][i] == sum(at - 5 <= moment < at - 2 for moment, _ in arrived)
        for seconds in (7, 2):
            seen = [v for moment, v in arrived if at - seconds <= moment < at]
            values = [v for v in seen if v is not None]
            assert got[f"f_count_{seconds}s"][i] == len(seen)
            if not values:
                assert got[f"f_mean_v_{seconds}s"][i] is None
                assert got[f"f_r_{seconds}s"][i] is None
                continue
            mean = float(sum(map(Fraction, values)) / len(values))
            assert got[f"f_mean_v_{seconds}s"][i] == pytest.approx(mean, rel=1e-14, abs=2**-52)
            assert got[f"f_r_{seconds}s"][i] == sum(v > 0 for v in values) / len(values)


@settings(max_examples=60, deadline=None)
@given(EVENTS, ROWS, st.randoms(use_true_random=False))
def test_neither_the_order_of_events_nor_company_changes_a_bit(events: list[Any], asked: list[Any], random: Any) -> None:
    whole = computed(events, asked)
    shuffled = random.sample(events, len(events))
    assert computed(shuffled, asked) == whole
    for i, row in enumerate(asked):
        assert {name: column[0] for name, column in computed(events, [row]).items()} == {n: c[i] for n, c in whole.items()}


@settings(max_examples=100, deadline=None)
@given(EVENTS, ROWS, st.integers(1, 8))
def test_the_latest_event_is_the_last_one_before_the_row_and_not_too_old(events: list[Any], asked: list[Any], age: int) -> None:
    events, asked = sorted(events, key=lambda e: e[0]), sorted(asked, key=lambda a: a[0])
    key = [np.array([-1 if x[1] is None else x[1] for x in side], np.int64) for side in (events, asked)]
    at = [np.array([x[0] for x in side], np.int64) for side in (events, asked)]
    found = np.empty(len(asked), np.int64)
    last = np.full(3, -1, np.int64)
    sweep.latest_event(len(events), at[0], key[0], len(asked), at[1], key[1], np.arange(len(asked)), age, last, found)
    for i, (moment, k) in enumerate(asked):
        seen = [j for j, e in enumerate(events) if k is not None and e[1] == k and moment - age <= e[0] < moment]
        assert found[i] == (seen[-1] if seen else -1)
