"""One large tick by this machine with two threads and by a Spark cluster of two executors, one core each: time, memory, result.

Each engine works in a process of its own, which tells seconds and a digest of what it left. An executor's memory is that of its
JVM and of its processes of Python together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.replicas import REPOSITORY
from benchmarks.size import FLAG
from benchmarks.spark_cluster import SparkCluster, spark_cluster
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.same_code import hosts
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import limit_threads

THREADS = 2
GOAL, GOAL_GB = 2.0, 2.0
GB = 1e9
LOCAL = "local"

Told = dict[str, Any]  # seconds and digest


@dataclass(frozen=True)
class TwoEngines:
    """A benchmark of both. module: what a process of its own runs, with `--child ENGINE`; given: its further environment."""

    module: str
    what: str  # is the same, such as 'rows'
    given: Mapping[str, str] = field(default_factory=dict)
    between: Callable[[], None] = lambda: None  # is called after the local run

    def print_head(self) -> None:
        """Print the head of the table."""
        print(f"| rows | engine | seconds | of local | driver GB | executors GB | {self.what} the same |")
        print("| --- | --- | --- | --- | --- | --- | --- |")

    def compare(self, rows: int, home: Path, folder: Path) -> bool:
        """Run by both, print a line for each, and return whether they left the same."""
        local, driver, _ = self._run(LOCAL, home, None)
        self.between()
        print(f"| {rows:,} | local, {THREADS} threads | {local['seconds']:.1f} | | {driver:.2f} | | |", flush=True)
        with spark_cluster(folder / "spark", memory="2g") as cluster:
            spark, driver, executors = self._run(cluster.url, home, cluster)
        ratio = spark["seconds"] / local["seconds"]
        same = bool(spark["digest"] == local["digest"])
        highest = " and ".join(f"{one:.2f}" for one in executors)
        print(f"| {rows:,} | Spark, 2 executors | {spark['seconds']:.1f} | {ratio:.2f}x | {driver:.2f} | {highest} | {same} |")
        met = ratio <= GOAL and max(executors) <= GOAL_GB
        print(f"\nGoals at {rows:,} rows: at most {GOAL}x and {GOAL_GB} GB: {'met' if met else 'MISSED'}.\n", flush=True)
        return same

    def _run(
        self, engine_or_master: str, home: Path, cluster: SparkCluster | None
    ) -> tuple[dict[str, Any], float, list[float]]:
        """What the process tells, its peak in GB, and that of each executor."""
        environment = {**os.environ, "MLPROD_HOME": str(home), **self.given}
        environment.setdefault("PYTHONPATH", str(REPOSITORY))
        command = [sys.executable, "-m", self.module, "--child", engine_or_master, *FLAG]
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as child:
            watched = [psutil.Process(child.pid)]
            watched += [psutil.Process(worker.process.pid) for worker in cluster.workers] if cluster else []
            with peaks(watched) as highest:
                told, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"{self.module} by {engine_or_master} ended with {child.returncode}")
        return json.loads(told.splitlines()[-1]), highest[0], highest[1:]


def platform_by(engine_or_master: str) -> Platform:
    """The platform of a process of its own, with a session where it needs one."""
    given = dict(os.environ)
    if engine_or_master == LOCAL:
        limit_threads(THREADS)
    else:
        given |= {"MLPROD_ENGINE": "spark", "MLPROD_SPARK_MASTER": engine_or_master}
    platform = Platform(from_environment(given))
    list(compute_of(platform.settings).map(hosts, [0, 1], "hosts"))
    return platform


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
