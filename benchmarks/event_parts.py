"""Trailing features of one large tick, half of whose events have one key: parts of events here, and Spark SQL's own way.

Generated payments of four weeks; orders ask for counts, means and sums of one and four weeks of their customer, each as of a
moment of its own. First the parts that mlprod aggregates before the rows are scored, one after the other: events and processor
seconds of each against their mean, and the memory of all against that of reading all events at once. Then the same features of
fewer events by Spark SQL: events and rows in one table, RANGE frames over their times, two local cores; a session stands before
the clock starts. Every measurement has a process of its own. Goals: no part takes more than 1.5x the mean, at least 5x as fast
as Spark SQL, equal values.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features import peak_gb
from benchmarks.ordered_tick import (
    CUSTOMER,
    DAY,
    DAY_LONG,
    LEAD_HOURS,
    MICROSECONDS,
    MOMENT,
    declared,
    into_lake,
    moments,
    orders,
    ticks_of,
)
from benchmarks.replicas import REPOSITORY
from benchmarks.size import SMALL, sized
from benchmarks.spark_cluster import SPARK
from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.features.key_ranges import key_ranges, pieces_for
from mlprod_tasks.features.staged_values import StagedPiece
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute.exchange import FolderExchange
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import limit_threads

KEYS, PARTS = 20_000, 8
AT_MOST, AT_LEAST = 1.5, 5.0
PIPELINE = declared(
    ml.Table(
        "payments", ml.Files("x", "p.csv", "csv"), ("payment_id",), time="paid_at",
        columns=(
            ml.Column("payment_id", "int", "-"), ml.Column("paid_at", "timestamp", "-"), CUSTOMER,
            ml.Column("amount", "float", "in eighths, so that sums of floats are exact"),
        ),
    ),
    ml.Trailing(
        "customer", "payments", {"customer": "customer"}, (ml.days(7), ml.days(28)),
        (ml.Count(), ml.Mean("amount"), ml.Sum("amount")),
    ),
)  # fmt: skip
TRAILING = names_of(PIPELINE.features[1])


def fill(platform: Platform, events: int, rows: int) -> None:
    """Payments of four weeks, half of them of customer 0, and the tick's orders of the same customers."""
    random = np.random.default_rng(1)

    def customers(n: int) -> np.ndarray:
        return np.where(random.random(n) < 0.5, 0, random.integers(1, KEYS, n))

    at = moments(random, events)
    payments = pa.table(
        {
            "payment_id": np.arange(events), "paid_at": pa.array(at).cast(MOMENT), "customer": customers(events),
            "amount": random.integers(1, 4_000, events) / 8, "tick": ticks_of(at),
        }
    )  # fmt: skip
    into_lake(PIPELINE, platform, {"payments": payments, "orders": orders(random, rows, customers)})


def by_parts(platform: Platform, folder: Path) -> list[tuple[int, float]]:
    """Compute the features, events by parts and rows by pieces. Returns events and processor seconds of each part."""
    ticks = PIPELINE.schedule.range(DAY)
    versions = features.pinned(PIPELINE, platform)
    rows = platform.lake.rows(names.raw(PIPELINE, "orders"), [DAY], ["tick"]).num_rows
    _, ranges = key_ranges(PIPELINE, ticks, platform, versions, pieces_for(rows))
    staged = features.stage_events(PIPELINE, ticks, platform, versions, None, ranges, FolderExchange(folder / "events"))
    for number, keys in enumerate(ranges):
        made = features.build(PIPELINE, ticks, platform, versions=versions, keys=keys, staged=StagedPiece(staged, number))
        pq.write_table(made.table, folder / f"made-{number}.parquet")
    return [(one.events, one.seconds) for group in staged for one in group.done]


def at_once(platform: Platform, folder: Path) -> list[tuple[int, float]]:
    """Compute the features from all events at once."""
    made = features.build(PIPELINE, PIPELINE.schedule.range(DAY), platform)
    pq.write_table(made.table, folder / "made-0.parquet")
    return []


def spark_sql(platform: Platform, folder: Path) -> list[tuple[int, float]]:
    """Compute the features by frames of Spark SQL over events and rows together. The clock is started anew."""
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    session = (
        builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", 8).getOrCreate()
    )
    session.range(10).count()
    began = time.perf_counter()
    for name in ("orders", "payments"):
        files = platform.lake.files(names.raw(PIPELINE, name), PIPELINE.schedule.range(date(2024, 1, 1), DAY))
        session.read.parquet(*files).createOrReplaceTempView(name)
    frames = {
        f"{days}d": f"(PARTITION BY customer ORDER BY at RANGE BETWEEN {days * DAY_LONG} PRECEDING AND 1 PRECEDING)"
        for days in (7, 28)
    }
    columns = ", ".join(
        f"count(amount) OVER {frame} AS customer_count_{name}, avg(amount) OVER {frame} AS customer_mean_amount_{name}, "
        f"coalesce(sum(amount) OVER {frame}, 0) AS customer_sum_amount_{name}"
        for name, frame in frames.items()
    )
    at = f"unix_micros(due) - {LEAD_HOURS * 3_600 * MICROSECONDS}"
    session.sql(
        f"SELECT * FROM (SELECT order_id, {columns} FROM ("
        f"SELECT order_id, customer, {at} AS at, CAST(NULL AS DOUBLE) AS amount FROM orders UNION ALL "
        "SELECT NULL, customer, unix_micros(paid_at), amount FROM payments)) WHERE order_id IS NOT NULL"
    ).write.parquet(str(folder / "made"))
    return [(0, time.perf_counter() - began)]


