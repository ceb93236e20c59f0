"""Ticks in any order, twice, and four at a time leave the same lake and the same ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import inspect

from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration import AtLeast, Pipeline, Split
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import names as places
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Audit, Decision, Measurement, Publication, Row, Scoring
from mlprod_tasks.platform.settings import from_environment
from tests.support.new_home import new_home
from tests.support.paths import FLIGHTS, REPOSITORY
from tests.support.processes import PROCESSES

DAY = timedelta(days=1)
HISTORY = (date(2013, 1, 2), date(2013, 2, 10))
TICKS = [date(2013, 2, 11) + i * DAY for i in range(6)]
# What says when, where or how long, not what.
CIRCUMSTANCES = {"at", "first_at", "seconds", "staging", "delta_version"}


def small(pipeline: Pipeline) -> Pipeline:
    """The real declaration with a training that takes seconds."""
    return replace(
        pipeline,
        split=Split(validation=7 * DAY, test=7 * DAY, gap=2 * DAY),
        model=replace(pipeline.model, candidates=(replace(pipeline.model.candidates[0], max_trees=40),), threads=1),
        gates=(AtLeast("roc_auc", 0.5),),
    )


@pytest.fixture(scope="module")
def trained(flights_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with history ingested and a champion, made once."""
    home = tmp_path_factory.mktemp("order") / "first"
    new_home(home)
    shutil.copy(flights_db, home.parent / "business.db")
    pipeline, platform = opened(home)
    workflows.ingest(pipeline, pipeline.schedule.range(*HISTORY), platform)
    workflows.train(pipeline, pipeline.schedule.tick(TICKS[0]), "for the test", platform)
    return home


def opened(home: Path) -> tuple[Pipeline, Platform]:
    from mlprod_tasks.declaration import load

    variables = {
        "MLPROD_HOME": str(home),
        "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
        "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
        "MLPROD_CONNECTION_BUSINESS": f"sqlite:///{home.parent / 'business.db'}",
    }
    pipeline = load(FLIGHTS)
    return small(replace(pipeline, publish=None)), Platform(from_environment(variables))


def bring_in(home: str, day: date) -> None:
    pipeline, platform = opened(Path(home))
    workflows.ingest(pipeline, pipeline.schedule.range(day), platform)
    workflows.score(pipeline, [pipeline.schedule.tick(day)], platform)


def watch(home: str, day: date) -> None:
    pipeline, platform = opened(Path(home))
    tick = pipeline.schedule.tick(day)
    steps.measure(pipeline, tick, platform)
    steps.decide_and_act(pipeline, tick, platform)


def four_at_a_time(step: Callable[[str, date], None], home: Path, days: Iterable[date]) -> None:
    # Not a Pool of multiprocessing: it waits for ever if an error of a worker cannot be unpickled.
    with ProcessPoolExecutor(4, mp_context=PROCESSES, max_tasks_per_child=4) as pool:
        for done in [pool.submit(step, str(home), day) for day in days]:
            done.result()


def lake_rows(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    pipeline, platform = opened(home)
    names = [places.raw(pipeline, table.name) for table in pipeline.tables] + [places.predictions(pipeline)]
    with duckdb.connect() as connection:
        files = {name: listed(platform.lake.files(name)) for name in names}
        # The clock of a run is its own: only the moment at which a row arrived may differ, not whether it was late.
        columns = "CAST(COLUMNS(lambda c: c <> '_arrived_at') AS VARCHAR)"
        query = f"SELECT {columns} FROM read_parquet({{}}, hive_partitioning=true) ORDER BY ALL"
        return {name: connection.sql(query.format(of)).fetchall() for name, of in files.items()}


def ledger_rows(home: Path) -> dict[str, list[dict[str, Any]]]:
    _, platform = opened(home)
    kinds: tuple[type[Row], ...] = (Audit, Publication, Scoring, Measurement, Decision)
    return {
        kind.__tablename__: [
            {c.key: getattr(row, c.key) for c in inspect(kind).column_attrs if c.key not in CIRCUMSTANCES}
            for row in platform.ledger.all(kind)
            if not of_a_run(row)
        ]
        for kind in kinds
    }


def of_a_run(row: Row) -> bool:
    """How the pipeline itself fared: which steps ran, how often and for how long is what the two ways differ in."""
    return isinstance(row, Measurement) and row.what in of_family("health")


def test_out_of_order_twice_and_four_at_a_time_leave_the_same_as_one_after_the_other(trained: Path) -> None:
    other = trained.parent / "second"
    # Models stay where the registry says they are; ledger and lake are the copy's own.
    shutil.copytree(trained, other)
    for day in TICKS:
        bring_in(str(trained), day)
        watch(str(trained), day)
    shuffled = [TICKS[i] for i in (4, 1, 5, 0, 3, 2)]
    four_at_a_time(bring_in, other, [*shuffled, *reversed(shuffled)])
    four_at_a_time(watch, other, [*shuffled, *reversed(shuffled)])

    assert lake_rows(other) == lake_rows(trained)
    expected, found = ledger_rows(trained), ledger_rows(other)
    assert found["measurements"] == expected["measurements"]
    assert found["decisions"] == expected["decisions"]
    assert found == expected
    assert len(found["decisions"]) == len(TICKS) == len(found["scorings"])
    assert all(rows for rows in lake_rows(other).values())
