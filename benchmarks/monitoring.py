"""The drift profile of one partition against one DuckDB scan of its columns, in one run.

Real flights, repeated to 5.9 million rows with 16 columns: numbers, text, nulls. Prints a row of the README's table.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from demo.business_database import business_tables
from mlprod_tasks.monitor import bins, drift
from mlprod_tasks.platform.engine import engine

ROWS = 5_900_000
REPEATS = 5
AT_MOST = 3.0


def columns() -> pa.Table:
    """16 columns of the real flights: 11 numbers, 2 of them with nulls, and 5 texts."""
    tables = business_tables()
    flights = tables["flights"].join(
        tables["arrivals"].select(["flight_id", "landed_at", "dep_delay", "arr_delay"]), "flight_id"
    )
    moment, minute = flights["sched_dep_at"], pc.minute(flights["sched_dep_at"])
    hour = pc.hour(moment)
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
        }
    )


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs: the others were disturbed."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    year = columns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "partition.parquet"
        rows = pa.concat_tables([year] * (ROWS // year.num_rows + 1)).slice(0, ROWS)
        pq.write_table(rows, path, compression="snappy")
        del rows
        with engine() as con:
            source = f"read_parquet('{path}')"
            con.register("reference", year)
            kinds = {name: kind for name, kind, *_ in con.execute("DESCRIBE reference").fetchall()}
            chosen = bins.learn(con, "reference", kinds)
            reference = bins.count(con, "reference", chosen)
            # Every value is read: sums of numbers, lengths of text.
            scanned = ", ".join(f"sum({n})" if k != "VARCHAR" else f"sum(strlen({n}))" for n, k in kinds.items())

            def scan() -> object:
                return con.execute(f"SELECT {scanned} FROM {source}").fetchall()

            def profile() -> object:
                counts = bins.count(con, source, chosen)
                return [drift.corrected_psi(reference[name], counts[name]) for name in kinds]

            floor, ours = best(scan), best(profile)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print("| what | against | rows | floor | mlprod | ratio | at most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| drift profile of one partition, {len(kinds)} columns | one DuckDB scan of the columns | {ROWS:,} | {floor:.2f} s "
        f"| {ours:.2f} s | {ours / floor:.2f}x | {AT_MOST:.0f}x |"
    )
    print(f"peak memory of the whole run, its making of the data included: {memory:.1f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
