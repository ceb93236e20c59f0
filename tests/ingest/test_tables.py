"""Ingestion of all tables: one that fails does not stop the others, and a step that is run again does what is missing."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.ingest import tables
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.tables import TablesFailed, TablesMissing
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Audit, Publication
from tests.support.shop import SHOP

TICK = "2024-03-15"


class Source:
    """The shop's database, with rows of one tick in both tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run(
            "CREATE TABLE orders (order_id, placed_at, channel, amount, items)",
            "CREATE TABLE returns (order_id, settled_at, returned)",
            "INSERT INTO orders VALUES ('a', '2024-03-15 10:00:00', 'web', 3.5, 1)",  # the table is a tick ahead
            "INSERT INTO returns VALUES ('x', '2024-03-14 10:00:00', 1)",
        )

    def run(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


@pytest.fixture
def source(tmp_path) -> Source:
    return Source(tmp_path / "shop.db")


@pytest.fixture
def platform(make_platform, source) -> Platform:
    return make_platform(shop=f"sqlite:///{source.path}")


@pytest.fixture
def pipeline() -> Pipeline:
    orders, returns = SHOP.tables
    return replace(SHOP, tables=(replace(orders, min_rows=1), replace(returns, min_rows=1)))


@pytest.fixture
def ticks(pipeline) -> TickRange:
    return pipeline.schedule.range(TICK)


def published(platform: Platform) -> dict[str, int]:
    return {row.table_name: row.rows for row in platform.ledger.all(Publication)}


def at(platform: Platform, kind: type[Audit] | type[Publication], table: str) -> datetime:
    (row,) = platform.ledger.all(kind, table_name=table)
    return row.at


def refused(pipeline: Pipeline, ticks: TickRange, platform: Platform, step: str) -> dict[str, Exception]:
    """The errors of a step that fails for some tables."""
    with pytest.raises(TablesFailed) as failed:
        getattr(steps, step)(pipeline, ticks, platform)
    return dict(failed.value.errors)


def test_each_step_handles_every_table(pipeline, ticks, platform):
    for step in (steps.extract, steps.audit, steps.publish):
        assert step(pipeline, ticks, platform).rows == {"orders": 1, "returns": 1}
    assert published(platform) == {"orders": 1, "returns": 1}


def test_a_table_whose_audit_refuses_it_does_not_stop_the_other_one(pipeline, ticks, platform, source):
    source.run("UPDATE orders SET order_id = NULL")
    steps.extract(pipeline, ticks, platform)
    errors = refused(pipeline, ticks, platform, "audit")
    assert list(errors) == ["orders"]
    assert isinstance(errors["orders"], BatchRefused)
    with pytest.raises(TablesMissing, match=r"not published: orders: audit failed.*clear the task `extract`"):
        steps.publish(pipeline, ticks, platform)
    assert published(platform) == {"returns": 1}


def test_running_again_heals_the_missing_table_and_leaves_the_other_one_alone(pipeline, ticks, platform, source):
    source.run("ALTER TABLE orders RENAME TO hidden")
    assert list(refused(pipeline, ticks, platform, "extract")) == ["orders"]
    assert steps.audit(pipeline, ticks, platform).rows == {"returns": 1}
    with pytest.raises(TablesMissing, match="orders: extract failed"):
        steps.publish(pipeline, ticks, platform)
    before = at(platform, Audit, "returns"), at(platform, Publication, "returns")
    source.run("ALTER TABLE hidden RENAME TO orders", "INSERT INTO returns VALUES ('y', '2024-03-14 11:00:00', 0)")
    for step in (steps.extract, steps.audit, steps.publish):
        assert step(pipeline, ticks, platform).rows == {"orders": 1}
    assert published(platform) == {"orders": 1, "returns": 1}
    assert (at(platform, Audit, "returns"), at(platform, Publication, "returns")) == before


def test_a_tick_that_is_complete_is_ingested_again_as_a_whole(pipeline, ticks, platform, source):
    for step in (steps.extract, steps.audit, steps.publish):
        step(pipeline, ticks, platform)
    source.run("INSERT INTO returns VALUES ('y', '2024-03-14 11:00:00', 0)")
    for step in (steps.extract, steps.audit, steps.publish):
        assert step(pipeline, ticks, platform).rows == {"orders": 1, "returns": 2}
    assert published(platform) == {"orders": 1, "returns": 2}


def test_a_corrected_tick_whose_new_extraction_fails_is_not_audited_or_published_from_old_rows(
    pipeline, ticks, platform, source
):
    for step in (steps.extract, steps.audit, steps.publish):
        step(pipeline, ticks, platform)
    audited = at(platform, Audit, "orders")
    source.run("ALTER TABLE orders RENAME TO hidden")
    assert list(refused(pipeline, ticks, platform, "extract")) == ["orders"]
    assert steps.audit(pipeline, ticks, platform).rows == {"returns": 1}
    with pytest.raises(TablesMissing):
        steps.publish(pipeline, ticks, platform)
    assert at(platform, Audit, "orders") == audited


@pytest.mark.parametrize("killed", ["extract", "audit", "publish"])
def test_a_step_killed_between_two_tables_is_made_up_for(killed, pipeline, ticks, platform, monkeypatch):
    """Also where all tables were complete before: what was begun anew is finished for both."""
    order = ["extract", "audit", "publish"]
    for step in order:
        getattr(steps, step)(pipeline, ticks, platform)
    own = getattr(tables, f"{killed}_table")

    def dies(pipeline, table, ticks, platform):
        if table == "returns":
            raise KeyboardInterrupt
        return own(pipeline, table, ticks, platform)

    for step in order[: order.index(killed)]:
        getattr(steps, step)(pipeline, ticks, platform)
    with monkeypatch.context() as patch:
        patch.setattr(tables, f"{killed}_table", dies)
        with pytest.raises(KeyboardInterrupt):
            getattr(steps, killed)(pipeline, ticks, platform)
    handled = [getattr(steps, step)(pipeline, ticks, platform).rows for step in order[order.index(killed) :]]
    assert all("returns" in rows for rows in handled)
    assert not list((platform.settings.staging / pipeline.name / ".unfinished").glob("*.json"))


def test_given_tables_are_the_only_ones(pipeline, ticks, platform):
    for step in (steps.extract, steps.audit, steps.publish):
        assert step(pipeline, ticks, platform, ["returns"]).rows == {"returns": 1}
    assert published(platform) == {"returns": 1}


def test_several_failures_are_told_together(pipeline, ticks, platform, source):
    source.run("DROP TABLE orders", "DROP TABLE returns")
    with pytest.raises(TablesFailed, match=r"(?s)extract failed for orders, returns\norders: Source.*\nreturns: Source"):
        steps.extract(pipeline, ticks, platform)
    assert steps.audit(pipeline, ticks, platform).rows == {}
    with pytest.raises(TablesMissing, match="orders: extract failed; returns: extract failed"):
        steps.publish(pipeline, ticks, platform)


def test_each_failure_is_one_line_and_the_first_one_is_the_cause(pipeline, ticks, platform, source, caplog):
    source.run("DROP TABLE orders", "DROP TABLE returns")
    with pytest.raises(TablesFailed) as failed:
        steps.extract(pipeline, ticks, platform)
    assert failed.value.__cause__ is failed.value.errors["orders"]
    assert not [record for record in caplog.records if record.exc_info and record.levelno > logging.DEBUG]
    assert len(str(failed.value).splitlines()) == 3


def test_notes_of_runs_whose_staged_files_are_gone_go_too(pipeline, ticks, platform):
    steps.extract(pipeline, ticks, platform, run="of long ago")
    (note,) = (platform.settings.staging / pipeline.name / ".unfinished").glob("*.json")
    os.utime(note, (0, 0))
    steps.extract(pipeline, ticks, platform, run="today")
    assert not note.exists()


def test_tables_of_other_ticks_are_unfinished_by_themselves(pipeline, ticks, platform, source):
    source.run("INSERT INTO orders VALUES ('b', '2024-03-14 10:00:00', 'web', 3.5, 1)")
    source.run("INSERT INTO returns VALUES ('z', '2024-03-13 10:00:00', 1)")
    steps.extract(pipeline, ticks, platform)
    other = pipeline.schedule.range("2024-03-14")
    for step in (steps.extract, steps.audit, steps.publish):
        assert step(pipeline, other, platform).rows == {"orders": 1, "returns": 1}
    for step in (steps.audit, steps.publish):
        assert step(pipeline, ticks, platform).rows == {"orders": 1, "returns": 1}


def test_two_runs_of_one_tick_at_once_do_not_miss_each_others_tables(pipeline, ticks, platform):
    for step in (steps.extract, steps.audit):
        step(pipeline, ticks, platform, run="first")
    steps.extract(pipeline, ticks, platform, run="second")
    assert steps.publish(pipeline, ticks, platform, run="first").rows == {"orders": 1, "returns": 1}
    for step in (steps.audit, steps.publish):
        assert step(pipeline, ticks, platform, run="second").rows == {"orders": 1, "returns": 1}
    # Without a run, as from a shell, the caller names the tables and nothing is noted.
    for step in (steps.extract, steps.audit, steps.publish):
        steps.extract(pipeline, ticks, platform, run="third")
        assert step(pipeline, ticks, platform, ["orders", "returns"]).rows == {"orders": 1, "returns": 1}


def test_the_errors_reach_another_process_as_they_are(pipeline, ticks, platform, source):
    source.run("UPDATE orders SET order_id = NULL")
    steps.extract(pipeline, ticks, platform)
    with pytest.raises(TablesFailed) as failed:
        steps.audit(pipeline, ticks, platform)
    with pytest.raises(TablesMissing) as missing:
        steps.publish(pipeline, ticks, platform)
    for error in (failed.value, missing.value):
        received = pickle.loads(pickle.dumps(error))
        assert (type(received), str(received)) == (type(error), str(error))
