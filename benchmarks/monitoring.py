"""The drift profile of one partition against one DuckDB scan of its columns, in one run.

Real flights, repeated to a partition of 10 million scored rows with 16 features: numbers, text, nulls. Everything that is read
of a tick is timed: counts, ranges, categories, the sample and the domain classifier over it. Prints rows of the table in
docs/benchmarks.md.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.size import sized
from demo.business_database import business_tables
from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.monitoring.profile import make_profile
from mlprod_tasks.platform.engine import engine
from pipelines.flight_delays import pipeline as flight_delays

SIZES = sized((1_000_000, 10_000_000), (20_000, 40_000))
NAMES = (
    "carrier", "origin", "dest", "tailnum", "route", "flight_number", "distance", "month", "day", "weekday", "hour", "minute",
    "minute_of_day", "block_minutes", "dep_delay", "arr_delay",
)  # fmt: skip
FEATURES = len(NAMES)
REFERENCE_TICKS = 28
REPEATS = sized(5, 1)
AT_MOST = 3.0
MOST_MEMORY = 4.0  # GB


def scored_flights() -> pa.Table:
    """A year of scored flights: 16 features of which 11 are numbers, 2 of them with nulls, and 5 texts."""
    tables = business_tables()
    flights = tables["flights"].join(
        tables["arrivals"].select(["flight_id", "landed_at", "dep_delay", "arr_delay"]), "flight_id"
    )
    flights = flights.sort_by([("sched_dep_at", "ascending"), ("flight_id", "ascending")])
    moment, minute = flights["sched_dep_at"], pc.minute(flights["sched_dep_at"])
    hour = pc.hour(moment)
    score = np.random.default_rng(0).beta(2, 6, flights.num_rows)
    return pa.table(
        {
            "carrier": flights["carrier"],
            "origin": flights["origin"],
            "dest": flights["dest"],
            "tailnum": flights["tailnum"],
            "route": pc.binary_join_element_wise(flights["origin"], flights["dest"], pa.scalar("-", flights["origin"].type)),
            "flight_number": flights["flight_number"],
            "distance": flights["distance"],
            "month": pc.month(moment),
            "day": pc.day(moment),
            "weekday": pc.day_of_week(moment),
            "hour": hour,
            "minute": minute,
            "minute_of_day": pc.add(pc.multiply(hour, 60), minute),
            "block_minutes": pc.divide(pc.cast(pc.seconds_between(moment, flights["sched_arr_at"]), pa.float64()), 60.0),
            "dep_delay": pc.cast(flights["dep_delay"], pa.float64()),
            "arr_delay": pc.cast(flights["arr_delay"], pa.float64()),
            "score": score,
            "decision": score > 0.3,
            "fallback": np.zeros(flights.num_rows, bool),
            "tick": pc.cast(moment, pa.date32(), safe=False),
        }
    )


def first_weeks(year: pa.Table) -> pa.Table:
    """The rows of the first REFERENCE_TICKS ticks."""
    first = pc.min(year["tick"]).as_py()
    return year.filter(pc.less(year["tick"], pa.scalar(first + timedelta(days=REFERENCE_TICKS))))


def declared() -> ml.Pipeline:
    """The flights' use case with the features of `scored_flights`."""
    own = {column.name: column.kind for column in flight_delays.entity_table.columns}
    named = tuple(
        ml.Expression(name, name if name in own else "distance", own.get(name, "int"), "read as it is logged") for name in NAMES
    )
    gates, fallback = (ml.AtLeast("roc_auc", 0.5),), ml.RateTable(by=("hour",))
    return replace(flight_delays, features=named, slices=(), gates=gates, fallback=fallback)


def profile_of_first_weeks(year: pa.Table) -> ReferenceProfile:
    """The reference: the first REFERENCE_TICKS ticks."""
    rows = first_weeks(year)
    score, decision = rows["score"].to_numpy(), rows["decision"].to_numpy(zero_copy_only=False)
    labels = np.random.default_rng(1).random(rows.num_rows) < score
    return make_profile(declared(), rows, scores=score, decisions=decision, labels=labels, importance=dict.fromkeys(NAMES, 1.0))


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    year = scored_flights()
    profile = profile_of_first_weeks(year)
    print("| what | against | rows | floor | mlprod | ratio | at most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "partition.parquet"
            write(year, size, path)
            floor, ours = _measured(f"read_parquet('{path}', file_row_number = true)", profile)
        print(
            f"| everything read of one partition, {FEATURES} features | one DuckDB scan of the columns | {size:,} "
            f"| {floor:.2f} s | {ours:.2f} s | {ours / floor:.2f}x | {AT_MOST:.0f}x |",
            flush=True,
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"| peak memory, making the data included | | {SIZES[-1]:,} | | {memory:.1f} GB | | {MOST_MEMORY:.0f} GB |")


def write(year: pa.Table, rows: int, path: Path) -> None:
    with pq.ParquetWriter(path, year.schema, compression="snappy") as writer:
        for start in range(0, rows, year.num_rows):
            writer.write_table(year.slice(0, min(year.num_rows, rows - start)))


def _measured(source: str, profile: ReferenceProfile) -> tuple[float, float]:
    """Seconds of the scan, and of everything that is read of the partition."""
    with engine() as con:
        kinds = {
            name: kind
            for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            if name not in ("tick", "file_row_number")
        }
        read = {"VARCHAR": "sum(strlen({}))", "BOOLEAN": "count_if({})"}  # every value is read
        scanned = ", ".join(read.get(kind, "sum({})").format(name) for name, kind in kinds.items())

        def scan() -> object:
            return con.execute(f"SELECT {scanned} FROM {source}").fetchall()

        def profiled() -> object:
            return list(inputs(profile, observe(con, source, profile)))

        return best(scan), best(profiled)


if __name__ == "__main__":
    main()
