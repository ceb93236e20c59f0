"""Rows counted in memory have the counts and the sample that SQL gives."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.monitoring.count import count, types
from mlprod_tasks.monitoring.few_rows import MOST_FEW, are_few, count_few
from mlprod_tasks.monitoring.sample import MOST_ROWS, sample
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics.bins import Bins

EDGES = (-2.5, -1.2, -1.1, 0.0, 2.0)
MADE = [
    *(Bins(name, EDGES, low=-3.5, high=3.25, deciles=(-1.2, 0.0)) for name in ("x", "whole", "number_as_text", "at")),
    Bins("short", EDGES, low=-4, high=4),
    Bins("text", categories=tuple(f"c{k}" for k in range(40))),
    Bins("weekday", categories=("3", "1", "2"), low=1, high=3, sd=0.5),
    Bins("flag", categories=("true",)),
    Bins("huge", (float(2**53), float(2**62)), low=0, high=float(2**62)),
]


def rows(n: int) -> pa.Table:
    """Rows with nulls, infinities and text that is no number in every column that can have them."""
    random = np.random.default_rng(5)
    x = np.concatenate([[np.nan, np.inf, -np.inf, -0.0, 0.0, 2.0, -2.5, 3.25, -3.5], random.normal(0, 3, size=n - 9)])
    whole = random.integers(-6, 6, size=n)
    return pa.table(
        {
            "x": pa.array(x, mask=random.random(n) < 0.1, from_pandas=False),
            "whole": pa.array(whole, pa.int32(), mask=random.random(n) < 0.1),
            "number_as_text": pa.array(["many", None, "", *map(str, x[3:])]),
            "at": pa.array([None, *(datetime.fromtimestamp(0, UTC) + timedelta(seconds=float(v) / 2) for v in whole[1:])]),
            "short": pa.array(whole, pa.int8()),
            "text": pa.array([None, "new", *(f"c{k}" for k in random.integers(0, 45, size=n - 2))]),
            "weekday": pa.array([None, *random.integers(0, 6, size=n - 1).tolist()], pa.int64()),
            "flag": pa.array([None, *(random.random(n - 1) < 0.5).tolist()]),
            "huge": pa.array([2**62, 2**62 + 1, 2**63 - 1, *random.integers(-(2**62), 2**62, size=n - 3).tolist()], pa.int64()),
        }
    )


def both(made: Sequence[Bins], now: pa.Table) -> None:
    with engine() as con:
        con.register("now", now)
        kinds = types(con, "now")
        by_sql = count(con, "now", made, ["count(*) FILTER (flag)", "sum(short)"])
        few = count_few(con, "now", made, kinds, ["count(*) FILTER (flag)", "sum(short)"])
        assert (few.counted.rows, few.counted.further) == (by_sql.rows, by_sql.further)
        for one in made:
            mine, other = few.counted.columns[one.column], by_sql.columns[one.column]
            assert mine.counts.tolist() == other.counts.tolist(), one.column
            assert (mine.outside, mine.below, mine.above) == (other.outside, other.below, other.above), one.column
            assert mine.beyond == pytest.approx(other.beyond), one.column
        assert sample(con, "now", made, now.num_rows, few.codes) == sample(con, "now", made, now.num_rows)


@pytest.mark.parametrize("n", [10, 400, MOST_ROWS + 1])
def test_every_kind_of_column_has_the_counts_and_the_sample_of_sql(n: int) -> None:
    both(MADE, rows(n))


def test_columns_without_any_value_are_all_null() -> None:
    now = rows(20)
    both(MADE, pa.table({name: pa.nulls(20, now.schema.field(name).type) for name in now.column_names}))


def test_no_rows_many_rows_and_integers_that_numpy_cannot_compare_are_left_to_sql() -> None:
    made = [Bins("x", (1.0,)), Bins("c", categories=("1",))]
    assert are_few(MOST_FEW, made, {"x": "BIGINT", "c": "HUGEINT"})
    assert not are_few(MOST_FEW + 1, made, {"x": "BIGINT", "c": "HUGEINT"})
    assert not are_few(0, made, {"x": "BIGINT", "c": "HUGEINT"})
    assert not are_few(5, made, {"x": "HUGEINT", "c": "BIGINT"})
