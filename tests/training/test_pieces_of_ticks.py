"""A tick that is too large to be computed at once has the same rows and labels in a training, cut by its key."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features, steps
from mlprod_tasks.features import joined_rows, key_ranges
from mlprod_tasks.features.key_ranges import RowsLost
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.split import Windows
from mlprod_tasks.training.training_rows import training_rows
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.late_rows import TICKS, random_late_shop

Shop = Any  # of tests/support/trained_shop.py and tests/support/feature_shop.py
REST = ml.Expression("rest", "7 % (CASE channel WHEN 'phone' THEN items - 2 ELSE 1 END)", "int", "fails for some")
RECENT = ml.Trailing(
    "recent", "orders", {"channel": "channel"}, (ml.days(3), ml.days(7)), (ml.Count(), ml.Mean("amount"), ml.Last("items"))
)
SPLIT = ml.Split(train=ml.days(3), validation=ml.days(1), test=ml.days(1), gap=ml.days(2))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 50)


def cut(platform: Platform, most: int = 60) -> Platform:
    """The same platform, which cuts ticks of more rows."""
    return Platform(replace(platform.settings, score_rows=most))


def assembled(pipeline: ml.Pipeline, tick: ml.Tick, name: str, platform: Platform) -> tuple[pq.ParquetFile, Assembled]:
    steps.assemble(pipeline, tick, name, "for the test", platform)
    folder = TrainingFolder(platform, name)
    return pq.ParquetFile(folder.training_set), folder.read(Assembled)


def most_rows(file: pq.ParquetFile) -> int:
    return max(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))


def test_a_training_set_of_ticks_that_are_cut_has_the_same_rows_in_the_same_order(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    model = replace(shop.pipeline.model, max_unusable_share=0.9)
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, REST, RECENT), model=model, split=SPLIT)
    whole, told = assembled(pipeline, shop.tick(), "whole", shop.platform)
    assert told.unusable["train"] > 0
    for name, most, event_rows, largest, staged in (
        ("rows", 60, 10_000, 60, 0),
        ("events", 1_000, 1_250, 400, 1),  # a window of three ticks reads more, one of a tick less
        ("both", 60, 700, 60, 5),  # each tick
    ):
        platform = Platform(replace(shop.platform.settings, score_rows=most, event_rows=event_rows))
        caplog.clear()
        with caplog.at_level(logging.INFO, "mlprod_tasks.features.event_stage"):
            pieces, told_of_pieces = assembled(pipeline, shop.tick(), name, platform)
        assert told_of_pieces == told
        assert most_rows(pieces) < largest
        assert caplog.text.count("orders by channel: ") == staged, caplog.text
        assert pieces.read().equals(whole.read())
    assert not list((shop.platform.settings.home / "exchange").iterdir())


def test_features_of_a_backtest_are_cut_too(shop: Shop, tmp_path: Path) -> None:
    ticks = shop.pipeline.schedule.range("2024-02-02", "2024-02-04")
    whole, pieces = (
        History(shop.pipeline, ticks, {}, tmp_path / name, platform)
        for name, platform in (("whole", shop.platform), ("pieces", cut(shop.platform)))
    )
    assert [len(list(one._files.glob("*.parquet"))) for one in (whole, pieces)] == [1, 9]
    assert pieces.window(ticks, shop.tick()).equals(whole.window(ticks, shop.tick()))
    the_same_labels(shop.pipeline, ticks, shop.tick(), cut(shop.platform))


def the_same_labels(pipeline: ml.Pipeline, ticks: ml.TickRange, as_of: ml.Tick, platform: Platform) -> pa.Table:
    """The labels of ticks that are cut in three, each piece with its own and no others."""
    versions = features.pinned(pipeline, platform)
    counts = Snapshot(pipeline, platform, versions).rows_to_score(ticks)
    parts = list(key_ranges.row_pieces(pipeline, [ticks], counts, platform, versions))
    assert len(parts) == 3 * len(ticks)
    made = [features.known_labels(pipeline, part.ticks, as_of, platform, keys=part.keys).table for part in parts]
    whole = features.known_labels(pipeline, ticks, as_of, platform).table
    assert pa.concat_tables(made).equals(whole)
    return whole


def test_a_row_that_is_in_no_piece_ends_the_training(shop: Shop) -> None:
    name, ticks = names.raw(shop.pipeline, "orders"), shop.pipeline.schedule.range("2024-02-02")
    orders = shop.platform.lake.rows(name, ticks.names)
    key = orders["order_id"].to_pylist()
    orders = orders.set_column(orders.column_names.index("order_id"), "order_id", pa.array([None, *key[1:]], pa.string()))
    shop.platform.lake.replace_ticks(name, ticks, orders)
    windows = Windows(ticks, *(shop.pipeline.schedule.range(day) for day in ("2024-02-04", "2024-02-06")))
    with pytest.raises(RowsLost, match=r"2024-02-02: by ranges of its key 119 rows were computed of 120"):
        list(training_rows(shop.pipeline, windows, shop.tick(), None, cut(shop.platform)))


OUTCOME = ml.Outcome("payments", {"customer": "customer"}, ml.Any(where="amount > 250"), ml.days(2))


@pytest.mark.parametrize(
    "changed",
    [
        {"label": OUTCOME},
        {"label": replace(OUTCOME, until="due"), "predict_at": ml.Before(ml.hours(40))},
    ],
    ids=["of later events", "until the row's own end"],
)
def test_labels_of_pieces_are_those_of_the_tick(
    feature_shop: Shop, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    random_late_shop(feature_shop, 3)
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 2)
    pipeline, platform = replace(feature_shop.pipeline, **changed), cut(feature_shop.platform, 3)
    ticks, as_of = pipeline.schedule.range(TICKS[2], TICKS[4]), pipeline.schedule.tick(TICKS[-1])
    whole = the_same_labels(pipeline, ticks, as_of, platform)
    monkeypatch.setattr(joined_rows, "LARGE_ROWS", 0)  # only events of the piece's customers are read
    assert the_same_labels(pipeline, ticks, as_of, platform).equals(whole)
    assert whole["label"].unique().to_pylist() in ([True, False], [False, True])
