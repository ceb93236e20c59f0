"""One piece of a large tick, as of a table with many times its rows: the whole table held, and what its rows can match.

Generated facts of four weeks about a million customers; orders of one tick ask for the latest fact of their customer, each as
of a moment of its own. A piece, a range of the orders' key, is computed as it is for a tick that is scored in pieces, and with
all facts read as those of a small table are; then DuckDB's own ASOF join of its orders and all facts. Each in a process of its
own.
Goals: at most a third of the memory beyond an idle process, equal values.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features import peak_gb
from benchmarks.ordered_tick import CUSTOMER, DAY, LEAD_HOURS, MOMENT, declared, into_lake, moments, orders, ticks_of
from benchmarks.replicas import REPOSITORY
from benchmarks.size import SMALL, sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.features import joined_rows
from mlprod_tasks.features.key_ranges import PIECE_ROWS, KeyRange, key_ranges
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import limit_threads

CUSTOMERS = sized(1_000_000, 200)
AT_MOST = 1 / 3
PIPELINE = declared(
    ml.Table(
        "facts", ml.Files("x", "f.csv", "csv"), ("fact_id",), time="told_at",
        columns=(
            ml.Column("fact_id", "int", "-"), ml.Column("told_at", "timestamp", "-"), CUSTOMER,
            ml.Column("income", "float", "-"), ml.Column("points", "int", "-"),
        ),
    ),
    ml.AsOf("facts", {"customer": "customer"}, {"income": "income", "points": "points"}, max_age=ml.days(60)),
)  # fmt: skip
COLUMNS = ["order_id", "income", "points"]


def fill(platform: Platform, facts: int, rows: int) -> None:
    """Facts of four weeks and the tick's orders, of customers at random."""
    random = np.random.default_rng(1)

    def customers(n: int) -> np.ndarray:
        return random.integers(0, CUSTOMERS, n)

    told = moments(random, facts)
    tables = {
        "facts": pa.table({
            "fact_id": np.arange(facts), "told_at": pa.array(told).cast(MOMENT), "customer": customers(facts),
            "income": random.random(facts), "points": random.integers(0, 100, facts), "tick": ticks_of(told),
        }),
        "orders": orders(random, rows, customers),
    }  # fmt: skip
    into_lake(PIPELINE, platform, tables)


def first_piece(platform: Platform, pieces: int) -> KeyRange:
    """The first range of the orders' key."""
    _, ranges = key_ranges(PIPELINE, PIPELINE.schedule.range(DAY), platform, features.pinned(PIPELINE, platform), pieces)
    return ranges[0]


def built(platform: Platform, keys: KeyRange, large_rows: int) -> pa.Table:
    """The features of a piece. large_rows: of more rows than that, what cannot match is not held."""
    usual, joined_rows.LARGE_ROWS = joined_rows.LARGE_ROWS, large_rows
    try:
        return features.build(PIPELINE, PIPELINE.schedule.range(DAY), platform, keys=keys).table
    finally:
        joined_rows.LARGE_ROWS = usual


def asof_join(platform: Platform, keys: KeyRange) -> pa.Table:
    """DuckDB's own join of the piece and all facts."""
    ticks = PIPELINE.schedule.range(date(2024, 1, 1), DAY)
    asking, facts = (listed(platform.lake.files(names.raw(PIPELINE, name), ticks)) for name in ("orders", "facts"))
    at = f"due - INTERVAL {LEAD_HOURS} HOUR"
    mine = keys.of(lambda rows: f"SELECT order_id, customer, {at} AS predict_at FROM {rows}")(f"read_parquet({asking})")
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        return connection.sql(
            f"SELECT order_id, income, points FROM ({mine}) o ASOF LEFT JOIN read_parquet({facts}) f "
            "ON o.customer = f.customer AND o.predict_at > f.told_at"
        ).to_arrow_table()


WAYS: dict[str, Callable[[Platform, KeyRange], pa.Table]] = {
    "what its rows can match": lambda platform, keys: built(platform, keys, sized(joined_rows.LARGE_ROWS, 0)),
    "the whole table": lambda platform, keys: built(platform, keys, sys.maxsize),
    "DuckDB's ASOF join": asof_join,
}


def took(way: str, home: Path, pieces: int, out: Path) -> dict[str, float]:
    """Measure one way in this process."""
    platform = Platform(from_environment({"MLPROD_HOME": str(home)}))
    keys = first_piece(platform, pieces)
    idle, began, spent = peak_gb(), time.perf_counter(), time.process_time()
    made = WAYS[way](platform, keys)
    told = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent, "idle": idle, "gb": peak_gb()}
    pq.write_table(made.select(COLUMNS).sort_by("order_id"), out)
    return told | {"rows": made.num_rows}


def measured(way: str, home: Path, pieces: int, out: Path) -> dict[str, float]:
    """Measure one way in a process of its own."""
    if SMALL:
        return took(way, home, pieces, out)
    command = [sys.executable, "-m", "benchmarks.joined_rows", "--child", way, str(home), str(pieces), str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def compare(facts: int, rows: int, folder: Path) -> bool:
    """Print the table. Returns whether the values are equal."""
    home, pieces = folder / "home", max(2, rows // PIECE_ROWS)
    fill(Platform(from_environment({"MLPROD_HOME": str(home)})), facts, rows)
    told = {way: measured(way, home, pieces, folder / f"{n}.parquet") for n, way in enumerate(WAYS)}
    found = [pq.read_table(folder / f"{n}.parquet") for n in range(len(WAYS))]
    same = all(one.cast(found[0].schema).equals(found[0]) for one in found)
    print(f"{facts:,} facts; one piece of {pieces} of {rows:,} rows\n")
    print("| what is held of the facts | rows | seconds | processor seconds | GB |\n| --- | ---: | ---: | ---: | ---: |")
    for way, one in told.items():
        print(f"| {way} | {one['rows']:,.0f} | {one['seconds']:.1f} | {one['cpu']:.1f} | {one['gb']:.2f} |")
    narrow, whole = (told[way]["gb"] - told[way]["idle"] for way in list(WAYS)[:2])
    share = narrow / whole if whole > 0 else 0.0
    met = "met" if share <= AT_MOST else "MISSED"
    print(f"\nValues equal: {same}. {share:.2f} of the memory beyond an idle process; goal at most {AT_MOST:.2f}: {met}.\n")
    return same


def main() -> int:
    """Print the table. Exit status 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=sized(20_000_000, 4_000))
    parser.add_argument("--rows", type=int, default=sized(2_000_000, 500))
    parser.add_argument("--folder", help="where to work")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help="a few rows: only to see that it runs")
    asked = parser.parse_args()
    if asked.child:
        limit_threads(2)
        way, home, pieces, out = asked.child
        print(json.dumps(took(way, Path(home), int(pieces), Path(out))))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        return 0 if compare(asked.facts, asked.rows, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
