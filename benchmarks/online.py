"""What features on request cost on the year of flights: microseconds a row, whole and part by part, and what a fill takes.

The parts: reading and checking the fields, the entries of the online store once they are decoded, all expressions; beside them
the same expressions in one DuckDB statement, which is what one that is not compiled costs. Every row that is timed is first
compared with batch: a difference ends the benchmark.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.features import fill
from benchmarks.size import sized
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.check import compared, requests_of
from mlprod_tasks.online.fill import Filled, fill_online
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment

REPOSITORY = Path(__file__).parents[1]
TICK = sized("2013-06-24", "2013-03-11")
ROWS = sized(500, 20)
REPEATS = sized(5, 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def main() -> int:
    """Print the table."""
    pipeline = load(REPOSITORY / "pipelines" / "flight_delays.py")
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
        fill(pipeline, platform, 1)
        tick = pipeline.schedule.tick(TICK)
        filled = []
        for day in (TICK, TICK, str(pipeline.schedule.shift(tick.name, 1))):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                filled.append(process.submit(filled_apart, home, day).result())
        checked = compared(pipeline, tick, platform)
        if checked.share != 0:
            print(checked.sentence)
            return 1
        print(f"{checked.rows:,} rows of {TICK} compared with batch: {checked.share:.2%} differ\n")
        print("| fill | entries written | MB | seconds | peak memory, MB |\n| --- | ---: | ---: | ---: | ---: |")
        for told, (one, memory) in zip(("first", "again", "next tick"), filled, strict=True):
            print(f"| {told} | {one.written:,} | {one.bytes / 1e6:.1f} | {one.seconds:.2f} | {memory:,.0f} |")
        print()
        print("| features on request | microseconds a row |\n| --- | ---: |")
        for told, microseconds in timed(pipeline, platform):
            print(f"| {told} | {microseconds:.1f} |")
    return 0


def filled_apart(home: str, day: str) -> tuple[Filled, float]:
    """A fill in a process of its own, and the most memory that it took, in MB."""
    pipeline = load(REPOSITORY / "pipelines" / "flight_delays.py")
    platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
    filled = fill_online(pipeline, pipeline.schedule.tick(day), platform)
    # getrusage would tell the most of the process that started this one, where that is more.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return filled, int(peak.split()[1]) / 1024


def timed(pipeline: Pipeline, platform: Platform) -> list[tuple[str, float]]:
    """Each part and what it takes, the best of some series over the same rows."""
    tick = pipeline.schedule.tick(TICK)
    began = time.perf_counter()
    online = OnlineFeatures(pipeline, platform.online_store)
    start = time.perf_counter() - began
    version = platform.lake.version(names.raw(pipeline, pipeline.entity_name))
    rows = requests_of(pipeline, tick, platform, {pipeline.entity_name: version}, online.fields.needed)[:ROWS]
    moments = {column.name for column in pipeline.entity_table.columns if column.kind == "timestamp"}
    requests = [
        {name: (EPOCH + timedelta(microseconds=value)).isoformat() if name in moments else value for name, value in row.items()}
        for row in rows
    ]
    at = (tick.start - EPOCH) // timedelta(microseconds=1)
    online.of(rows, [at] * len(rows))
    known = [filled_row(online, row, at) for row in rows]
    expressed = list(online.expressions._all)
    parts: list[tuple[str, Callable[[], Any]]] = [
        ("all: fields checked, store's entries held", lambda: [online.row(one, tick.start) for one in requests]),
        ("the same, all rows in one request", lambda: online.rows(requests, tick.start)),
        ("reading and checking the fields", lambda: [online.fields.read(one) for one in requests]),
        ("look-ups, as-of and trailing features and expressions", lambda: [online.of([one], [at]) for one in rows]),
        (f"the {len(expressed)} expressions, compiled", lambda: [online.expressions.values(one) for one in known]),
        (
            f"the {len(expressed)} expressions by DuckDB",
            lambda: [online.expressions._from_duckdb(tuple(expressed), one, set()) for one in known],
        ),
    ]
    made = [("start: the expressions compiled, once", start * 1e6)]
    for told, run in parts:
        made.append((told, min(seconds(run) for _ in range(REPEATS)) / len(rows) * 1e6))
    cold = []
    for _ in range(REPEATS):
        fresh = OnlineFeatures(pipeline, platform.online_store)
        cold.append(seconds(lambda fresh=fresh: [fresh.row(one, tick.start) for one in requests]) / len(rows) * 1e6)
    return [*made, ("all, nothing of the store held before", min(cold))]


def filled_row(online: OnlineFeatures, row: dict[str, Any], at: int) -> dict[str, Any]:
    """Everything that expressions may read."""
    made = online.of([row], [at])[0]
    return dict(zip(online.pipeline.feature_names, made.values, strict=True)) | row | {"predict_at": at}


def seconds(run: Callable[[], Any]) -> float:
    """How long one run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
