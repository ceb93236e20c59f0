"""Memory and time of a training as its rows grow: 1, 10 and 30 million rows of 46 features.

The set is written in batches, as `assemble` leaves it: 46 features, 3 of them categories, a fiftieth of the values null. Four
fifths of the rows are the training window, a tenth each validation and test. Then the steps `train` (20 trees) and `evaluate`
run, each in a process of its own, with the memory at its peak. Goal: at most 8 GB at 30 million rows, and at most 11 times the
processor seconds for 10 times the rows. `--small`: only to see that it runs. That the model is the one fitted in memory is a
test (tests/training/test_stored_rows.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features import peak_gb
from benchmarks.training import REPOSITORY
from mlprod_tasks.declaration import LightGBM, Pipeline, load
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.models.model_facts import DateRange, PerWindow
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training import train
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.workspace import TrainingFolder

AT_MOST_GB, AT_MOST_TIMES = 8.0, 11.0
SIZES, SMALL = (1_000_000, 10_000_000, 30_000_000), (2_000,)
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
DAYS, FIRST = 100, date(2013, 1, 1)  # of each window
BATCH = 500_000
TREES = 20
ID = "bench"
STEPS: dict[str, Callable[[Pipeline, str, Platform], object]] = {"train": train.train, "evaluate": evaluate}


def declared() -> Pipeline:
    """The shipped use case with few trees."""
    pipeline = load(REPOSITORY / "pipelines" / "flight_delays.py")
    learner = next(one for one in pipeline.model.candidates if isinstance(one, LightGBM))
    learner = replace(learner, max_trees=TREES, early_stopping_rounds=None)
    return replace(pipeline, model=replace(pipeline.model, candidates=(learner,), search=None, warm_update=False))


def platform_of(home: Path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)}))


def write_set(pipeline: Pipeline, home: Path, rows: int) -> None:
    """Write a training set in batches."""
    folder = TrainingFolder(platform_of(home), ID)
    folder.path.mkdir(parents=True)
    counts = {name: round(share * rows) for name, share in SHARES.items()}
    positives, pool = dict.fromkeys(counts, 0), drawn(pipeline)
    writer: pq.ParquetWriter | None = None
    ranges = [DateRange(FIRST + timedelta(i * DAYS), FIRST + timedelta((i + 1) * DAYS - 1)) for i in range(len(counts))]
    for i, (split, count) in enumerate(counts.items()):
        for at in range(0, count, BATCH):
            table = _batch(pool, split, np.arange(at, min(at + BATCH, count)) * DAYS // count + i * DAYS, seed=(i, at))
            positives[split] += int(np.count_nonzero(table["label"].to_numpy()))
            writer = writer or pq.ParquetWriter(folder.training_set, table.schema, compression="zstd")
            writer.write_table(table)
    assert writer is not None
    writer.close()
    folder.write(
        Assembled(
            pipeline.name, ranges[2].last, pipeline.digest, PerWindow(*ranges), PerWindow(**counts), PerWindow(**positives),
            PerWindow(0, 0, 0), {},
        )
    )  # fmt: skip


def drawn(pipeline: Pipeline) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draw BATCH values of each feature: the values, which are null, and what each adds to the log-odds.

    A batch takes them from a start of its own for each feature: drawing all of them anew would take longer than a fit.
    """
    random, columns = np.random.default_rng(0), {}
    none = np.zeros(BATCH, bool)
    for i, name in enumerate(pipeline.feature_names):
        if name in pipeline.model.categorical:
            code = random.integers(0, 40, BATCH)
            columns[name] = code.astype(str).astype(object), none, 0.5 * np.sin(code)
        elif name in pipeline.fallback.by:
            columns[name] = random.integers(0, 24, BATCH), none, np.zeros(BATCH)
        else:
            values = random.normal(size=BATCH).round(2)
            columns[name] = values, random.random(BATCH) < 0.02, 0.3 * np.sin(2 * values + i) * (i % 3 == 0)
    return columns


def _batch(pool: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], split: str, day: np.ndarray, seed: Any) -> pa.Table:
    random, n = np.random.default_rng(seed), len(day)
    columns: dict[str, pa.Array] = {"tick": pa.array(np.datetime64(FIRST) + day.astype("timedelta64[D]"), pa.date32())}
    logit = np.full(n, -1.5)
    for name, arrays in pool.items():
        start = random.integers(BATCH)
        values, null, added = (np.roll(array, start)[:n] for array in arrays)
        columns[name] = pa.array(values, mask=null)
        logit += added
    columns["split"] = pa.array([split] * n)
    columns["label"] = pa.array(random.random(n) < 1 / (1 + np.exp(-logit)))
    return pa.table(columns)


def one(step: str, home: Path) -> None:
    """Run one step in this process; print its seconds and memory."""
    began, before = time.perf_counter(), os.times()
    STEPS[step](declared(), ID, platform_of(home))
    seconds, after = time.perf_counter() - began, os.times()
    cpu = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "cpu": cpu, "gb": peak_gb()}))


def measured(step: str, home: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training_memory", "--step", step, "--home", str(home)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if ran.returncode:
        raise SystemExit(f"{step} failed:\n{ran.stderr}")
    result: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Print a line for each size, and the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    if given.step:
        one(given.step, given.home)
        return 0
    pipeline, sizes = declared(), given.rows or (SMALL if given.small else SIZES)
    print(f"training memory, {len(pipeline.feature_names)} features, {TREES} trees, peak of each step's process")
    print("| rows | set on disk, GB | train, s | of a processor | GB | evaluate, s | of a processor | GB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    found: dict[int, dict[str, dict[str, float]]] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            home = Path(temporary)
            write_set(pipeline, home, rows)
            on_disk = TrainingFolder(platform_of(home), ID).training_set.stat().st_size / 1e9
            found[rows] = {step: measured(step, home) for step in STEPS}
        cells = " | ".join(f"{ran['seconds']:.0f} | {ran['cpu']:.0f} | {ran['gb']:.1f}" for ran in found[rows].values())
        print(f"| {rows:,} | {on_disk:.2f} | {cells} |", flush=True)
    last = sizes[-1]
    peak = max(ran["gb"] for ran in found[last].values())
    print(f"\npeak at {last:,} rows: {peak:.1f} GB (goal <= {AT_MOST_GB:.0f}: {'met' if peak <= AT_MOST_GB else 'missed'})")
    for few, many in pairwise(sizes):
        seconds = [sum(ran["cpu"] for ran in found[rows].values()) for rows in (few, many)]
        per_ten = (seconds[1] / seconds[0]) ** (np.log(10) / np.log(many / few))
        met = "met" if per_ten <= AT_MOST_TIMES else "missed"
        times = f"{seconds[1] / seconds[0]:.1f} times the processor seconds, {per_ten:.1f} for ten times the rows"
        print(f"{few:,} to {many:,} rows: {times} (goal <= {AT_MOST_TIMES:.0f}: {met})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
