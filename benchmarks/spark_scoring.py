"""Scoring one large tick in pieces: this machine with two threads against a Spark cluster of two executors, one core each.

One tick of real flights, repeated to as many rows as are asked for, each copy under its own key; the year's arrivals, weather
and planes as they are; a champion of 200 trees with 63 leaves. Both read the raw tables, make the features, score, and replace
the tick in the lake; a session with the cluster stands before the clock starts. An executor's memory is that of its JVM and of
its processes of Python together. Both must leave the same rows, bit for bit. Goals: at most twice the time, at most 2 GB an
executor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.champion import train_champion
from benchmarks.features import fill
from benchmarks.scoring import REPOSITORY, TICK, declared
from benchmarks.size import FLAG, sized
from benchmarks.spark_cluster import SparkCluster, spark_cluster
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.same_code import hosts
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import limit_threads
from mlprod_tasks.scoring.score import score

ROWS = sized(1_000_000, 2_000)
THREADS = 2
GOAL, GOAL_GB = 2.0, 2.0
FILE_ROWS = 500_000
GB = 1e9


def main() -> int:
    """Print the table. Exit status 1 if the rows differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[ROWS])
    parser.add_argument("--folder", help="where to work; needs some 100 bytes a row")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(scored_here(asked.child)))
        return 0
    same = True
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        home = Path(folder) / "home"
        platform = Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)}))
        pipeline = declared()
        fill(pipeline, platform, 1)
        train_champion(pipeline, pipeline.schedule.tick(TICK), "one", platform)
        print("| rows | engine | seconds | of local | driver GB | executors GB | rows the same |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for rows in asked.rows:
            enlarge(pipeline, platform, rows, Path(folder) / "enlarged")
            same &= compare(rows, home, Path(folder))
    return 0 if same else 1


def compare(rows: int, home: Path, folder: Path) -> bool:
    """Score by both engines, print a line for each, and return whether they left the same rows."""
    local, driver, _ = measured("local", home, None)
    shutil.rmtree(home / "lake" / declared().name / "predictions")  # the lake keeps versions, and these are large
    print(f"| {rows:,} | local, {THREADS} threads | {local['seconds']:.1f} | | {driver:.2f} | | |", flush=True)
    with spark_cluster(folder / "spark", memory="2g") as cluster:
        spark, driver, executors = measured(cluster.url, home, cluster)
    ratio = spark["seconds"] / local["seconds"]
    same = spark["digest"] == local["digest"]
    peaks = " and ".join(f"{one:.2f}" for one in executors)
    print(f"| {rows:,} | Spark, 2 executors | {spark['seconds']:.1f} | {ratio:.2f}x | {driver:.2f} | {peaks} | {same} |")
    met = ratio <= GOAL and max(executors) <= GOAL_GB
    print(f"\nGoals at {rows:,} rows: at most {GOAL}x and {GOAL_GB} GB: {'met' if met else 'MISSED'}.\n", flush=True)
    return same


def measured(engine_or_master: str, home: Path, cluster: SparkCluster | None) -> tuple[dict[str, Any], float, list[float]]:
    """Score in a process of its own: what it tells, its peak in GB, and that of each executor."""
    environment = {**os.environ, "MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home), "MLPROD_SCORE_ROWS": "1000"}
    environment.setdefault("PYTHONPATH", str(REPOSITORY))
    command = [sys.executable, "-m", "benchmarks.spark_scoring", "--child", engine_or_master, *FLAG]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as child:
        watched = [psutil.Process(child.pid)]
        watched += [psutil.Process(worker.process.pid) for worker in cluster.workers] if cluster else []
        with peaks(watched) as highest:
            told, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"scoring by {engine_or_master} ended with {child.returncode}")
    return json.loads(told.splitlines()[-1]), highest[0], highest[1:]


@contextmanager
def peaks(processes: list[psutil.Process], every: float = 0.5) -> Iterator[list[float]]:
    """Watch the memory of processes with all below them, each page once. Yields the peaks in GB, which grow.

    Of a Spark worker only its executors count, not the worker itself; of others, what Java runs below them does not.
    """
    highest, ended = [0.0] * len(processes), threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            for number, process in enumerate(processes):
                with suppress(psutil.Error):
                    below = process.children(recursive=True)
                    whole = below if number else [process]
                    highest[number] = max(highest[number], sum(map(_memory, whole)) / GB)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        watcher.join()


def _memory(process: psutil.Process) -> int:
    """The bytes of a process, of pages that it shares its part of them; 0 if it has ended."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def scored_here(engine_or_master: str) -> dict[str, object]:
    """Score the tick, and tell the seconds and a digest of its predictions."""
    given = dict(os.environ)
    if engine_or_master == "local":
        limit_threads(THREADS)
    else:
        given |= {"MLPROD_ENGINE": "spark", "MLPROD_SPARK_MASTER": engine_or_master}
    platform, pipeline = Platform(from_environment(given)), declared()
    list(compute_of(platform.settings).map(hosts, [0, 1], "hosts"))
    tick = pipeline.schedule.tick(TICK)
    began = time.perf_counter()
    done = score(pipeline, tick, platform)
    seconds = time.perf_counter() - began
    assert done.fallback_reason is None, done.fallback_reason
    return {"seconds": seconds, "digest": digest(pipeline, platform)}


def digest(pipeline: Pipeline, platform: Platform) -> str:
    """A digest of all columns of the tick's predictions, whatever the order of rows."""
    files = platform.lake.files(names.predictions(pipeline), pipeline.schedule.range(TICK))
    with engine(lake=platform.lake) as connection:
        found = connection.execute(f"SELECT count(*), bit_xor(hash(rows)) FROM read_parquet({listed(files)}) AS rows")
        return "-".join(map(str, found.fetchall()[0]))


def enlarge(pipeline: Pipeline, platform: Platform, rows: int, folder: Path) -> None:
    """Repeat the tick's flights, each copy under its own key, in the order of keys."""
    name, ticks = names.raw(pipeline, pipeline.entity_name), pipeline.schedule.range(TICK)
    kept = folder.with_name("one_day.parquet")
    if not kept.exists():
        pq.write_table(platform.lake.rows(name, [ticks.first]).sort_by("flight_id"), kept)
    day = pq.read_table(kept)
    folder.mkdir(exist_ok=True)
    files = []
    for first in range(0, rows, FILE_ROWS):
        wanted = min(FILE_ROWS, rows - first)
        copies = range(first // day.num_rows, (first + wanted) // day.num_rows + 1)
        whole = pa.concat_tables([_copy(day, copy) for copy in copies]).slice(first - copies[0] * day.num_rows, wanted)
        pq.write_table(whole, folder / f"{first:012d}.parquet")
        files.append(folder / f"{first:012d}.parquet")
    platform.lake.replace_ticks(name, ticks, RowFiles(tuple(files), rows))
    for file in files:
        file.unlink()


def _copy(day: pa.Table, copy: int) -> pa.Table:
    keys = pc.binary_join_element_wise(f"{copy:08d}", day["flight_id"].cast(pa.string()), "-")
    return day.set_column(day.column_names.index("flight_id"), "flight_id", keys)


if __name__ == "__main__":
    sys.exit(main())
