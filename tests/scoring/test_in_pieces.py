"""A tick that is scored in pieces has the predictions of one that is scored at once, bit for bit, whoever computes them."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from mlprod_tasks import declaration as ml
from mlprod_tasks.features import key_ranges
from mlprod_tasks.features.key_ranges import KeyRange, _between
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import Piece, Result, Work
from mlprod_tasks.platform.compute.spark import SparkUnreachable
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.ledger import Scoring
from mlprod_tasks.scoring import in_pieces
from mlprod_tasks.scoring.score import score
from tests.support.processes import PROCESSES
from tests.support.trained_shop import Shop

DAY = "2024-02-11"
RECORDED = ("rows", "model_version", "fallback_rows", "fallback_reason", "fallback_cause")
UNIT_PRICE = ml.Expression("unit_price", "amount / (items - 100)", "float", "infinite for 100 items")
RECENT = ml.Trailing(
    "recent", "orders", {"channel": "channel"}, (ml.days(3), ml.days(7)), (ml.Count(), ml.Mean("amount"), ml.Last("items"))
)
REST = ml.Expression("rest", "7 % items", "int", "fails without items")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve pieces of a tick of 120 rows."""
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 10)


def cut(platform: Platform, **changes: Any) -> Platform:
    """The same platform, which scores ticks of more than a hundred rows in pieces."""
    return Platform(replace(platform.settings, score_rows=100, **changes))


def scored(pipeline: ml.Pipeline, platform: Platform) -> tuple[pa.Table, dict[str, Any]]:
    """What scoring the tick leaves in the lake, in the order of keys, and in the ledger."""
    tick = pipeline.schedule.tick(DAY)
    score(pipeline, tick, platform)
    entry = platform.ledger.get(Scoring, pipeline.name, tick.name)
    return in_the_lake(pipeline, platform), {name: getattr(entry, name) for name in RECORDED}


def in_the_lake(pipeline: ml.Pipeline, platform: Platform) -> pa.Table:
    return platform.lake.rows(names.predictions(pipeline), [pipeline.schedule.tick(DAY).name]).sort_by("order_id")


def orders_changed(shop: Shop, column: str, values: Sequence[Any], *rows: int) -> None:
    """Give a column of the tick's orders other values in some rows, by their place in the order of the key."""
    name, tick = names.raw(shop.pipeline, "orders"), shop.tick(DAY).name
    orders = shop.platform.lake.rows(name, [tick]).sort_by("order_id")
    changed = orders[column].to_pylist()
    for row, value in zip(rows, values, strict=True):
        changed[row] = value
    orders = orders.set_column(orders.column_names.index(column), column, pa.array(changed, orders[column].type))
    shop.platform.lake.replace_ticks(name, shop.pipeline.schedule.range(tick), orders)


def test_pieces_make_the_tick_in_the_lake_in_the_database_and_in_the_ledger(promoted_shop: Shop, tmp_path: Path) -> None:
    pipeline = replace(promoted_shop.pipeline, publish=ml.Publish("business", "scores"))
    left: list[Any] = []
    for place in ("at_once", "in_pieces"):
        url = f"sqlite:///{tmp_path / place}.db"
        settings = replace(promoted_shop.platform.settings, connection=lambda name, url=url: url)
        platform = Platform(settings) if place == "at_once" else cut(Platform(settings))
        left.append(scored(pipeline, platform))
        with open_database(url).connect() as connection:
            left[-1] += (connection.execute(text("SELECT * FROM scores ORDER BY order_id")).fetchall(),)
        assert verify(pipeline, pipeline.schedule.tick(DAY), platform).replayed == 0.0
    assert left[0][0].num_rows == len(left[0][2]) == 120
    assert left[1][1:] == left[0][1:]
    assert left[1][0].equals(left[0][0])
    assert list((promoted_shop.platform.settings.home / "exchange").iterdir()) == []


def test_features_of_more_events_than_a_process_is_to_hold_are_computed_before(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, RECENT))
    assert Shop(pipeline, shop.platform).promoted("one").moved
    whole = scored(pipeline, shop.platform)
    few_rows = Platform(replace(shop.platform.settings, event_rows=300))  # of a tick that is scored at once but for its events
    for platform in (cut(shop.platform, event_rows=300), few_rows):
        caplog.clear()
        with caplog.at_level(logging.INFO, "mlprod_tasks.features.event_stage"):
            pieces = scored(pipeline, platform)
        assert "orders by channel: " in caplog.text
        assert pieces[1] == whole[1]
        assert pieces[0].equals(whole[0])
    assert list((shop.platform.settings.home / "exchange").iterdir()) == []


def test_rows_that_no_model_takes_are_told_as_of_the_whole_tick(shop: Shop) -> None:
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, UNIT_PRICE, REST))
    assert Shop(pipeline, shop.platform).promoted("one").moved
    infinite, failing = (3, 4, 47, 90), (5, 48, 119)  # of four pieces
    orders_changed(shop, "items", [100] * 4 + [0] * 3, *infinite, *failing)
    whole, pieces = scored(pipeline, shop.platform), scored(pipeline, cut(shop.platform))
    assert (whole[1]["fallback_rows"], "and 2 more rows" in whole[1]["fallback_reason"]) == (7, True)
    assert pieces[1] == whole[1]
    assert pieces[0].equals(whole[0])


