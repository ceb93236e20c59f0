"""Bins and their counts, against numpy and collections.Counter."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.monitoring.count import count, count_by_tick, counting_sql, types
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics import bins


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with engine(threads=1) as connection:
        yield connection


def learnt(con: duckdb.DuckDBPyConnection, **columns: Any) -> tuple[bins.Bins, ...]:
    con.register("reference", pa.table(columns))
    kinds = {name: kind for name, kind, *_ in con.execute("DESCRIBE reference").fetchall()}
    return bins.learn(con, "reference", kinds)


def counted(con: duckdb.DuckDBPyConnection, source: str, made: Any) -> dict[str, bins.Counts]:
    return {name: column.counts for name, column in count(con, source, made).columns.items()}


def test_numbers_are_counted_between_the_deciles_as_numpy_does(con: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(0)
    (made,) = learnt(con, x=random.normal(size=10_000))
    assert len(made.deciles) == bins.NUMBER_OF_BINS - 1
    assert len(made.edges) == bins.NUMBER_OF_BINS - 1 + len(bins.TAILS)
    now = random.normal(0.5, 2, size=3_000)
    con.register("now", pa.table({"x": now}))
    counts = counted(con, "now", [made])["x"]
    # numpy's bins are closed on the left; those of the negated numbers are closed on the right
    expected = np.histogram(-now, [-np.inf, *(-np.array(made.edges))[::-1], np.inf])[0][::-1]
    assert counts[2:].tolist() == expected.tolist()
    assert counts[: bins.OTHER + 1].tolist() == [0, 0]
    coarse = np.histogram(-now, [-np.inf, *(-np.array(made.deciles))[::-1], np.inf])[0][::-1]
    assert made.coarse(counts).tolist() == [0, 0, *coarse]


def test_values_beyond_the_reference_fall_into_the_outer_bins_and_an_edge_belongs_below(con: duckdb.DuckDBPyConnection) -> None:
    made = bins.Bins("x", edges=(1.0, 2.0))
    con.register("now", pa.table({"x": [-1e300, 1.0, 1.5, 2.0, 2.5, 1e300]}))
    assert counted(con, "now", [made])["x"].tolist() == [0, 0, 2, 2, 2]


def test_nulls_are_apart_and_numbers_that_are_not_finite_are_other(con: duckdb.DuckDBPyConnection) -> None:
    made = bins.Bins("x", edges=(1.0,))
    con.register("now", pa.table({"x": pa.array([None, None, np.nan, np.inf, -np.inf, 0.0, 3.0], pa.float64())}))
    assert counted(con, "now", [made])["x"].tolist() == [2, 3, 1, 1]


def test_numbers_that_are_not_finite_do_not_move_the_bins(con: duckdb.DuckDBPyConnection) -> None:
    values = [*np.linspace(0, 1, 101), np.nan, np.inf, -np.inf]
    (made,) = learnt(con, x=values)
    assert (made.low, made.high) == (0.0, 1.0)
    assert all(np.isfinite(made.edges))


def test_text_flags_and_few_integers_have_a_bin_each_and_the_unseen_is_other(con: duckdb.DuckDBPyConnection) -> None:
    text, flag, few = learnt(con, c=["a", "b", "b", None], f=[True, False, True, None], k=[3, 1, 1, 2])
    assert (text.categories, flag.categories, few.categories) == (("b", "a"), ("true", "false"), ("1", "2", "3"))
    con.register("now", pa.table({"c": ["b", "z", None, "it's"], "f": [True, True, None, False], "k": [1, 9, 9, None]}))
    counts = counted(con, "now", [text, flag, few])
    assert counts["c"].tolist() == [1, 2, 1, 0]
    assert counts["f"].tolist() == [1, 0, 2, 1]
    assert counts["k"].tolist() == [1, 2, 1, 0, 0]


def test_of_many_categories_all_are_known_and_the_most_frequent_are_compared(con: duckdb.DuckDBPyConnection) -> None:
    values = [f"c{i}" for i in range(60) for _ in range(i + 1)]
    (made,) = learnt(con, c=values)
    assert set(made.categories) == set(values)
    con.register("now", pa.table({"c": [*values, "c0", "new", None]}))
    counts = counted(con, "now", [made])["c"]
    assert counts[: bins.OTHER + 1].tolist() == [1, 1], "a rare category is not a new one"
    coarse, often = made.coarse(counts), Counter(values).most_common(bins.MOST_CATEGORIES)
    assert coarse[2:].tolist() == [n for _, n in often]
    assert (coarse[bins.NULL], coarse.sum()) == (1, counts.sum())


@pytest.mark.parametrize("n", [40, 40_000], ids=["grouped by value", "compared"])
def test_what_lies_outside_of_the_range_is_counted_and_how_far(con: duckdb.DuckDBPyConnection, n: int) -> None:
    random = np.random.default_rng(4)
    (made,) = learnt(con, x=random.normal(size=n))
    assert made.few == (n == 40)
    now = np.concatenate([random.normal(0, 3, size=5_000), [np.nan, np.inf, -np.inf]])
    con.register("now", pa.table({"x": now}))
    column = count(con, "now", [made]).columns["x"]
    finite = now[np.isfinite(now)]
    assert column.outside == np.count_nonzero((finite < made.low) | (finite > made.high)) > 0
    assert column.beyond == pytest.approx(np.maximum(made.low - finite, 0).sum() + np.maximum(finite - made.high, 0).sum())
    assert column.counts[bins.OTHER] == 3


@pytest.mark.parametrize(
    "came",
    [
        pa.array([1.0, 5.0, None, 9.0]),
        pa.array(["1", "5", None, "9.0"]),
        pa.array([1, 5, None, 9], pa.int8()),
        pa.array([1_000, 5_000, None, 9_000], pa.timestamp("ms", "UTC")),
    ],
    ids=["float", "text", "short integer", "timestamp"],
)
def test_numbers_are_counted_whatever_type_they_come_as(con: duckdb.DuckDBPyConnection, came: pa.Array) -> None:
    made = [bins.Bins("x", edges=(2.0, 5.0), low=1, high=8, few=few) for few in (True, False)]
    con.register("now", pa.table({"x": came}))
    for one in made:
        column = count(con, "now", [one]).columns["x"]
        assert (column.counts.tolist(), column.outside, column.beyond) == ([1, 0, 1, 1, 1], 1, 1)


def test_text_that_is_no_number_is_other(con: duckdb.DuckDBPyConnection) -> None:
    con.register("now", pa.table({"x": ["1", "many", None]}))
    for few in (True, False):
        assert counted(con, "now", [bins.Bins("x", edges=(2.0,), few=few)])["x"].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("kind", "holds"),
    [("BIGINT", "int"), ("UTINYINT", "int"), ("DECIMAL(9,2)", "float"), ("TIMESTAMP WITH TIME ZONE", "timestamp"),
     ("DATE", "timestamp"), ("VARCHAR", "text"), ("ENUM('a')", "text"), ("BOOLEAN", "bool"), ("INTERVAL", "INTERVAL")],
)  # fmt: skip
def test_types_of_another_width_hold_the_same(kind: str, holds: str) -> None:
    assert bins.family(kind) == holds


@pytest.mark.parametrize(
    "values",
    [[7.0] * 50, [0.0] * 98 + [1.0, 2.0], [1.0, 2.0] + [10.0] * 98, [None] * 10],
    ids=["constant", "mostly the least", "mostly the greatest", "nothing but nulls"],
)
def test_every_reference_gets_bins_that_tell_its_value_from_others(con: duckdb.DuckDBPyConnection, values: list[Any]) -> None:
    (made,) = learnt(con, x=pa.array(values, pa.float64()))
    con.register("now", pa.table({"x": pa.array(values, pa.float64())}))
    con.register("moved", pa.table({"x": [value + 0.5 if value is not None else 5.0 for value in values]}))
    before, after = (counted(con, name, [made])["x"] for name in ("now", "moved"))
    assert before.sum() == len(values)
    assert before.tolist() != after.tolist()


def test_counts_by_tick_add_up_to_those_of_the_whole(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    ticks = [date(2024, 1, 1 + i % 3) for i in range(900)]
    table = pa.table({"tick": pa.array(ticks, pa.date32()), "x": random.normal(size=900), "c": random.choice(["a", "b"], 900)})
    pq.write_table(table, tmp_path / "rows.parquet")
    source = f"read_parquet('{tmp_path / 'rows.parquet'}')"
    made = bins.learn(con, source, {"x": "DOUBLE", "c": "VARCHAR"})
    by_tick, whole = count_by_tick(con, source, made, ["count_if(c = 'a')"]), counted(con, source, made)
    assert list(by_tick) == sorted(set(ticks))
    for name in ("x", "c"):
        assert np.sum([tick.columns[name].counts for tick in by_tick.values()], axis=0).tolist() == whole[name].tolist()
        assert {int(tick.columns[name].counts.sum()) for tick in by_tick.values()} == {300}
    assert sum(tick.further[0] for tick in by_tick.values()) == table["c"].to_pylist().count("a")


def test_an_empty_partition_counts_nothing(con: duckdb.DuckDBPyConnection) -> None:
    con.register("now", pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())}))
    counts = counted(con, "now", [bins.Bins("x", edges=(1.0,)), bins.Bins("c", categories=("a",))])
    assert counts["x"].tolist() == [0, 0, 0, 0]
    assert counts["c"].tolist() == [0, 0, 0]


def test_all_columns_are_counted_by_one_statement_that_returns_a_row_a_part(con: duckdb.DuckDBPyConnection) -> None:
    made = [bins.Bins("x", edges=(1.0,)), bins.Bins("y", edges=(2.0,)), bins.Bins("c", categories=("a",))]
    con.register("now", pa.table({"x": [0.0] * 500, "y": [0.0] * 500, "c": ["a"] * 500}))
    assert len(con.execute(counting_sql("now", made, types(con, "now"))).fetchall()) == 1 + len(made)
