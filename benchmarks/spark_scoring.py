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
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.champion import train_champion
from benchmarks.features import fill
from benchmarks.scoring import TICK, declared
from benchmarks.size import sized
from benchmarks.two_engines import TwoEngines, platform_by
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.score import score

ROWS = sized(1_000_000, 2_000)
FILE_ROWS = 500_000


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
        given = {"MLPROD_PIPELINES": str(home), "MLPROD_SCORE_ROWS": "1000"}
        predictions = home / "lake" / pipeline.name / "predictions"  # the lake keeps versions, and these are large
        both = TwoEngines("benchmarks.spark_scoring", "rows", given, lambda: shutil.rmtree(predictions))
        both.print_head()
        for rows in asked.rows:
            enlarge(pipeline, platform, rows, Path(folder) / "enlarged")
            same &= both.compare(rows, home, Path(folder))
    return 0 if same else 1


def scored_here(engine_or_master: str) -> dict[str, object]:
    """Score the tick, and tell the seconds and a digest of its predictions."""
    platform, pipeline = platform_by(engine_or_master), declared()
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
    platform.lake.replace_ticks(name, ticks, RowFiles.here(files, rows))
    for file in files:
        file.unlink()


def _copy(day: pa.Table, copy: int) -> pa.Table:
    keys = pc.binary_join_element_wise(f"{copy:08d}", day["flight_id"].cast(pa.string()), "-")
    return day.set_column(day.column_names.index("flight_id"), "flight_id", keys)


if __name__ == "__main__":
    sys.exit(main())