WAYS = {"parts": by_parts, "at once": at_once, "Spark SQL": spark_sql}


def took(way: str, home: Path, event_rows: int, out: Path) -> dict[str, Any]:
    """Measure one way in this process."""
    platform = Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_EVENT_ROWS": str(event_rows)}))
    out.mkdir()
    began = time.perf_counter()
    told = WAYS[way](platform, out)
    seconds = told[0][1] if way == "Spark SQL" else time.perf_counter() - began
    return {"seconds": seconds, "parts": told, "gb": peak_gb()}


def measured(way: str, home: Path, event_rows: int, out: Path) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    if SMALL:
        return took(way, home, event_rows, out)
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{SPARK}", "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-m", "benchmarks.event_parts", "--child", way, str(home), str(event_rows), str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def values(folder: Path) -> pa.Table:
    """All features that a way left, in the order of orders."""
    files = sorted(folder.glob("made*.parquet")) or sorted((folder / "made").glob("*.parquet"))
    columns = ["order_id", *TRAILING]
    return pa.concat_tables([pq.read_table(file, columns=columns) for file in files]).sort_by("order_id").combine_chunks()


def print_parts(events: int, rows: int, folder: Path) -> bool:
    """Print what the parts of one tick take. Returns whether the values are those of reading all events at once."""
    home = folder / "home"
    fill(Platform(from_environment({"MLPROD_HOME": str(home)})), events, rows)
    parts = measured("parts", home, events // PARTS, folder / "parts")
    whole = measured("at once", home, events // PARTS, folder / "whole")
    same = values(folder / "parts").equals(values(folder / "whole"))
    print(f"{events:,} events, half of one key, and {rows:,} rows; MLPROD_EVENT_ROWS={events // PARTS}\n")
    print("| of a part | mean | largest | times the mean |\n| --- | --- | --- | --- |")
    shares = []
    for what, column, digits in (("events", 0, 0), ("processor seconds", 1, 2)):
        took = np.array([one[column] for one in parts["parts"]])
        shares.append(took.max() / took.mean())
        print(f"| {what}, {took.size} parts | {took.mean():,.{digits}f} | {took.max():,.{digits}f} | {shares[-1]:.2f}x |")
    print("\n| way | seconds | GB |\n| --- | --- | --- |")
    for way, told in (("in parts and pieces", parts), ("at once", whole)):
        print(f"| {way} | {told['seconds']:.1f} | {told['gb']:.2f} |")
    print(f"\nValues equal: {same}. Goal at most {AT_MOST}x: {'met' if max(shares) <= AT_MOST else 'MISSED'}.\n", flush=True)
    return same


def print_spark(events: int, rows: int, folder: Path) -> bool:
    """Print a comparison with Spark SQL. Returns whether the values are equal."""
    home = folder / "home"
    fill(Platform(from_environment({"MLPROD_HOME": str(home)})), events, rows)
    parts = measured("parts", home, events // PARTS, folder / "parts")
    spark = measured("Spark SQL", home, events // PARTS, folder / "spark")
    theirs, ours = values(folder / "spark"), values(folder / "parts")
    same = theirs.cast(ours.schema).equals(ours)
    ratio = spark["seconds"] / parts["seconds"]
    met = "met" if ratio >= AT_LEAST else "MISSED"
    print(f"| {events:,} events, {rows:,} rows | seconds |\n| --- | --- |")
    print(f"| Spark SQL, RANGE frames | {spark['seconds']:.1f} |\n| mlprod, in parts and pieces | {parts['seconds']:.1f} |")
    print(f"\nValues equal: {same}. {ratio:.1f}x as fast; goal at least {AT_LEAST}x: {met}.\n")
    return same


def main() -> int:
    """Print the tables. Exit status 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=sized(20_000_000, 4_000))
    parser.add_argument("--rows", type=int, default=sized(2_000_000, 500))
    parser.add_argument("--spark-events", type=int, default=sized(20_000, 0), help="0: without Spark SQL")
    parser.add_argument("--spark-rows", type=int, default=20_000)
    parser.add_argument("--folder", help="where to work")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help="a few rows: only to see that it runs, without Spark SQL")
    asked = parser.parse_args()
    if asked.child:
        limit_threads(2)
        way, home, event_rows, out = asked.child
        print(json.dumps(took(way, Path(home), int(event_rows), Path(out))))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.folder) as first, tempfile.TemporaryDirectory(dir=asked.folder) as second:
        same = print_parts(asked.events, asked.rows, Path(first))
        if asked.spark_events:
            same &= print_spark(asked.spark_events, asked.spark_rows, Path(second))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
