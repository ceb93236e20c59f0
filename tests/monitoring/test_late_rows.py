"""Rows that arrive after their tick was scored: training does not learn from them, and somebody is told of what changed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features, steps
from mlprod_tasks.declaration import Column, Rule, Table
from mlprod_tasks.declaration.standard import RULES, WATCHES
from mlprod_tasks.operations.status import status
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.platform.settings import from_environment
from tests.support.keys import PSEUDONYM_KEY
from tests.support.trained_shop import Shop

SCORED, NEXT = "2024-02-11", "2024-02-12"
WATCHED = tuple(watch for watch in WATCHES if watch.what in ("changed_features", "unscored_rows"))
CALLS = Table(
    "calls", ml.Database("shop", "calls"), key=("call",), time="called_at", refresh_ticks=3, min_rows=0,
    columns=(Column("call", "int", "number"), Column("called_at", "timestamp", "when"), Column("channel", "text", "where")),
)  # fmt: skip


class Source:
    """A shop with a champion, whose tables a test brings in from a database."""

    def __init__(self, shop: Shop, **declared: Any) -> None:
        home = shop.platform.settings.home
        self.database = home / "shop.db"
        variables = {
            "MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home), "MLPROD_EXPECTATIONS": str(home / "gx"),
            "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY, "MLPROD_CONNECTION_SHOP": f"sqlite:///{self.database}",
        }  # fmt: skip
        self.pipeline = replace(shop.pipeline, watches=WATCHED, rules=RULES_OF_THESE, **declared)
        self.platform = Platform(from_environment(variables))

    def holds(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def ingested(self, table: str, first: str, last: str | None = None) -> None:
        ticks = self.pipeline.schedule.range(first, last)
        steps.extract(self.pipeline, ticks, self.platform, [table])
        steps.audit(self.pipeline, ticks, self.platform, [table])
        steps.publish(self.pipeline, ticks, self.platform, [table])

    def scored(self, day: str) -> None:
        steps.score(self.pipeline, self.pipeline.schedule.tick(day), self.platform)

    def measured(self, day: str, what: str) -> Measurement:
        row = self.platform.ledger.get(Measurement, self.pipeline.name, self.pipeline.schedule.tick(day).name, what, "")
        assert row is not None
        return row


RULES_OF_THESE: tuple[Rule, ...] = tuple(rule for rule in RULES if rule.watch in ("changed_features", "unscored_rows"))


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def calls(source: Source) -> list[int]:
    made = features.build(source.pipeline, source.pipeline.schedule.range(SCORED), source.platform).table
    return list(made["calls_count_7d"].to_pylist())


@pytest.mark.parametrize("late", ["hide", "use"])
def test_events_that_come_late_change_what_was_scored_only_if_that_is_declared_and_then_it_is_told(
    promoted_shop: Shop, late: Any
) -> None:
    counted = ml.Trailing("calls", "calls", {"channel": "channel"}, (ml.days(7),), (ml.Count(),))
    source = Source(
        promoted_shop,
        tables=(*promoted_shop.pipeline.tables, replace(CALLS, late=late)),
        features=(*promoted_shop.pipeline.features, counted),
    )
    first = datetime(2024, 1, 20, tzinfo=UTC)
    columns = "call, called_at, channel"
    source.holds("calls", columns, [(i, text(first + timedelta(hours=5 * i)), "web") for i in range(100)])
    source.ingested("calls", "2024-01-02", SCORED)
    source.scored(SCORED)
    before = calls(source)
    source.holds("calls", columns, [(1000 + i, "2024-02-10 12:00:00", "web") for i in range(30)])
    source.ingested("calls", NEXT)
    done = steps.verify(source.pipeline, source.pipeline.schedule.tick("2024-02-14"), source.platform)
    row = source.measured("2024-02-14", "changed_features")
    assert row.n == len(before)
    if late == "hide":
        assert (calls(source), done.changed_features, row.breached) == (before, 0.0, False)
    else:
        of_web = sum(count > 0 for count in before)
        assert sum(a != b for a, b in zip(calls(source), before, strict=True)) == of_web
        assert (done.changed_features, row.breached) == (of_web / len(before), True)
        assert f"rows of {SCORED}: 'calls_count_7d' in {of_web}" in row.sentence


def test_an_event_that_changed_or_vanished_after_scoring_is_measured(promoted_shop: Shop) -> None:
    counted = ml.Trailing("calls", "calls", {"channel": "channel"}, (ml.days(7),), (ml.Count(),))
    source = Source(
        promoted_shop,
        tables=(*promoted_shop.pipeline.tables, CALLS),
        features=(*promoted_shop.pipeline.features, counted),
    )
    source.holds("calls", "call, called_at, channel", [(1, "2024-02-10 12:00:00", "web"), (2, "2024-02-10 13:00:00", "app")])
    source.ingested("calls", "2024-02-10", SCORED)
    source.scored(SCORED)
    assert steps.verify(source.pipeline, source.pipeline.schedule.tick("2024-02-14"), source.platform).changed_features == 0.0
    with sqlite3.connect(source.database) as connection:
        connection.execute("DELETE FROM calls WHERE call = 2")
    source.ingested("calls", NEXT)
    changed = steps.verify(source.pipeline, source.pipeline.schedule.tick("2024-02-14"), source.platform).changed_features
    made = features.build(source.pipeline, source.pipeline.schedule.range(SCORED), source.platform).table
    assert changed == made["channel"].to_pylist().count("app") / made.num_rows > 0


def test_a_row_to_score_that_comes_late_raises_an_alarm_until_its_tick_is_scored_again(promoted_shop: Shop) -> None:
    orders, *others = promoted_shop.pipeline.tables
    source = Source(promoted_shop, tables=(replace(orders, refresh_ticks=3, min_rows=0), *others))
    start = datetime(2024, 2, 11, 5, tzinfo=UTC)
    columns = "order_id, placed_at, channel, amount, items"
    rows = [(f"n{i}", text(start + timedelta(hours=i)), "web", 20.0 + i, 2) for i in range(40)]
    source.holds("orders", columns, rows)
    source.ingested("orders", SCORED)
    source.scored(SCORED)
    steps.measure(source.pipeline, source.pipeline.schedule.tick(SCORED), source.platform)
    assert (source.measured(SCORED, "unscored_rows").value, source.measured(SCORED, "unscored_rows").breached) == (0.0, False)
    source.holds("orders", columns, [("late", text(start + timedelta(hours=1)), "app", 500.0, 1)])
    source.ingested("orders", NEXT)
    source.scored(NEXT)
    tick = source.pipeline.schedule.tick(NEXT)
    steps.measure(source.pipeline, tick, source.platform)
    row = source.measured(NEXT, "unscored_rows")
    assert (row.value, row.breached) == (1.0, True)
    assert f"1 of {SCORED}: score these ticks again" in row.sentence
    decided = steps.decide_and_act(source.pipeline, tick, source.platform)
    assert "late rows are not scored" in str(decided)
    assert "arrived after scoring" in str(status(source.pipeline, source.platform))
    source.scored(SCORED)
    steps.measure(source.pipeline, tick, source.platform)
    assert (source.measured(NEXT, "unscored_rows").value, source.measured(NEXT, "unscored_rows").breached) == (0.0, False)
