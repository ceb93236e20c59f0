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
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.monitoring import declared, profile_of_first_weeks, scored_flights
from benchmarks.scoring import REPOSITORY
from benchmarks.size import FLAG, sized
from benchmarks.spark_cluster import SparkCluster, spark_cluster
from benchmarks.spark_scoring import peaks
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.same_code import hosts
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import limit_threads

ROWS = sized(1_000_000, 20_000)
THREADS = 2
TICK, VERSION = date(2013, 6, 17), 1
GOAL, GOAL_GB = 2.0, 2.0
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
        print("| rows | engine | seconds | of local | driver GB | executors GB | measurements the same |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for rows in asked.rows:
            fill(year, rows, Platform(from_environment({"MLPROD_HOME": str(home)})), Path(folder) / "scored")
            same &= compare(rows, home, Path(folder))
    return 0 if same else 1


def compare(rows: int, home: Path, folder: Path) -> bool:
    """Measure by both engines, print a line for each, and return whether they wrote the same measurements."""
    local, driver, _ = measured("local", home, None)
    print(f"| {rows:,} | local, {THREADS} threads | {local['seconds']:.1f} | | {driver:.2f} | | |", flush=True)
    with spark_cluster(folder / "spark", memory="2g") as cluster:
        spark, driver, executors = measured(cluster.url, home, cluster)
    ratio = spark["seconds"] / local["seconds"]
    same = spark["digest"] == local["digest"]
    highest = " and ".join(f"{one:.2f}" for one in executors)
    print(f"| {rows:,} | Spark, 2 executors | {spark['seconds']:.1f} | {ratio:.2f}x | {driver:.2f} | {highest} | {same} |")
    met = ratio <= GOAL and max(executors) <= GOAL_GB
    print(f"\nGoals at {rows:,} rows: at most {GOAL}x and {GOAL_GB} GB: {'met' if met else 'MISSED'}.\n", flush=True)
    return same


def measured(engine_or_master: str, home: Path, cluster: SparkCluster | None) -> tuple[dict[str, Any], float, list[float]]:
    """Measure in a process of its own: what it tells, its peak in GB, and that of each executor."""
    environment = {**os.environ, "MLPROD_HOME": str(home), "MLPROD_MEASURE_ROWS": "1000"}
    environment.setdefault("PYTHONPATH", str(REPOSITORY))
    command = [sys.executable, "-m", "benchmarks.spark_monitoring", "--child", engine_or_master, *FLAG]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as child:
        watched = [psutil.Process(child.pid)]
        watched += [psutil.Process(worker.process.pid) for worker in cluster.workers] if cluster else []
        with peaks(watched) as highest:
            told, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"measuring by {engine_or_master} ended with {child.returncode}")
    return json.loads(told.splitlines()[-1]), highest[0], highest[1:]


def measured_here(engine_or_master: str) -> dict[str, object]:
    """Measure the tick, and tell the seconds and a digest of what was measured of its inputs."""
    given = dict(os.environ)
    if engine_or_master == "local":
        limit_threads(THREADS)
    else:
        given |= {"MLPROD_ENGINE": "spark", "MLPROD_SPARK_MASTER": engine_or_master}
    platform, pipeline = Platform(from_environment(given)), declared()
    platform.__dict__["registry"] = StoredProfile(platform.settings.home / PROFILE)
    list(compute_of(platform.settings).map(hosts, [0, 1], "hosts"))
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
    platform.lake.replace_ticks(names.predictions(pipeline), ticks, RowFiles(tuple(files), rows))
    for file in files:
        file.unlink()


if __name__ == "__main__":
    sys.exit(main())
