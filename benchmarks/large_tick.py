"""What a million rows more in a tick cost, in every step from the source to the measurement: processor seconds and memory.

One tick of real flights, repeated in a PostgreSQL database of its own, each copy under its own key: extracted, audited,
published to the lake, scored with a champion of 200 trees and published to the same database, measured. Before it, a tick of a
thousand rows goes the same way, so that imports do not count. Processor seconds are those of this process with its threads and
children; the database's own are told apart, since they may be another machine's. Memory is the peak of this process.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import text

from benchmarks.champion import train_champion
from benchmarks.features import fill
from benchmarks.replicas import PostgreSQL
from benchmarks.scoring import TICK, declared
from benchmarks.size import sized
from demo.business_database import INDEXES, TABLES, business_tables
from demo.fill_tables import fill_tables
from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.ledger import StepRun
from mlprod_tasks.platform.settings import from_environment

NAME = "flight_delays"
ROWS = sized(2_000_000, 4_000)
WEEK = timedelta(days=7)
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What a step took: processor seconds here and of the database, seconds by the clock, peak memory in MiB."""

    here: float
    database: float
    seconds: float
    peak_mb: float


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as postgres:
        home, url = Path(folder) / "home", postgres.url
        shutil.copytree(
            REPOSITORY / "great_expectations", home / "great_expectations", ignore=shutil.ignore_patterns("uncommitted")
        )
        given = {
            "MLPROD_HOME": str(home),
            "MLPROD_PIPELINES": str(home),
            "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
            "MLPROD_CONNECTION_BUSINESS": url,
            "MLPROD_SCORE_ROWS": "1000000",
        }
        platform, pipeline = Platform(from_environment(given)), large()
        fill(pipeline, platform, 1)
        train_champion(pipeline, pipeline.schedule.tick(TICK), "one", platform)
        fill_flights(url)
        before = pipeline.schedule.shift(pipeline.schedule.tick(TICK).name, -1)
        through(pipeline, pipeline.schedule.range(before), platform, postgres)
        ticks = pipeline.schedule.range(TICK)
        rows = repeat(pipeline, ticks, url, platform)
        costs = through(pipeline, ticks, platform, postgres)
    print(f"### One tick of {rows:,} rows, for each million\n")
    print("| step | processor seconds | the database's | seconds by the clock | peak memory, GiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for step, cost in costs.items():
        parts = [1e6 * one / rows for one in (cost.here, cost.database, cost.seconds)]
        print(f"| {step} | {' | '.join(f'{one:.2f}' for one in parts)} | {cost.peak_mb / 1024:.2f} |")
    print()
    return 0


def large() -> Pipeline:
    """The flights with a champion of one size, for ticks of any number of rows, published to the database."""
    pipeline = declared()
    tables = tuple(replace(one, max_rows=None, min_rows=1) for one in pipeline.tables)
    return replace(pipeline, tables=tables, publish=ml.Publish("business", "flight_delay_predictions"))


def fill_flights(url: str) -> None:
    """Put the flights of two weeks around the tick into the database."""
    flights, day = business_tables()["flights"], date.fromisoformat(TICK)
    near = [pa.scalar(datetime.combine(day + by * WEEK, clock_time(), UTC), flights["sched_dep_at"].type) for by in (-1, 1)]
    some = flights.filter(pc.and_(pc.greater(flights["sched_dep_at"], near[0]), pc.less(flights["sched_dep_at"], near[1])))
    fill_tables(url, {"flights": TABLES["flights"]}, [one for one in INDEXES if one[0] == "flights"], {"flights": some})


def repeat(pipeline: Pipeline, ticks: TickRange, url: str, platform: Platform) -> int:
    """Repeat the flights of a tick in the database, each copy under its own key, and tell how many rows there are then."""
    known = platform.lake.rows(names.raw(pipeline, pipeline.entity_name), ticks.names)
    first, last = (pc.min_max(known["sched_dep_at"]).as_py()[end] for end in ("min", "max"))
    columns = [one.name for one in pipeline.entity_table.columns if one.name != "flight_id"]
    copies = -(-ROWS // known.num_rows) - 1
    sql = f"""INSERT INTO flights (flight_id, {", ".join(columns)})
        SELECT lpad(copy::text, 8, '0') || '-' || flight_id, {", ".join(columns)}
        FROM flights, generate_series(1, {copies}) AS copy WHERE sched_dep_at BETWEEN :first AND :last"""
    with open_database(url, writes=True).begin() as connection:
        connection.execute(text(sql), {"first": first, "last": last})
    return (copies + 1) * known.num_rows


def through(pipeline: Pipeline, ticks: TickRange, platform: Platform, postgres: PostgreSQL) -> dict[str, Cost]:
    """Take the rows of one tick through every step, and tell what each took."""
    tick = pipeline.schedule.tick(ticks.first)
    entity = [pipeline.entity_name]
    ways: dict[str, Callable[[], object]] = {
        "extract": lambda: steps.extract(pipeline, ticks, platform, entity),
        "audit": lambda: steps.audit(pipeline, ticks, platform, entity),
        "publish": lambda: steps.publish(pipeline, ticks, platform, entity),
        "score": lambda: steps.score(pipeline, tick, platform),
        "measure": lambda: steps.measure(pipeline, tick, platform),
    }
    return {name: cost(way, postgres, platform) for name, way in ways.items()}


def cost(way: Callable[[], object], postgres: PostgreSQL, platform: Platform) -> Cost:
    """Run one step; its seconds and memory are those that the ledger keeps of every step."""
    here, there = processor_seconds(), postgres.processor_seconds()
    way()
    run = max(platform.ledger.all(StepRun, pipeline=NAME), key=lambda one: one.at)
    return Cost(processor_seconds() - here, postgres.processor_seconds() - there, run.seconds, run.peak_mb)


def processor_seconds() -> float:
    """Of this process, its threads, and its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


if __name__ == "__main__":
    sys.exit(main())
