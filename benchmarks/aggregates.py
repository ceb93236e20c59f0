"""The cost of each trailing aggregate: nanoseconds a row, aggregate and window, on generated events.

Each kind is computed alone over two windows, with the grouping of events and rows by key that aggregates of one feature share.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pyarrow as pa

from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.features import trailing
from mlprod_tasks.features.keys import KeyCodes, key_codes
from mlprod_tasks.features.rows import ScoredRows, scored_rows

KEYS = 5_000
DAY = 86_400_000_000  # microseconds
WINDOWS = (ml.days(7), ml.days(28))
TABLE = ml.Table(
    "events", ml.Files("x", "e.csv", "csv"), ("id",), time="at",
    columns=(
        ml.Column("id", "int", "-"), ml.Column("at", "timestamp", "-"), ml.Column("k", "int", "-"),
        ml.Column("v", "float", "-", nullable=True),
    ),
)  # fmt: skip
ALONE: tuple[Aggregate, ...] = (
    ml.Count(), ml.Mean("v"), ml.Sum("v"), ml.Sum("v", "some", where="v > 0"), ml.SinceLast(), ml.MeanGap(), ml.Last("v"),
    ml.Min("v"), ml.CountDistinct("v"), ml.Std("v"), ml.Slope("v"), ml.Quantile("v", 0.5),
)  # fmt: skip
Join = Callable[[str, str], KeyCodes]


def generated(events: int, rows: int) -> tuple[pa.Table, ScoredRows, Join]:
    """A year of events with values, 3 % of them null, and rows of the same keys; both in order of time."""
    random = np.random.default_rng(1)
    start = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    values = pa.array(np.round(random.normal(10, 30, events), 2), mask=random.random(events) < 0.03)
    table = pa.table(
        {
            "at_0": start + np.sort(random.integers(0, 365 * DAY, events)),
            "key_k": random.integers(0, KEYS, events),
            "v": values,
            "some": pa.array(values.to_numpy(zero_copy_only=False), mask=~(values.to_numpy(zero_copy_only=False) > 0)),
        }
    )
    spine = pa.table(
        {
            "tick": pa.array(np.zeros(rows, np.int32)).cast(pa.date32()),
            "id": np.arange(rows),
            "k": random.integers(0, KEYS, rows),
            "predict_at": pa.array(start + np.sort(random.integers(30 * DAY, 365 * DAY, rows))).cast(pa.timestamp("us", "UTC")),
        }
    )
    return table, scored_rows(spine, ["id"]), cache(lambda mine, theirs: key_codes(spine[mine], table[f"key_{theirs}"]))


def seconds(aggregates: tuple[Aggregate, ...], events: pa.Table, rows: ScoredRows, join: Join, repeats: int) -> float:
    """The processor time of the aggregates over both windows, the best of several."""
    feature = ml.Trailing("f", "events", {"k": "k"}, WINDOWS, aggregates)
    values = {f"value_{i}": events["v" if sql == "v" else "some"] for i, sql in enumerate(trailing.values_of([feature]))}
    table = pa.table({"at_0": events["at_0"], "key_k": events["key_k"]} | values)
    join("k", "k")  # codes of keys are computed once for all features
    best = float("inf")
    with ThreadPoolExecutor(1) as pool:
        for _ in range(repeats + 1):  # the first one compiles
            began = time.process_time()
            list(trailing.compute(TABLE, [feature], table, rows, join, pool))
            best = min(best, time.process_time() - began)
    return best


def main() -> None:
    """Print the table. `--events`, `--rows` and `--repeats` choose the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=sized(2_000_000, 4_000))
    parser.add_argument("--rows", type=int, default=sized(1_000_000, 2_000))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a few rows: only to see that it runs")
    given = parser.parse_args()
    events, rows, join = generated(given.events, given.rows)
    print("| aggregate | ns a row, aggregate and window | times the mean |")
    print("| --- | --- | --- |", flush=True)
    mean = seconds((ml.Mean("v"),), events, rows, join, given.repeats)
    for aggregate in ALONE:
        took = seconds((aggregate,), events, rows, join, given.repeats)
        what = f"`{type(aggregate).__name__}`{' with `where`' if aggregate.where else ''}"
        print(f"| {what} | {took / given.rows / len(WINDOWS) * 1e9:.0f} | {took / mean:.1f} |", flush=True)
    together = seconds(ALONE, events, rows, join, given.repeats)
    share = together / given.rows / len(WINDOWS) / len(ALONE) * 1e9
    print(f"| all {len(ALONE)} together, each | {share:.0f} | {together / mean / len(ALONE):.1f} |")


if __name__ == "__main__":
    main()