def test_the_fallback_answers_in_pieces_while_the_registry_is_away(promoted_shop: Shop) -> None:
    away = Platform(replace(promoted_shop.platform.settings, mlflow_url="sqlite:////nowhere/at/all/mlflow.db"))
    whole, pieces = scored(promoted_shop.pipeline, away), scored(promoted_shop.pipeline, cut(away))
    assert (whole[1]["fallback_rows"], pieces[1]) == (120, whole[1])
    assert pieces[0].equals(whole[0])


def test_adapted_scores_and_the_champions_own_are_the_same_in_pieces(make_moved: Callable[[], Shop]) -> None:
    shop = make_moved()
    orders_changed(shop, "items", [None], 7)
    whole, pieces = scored(shop.pipeline, shop.platform), scored(shop.pipeline, cut(shop.platform))
    assert not whole[0]["score"].equals(whole[0]["raw_score"])
    assert pieces[1] == whole[1]
    assert pieces[0].equals(whole[0])


def test_what_needs_all_rows_is_scored_at_once_and_that_is_said(promoted_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = replace(promoted_shop.pipeline, capacity=ml.Capacity(7))
    with caplog.at_level(logging.WARNING):
        rows, _ = scored(pipeline, cut(promoted_shop.platform))
    assert "its 120 rows are scored at once, in this process: of all rows the best are acted on" in caplog.text
    assert sum(rows["decision"].to_pylist()) == 7


class Unruly:
    """Runs each piece twice, in any order."""

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        doubled = [*range(len(pieces)), *range(len(pieces))]
        random.Random(5).shuffle(doubled)
        done = dict(zip(doubled, work(iter([pieces[number] for number in doubled])), strict=True))
        return iter([done[number] for number in range(len(pieces))])


class Killed(Unruly):
    """Before that, begins a piece in a process that is killed while it writes."""

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        process = PROCESSES.Process(target=begin, args=(work, pieces[4]))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        return super().map(work, pieces, what)


def begin(work: Work[Any, Any], piece: Any) -> None:
    whole = pq.write_table

    def half(rows: pa.Table, file: Path) -> None:
        whole(rows, file)
        os.truncate(file, file.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    pq.write_table = half
    list(work(iter([piece])))


def test_pieces_that_are_doubled_shuffled_or_killed_change_nothing(
    promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(promoted_shop.pipeline, promoted_shop.platform)
    monkeypatch.setattr(in_pieces, "compute_of", lambda settings: Killed())
    pieces = scored(promoted_shop.pipeline, cut(promoted_shop.platform))
    assert pieces[1] == whole[1]
    assert pieces[0].equals(whole[0])


def test_two_at_once_leave_the_tick_once(promoted_shop: Shop) -> None:
    platform, pipeline = cut(promoted_shop.platform), promoted_shop.pipeline
    whole = scored(pipeline, promoted_shop.platform)[0]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(score, pipeline), [pipeline.schedule.tick(DAY)] * 2, [platform] * 2))
    assert in_the_lake(pipeline, platform).equals(whole)


def test_without_executors_the_last_good_version_stays_and_the_fallback_does_not_answer(promoted_shop: Shop) -> None:
    pipeline = promoted_shop.pipeline
    before = scored(pipeline, promoted_shop.platform)[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"spark://127.0.0.1:{taken.getsockname()[1]}"  # bound, and nobody listens
        away = cut(promoted_shop.platform, engine="spark", spark_master=nobody)
        with pytest.raises(SparkUnreachable):
            score(pipeline, pipeline.schedule.tick(DAY), away)
    assert in_the_lake(pipeline, promoted_shop.platform).equals(before)


def test_a_row_that_is_in_no_piece_ends_the_run_before_anything_is_written(promoted_shop: Shop) -> None:
    pipeline = promoted_shop.pipeline
    orders_changed(promoted_shop, "order_id", [None], 50)
    with pytest.raises(in_pieces.RowsLost, match=r"2024-02-11: 119 rows were scored of 120; nothing was written"):
        score(pipeline, pipeline.schedule.tick(DAY), cut(promoted_shop.platform))
    assert not promoted_shop.platform.lake.exists(names.predictions(pipeline))


KEYS = list(itertools.product(["", "A", "B'", "B'x", "ü"], [-5, 0, 7, 2**62], [1.5, -0.25, 1e300]))


def test_each_key_is_in_exactly_one_range_and_ranges_are_in_the_order_of_keys() -> None:
    columns = (("a", "VARCHAR"), ("b", "BIGINT"), ("c", "DOUBLE"))
    ordered = sorted(KEYS)
    bounds = [tuple(str(one) for one in ordered[place]) for place in (1, 7, 7, 20, 59)]
    ranges = _between(columns, bounds)
    assert len(ranges) == 5
    random.Random(3).shuffle(shuffled := list(KEYS))
    rows = pa.table(dict(zip("abc", map(list, zip(*shuffled, strict=True)), strict=True)))
    found = [read(rows, one) for one in ranges]
    assert found == [ordered[first:end] for first, end in itertools.pairwise((0, 1, 7, 20, 59, 60))]
    assert read(rows, KeyRange(columns, None, None)) == ordered


def read(rows: pa.Table, keys: KeyRange) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.register("keys", rows)
        return sorted(connection.sql(keys.of(lambda relation: f"SELECT * FROM {relation}")("keys")).fetchall())
