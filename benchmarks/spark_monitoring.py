"""Measuring one large tick: this machine with two threads against a Spark cluster of two executors, one core each.

Scored flights of a real year, 16 features, repeated to as many rows as are asked for, as one tick in the lake. Both run
`measure`: who answered, counts, ranges, categories, estimates before labels, known faults, the sample and the domain classifier
over it. A session with the cluster stands before the clock starts. An executor's memory is that of its JVM and of its processes
of Python together. Both must write the same measurements, bit for bit. Goals: at most twice the time, at most 2 GB an executor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.monitoring import declared, profile_of_first_weeks, scored_flights
from benchmarks.size import sized
from benchmarks.two_engines import TwoEngines, platform_by
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.settings import from_environment

ROWS = sized(1_000_000, 20_000)
TICK, VERSION = date(2013, 6, 17), 1
FILE_ROWS = 500_000
PROFILE = "profile.json"


class StoredProfile:
    """The reference profile, where the registry has it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def reference_profile(self, pipeline: Pipeline, version: int) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text()))


def main() -> int:
    """Print the table. Exit status 1 if the measurements differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[ROWS])
    parser.add_argument("--folder", help="where to work; needs some 200 bytes a row")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measured_here(asked.child)))
        return 0
    same, year = True, scored_flights()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        home = Path(folder) / "home"
        home.mkdir()
        (home / PROFILE).write_text(json.dumps(profile_of_first_weeks(year).as_json()))
        both = TwoEngines("benchmarks.spark_monitoring", "measurements", {"MLPROD_MEASURE_ROWS": "1000"})
        both.print_head()
        for rows in asked.rows:
            fill(year, rows, Platform(from_environment({"MLPROD_HOME": str(home)})), Path(folder) / "scored")
            same &= both.compare(rows, home, Path(folder))
    return 0 if same else 1


def measured_here(engine_or_master: str) -> dict[str, object]:
    """Measure the tick, and tell the seconds and a digest of what was measured of its inputs."""
    platform, pipeline = platform_by(engine_or_master), declared()
    platform.__dict__["registry"] = StoredProfile(platform.settings.home / PROFILE)
    began = time.perf_counter()
    measure(pipeline, pipeline.schedule.tick(TICK), platform)
    seconds = time.perf_counter() - began
    rows = [row for row in platform.ledger.all(Measurement) if row.what in of_family("input")]
    found = sorted((row.what, row.slice, repr(row.value), row.n, row.sentence) for row in rows)
    assert len(found) > 80, found
    return {"seconds": seconds, "digest": hashlib.sha256(json.dumps(found).encode()).hexdigest()}


def fill(year: pa.Table, rows: int, platform: Platform, folder: Path) -> None:
    """Put a tick of so many predictions where scoring leaves them."""
    pipeline = declared()
    folder.mkdir(exist_ok=True)
    files = []
    for first in range(0, rows, FILE_ROWS):
        n, start = min(FILE_ROWS, rows - first), first % year.num_rows
        part = pa.concat_tables([year] * (2 + n // year.num_rows)).slice(start, n).drop_columns(["tick"])
        part = part.append_column("tick", pa.array(np.full(n, np.datetime64(TICK)), pa.date32()))
        part = part.append_column("model_version", pa.array(np.full(n, VERSION), pa.int32()))
        files.append(folder / f"{first:012d}.parquet")
        pq.write_table(part, files[-1])
    ticks = pipeline.schedule.range(TICK)
    platform.lake.replace_ticks(names.predictions(pipeline), ticks, RowFiles.here(files, rows))
    for file in files:
        file.unlink()


if __name__ == "__main__":
    sys.exit(main())
