"""Features that scoring did not have, or not yet, are caught; honest ones equal the training set."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.training.workspace import read_window
from tests.support.shop import RETURNS, with_columns

ONE_DAY = timedelta(days=1)


Tables = tuple[pa.Table, pa.Table]


WITH_CHANNEL = with_columns(RETURNS, ml.Column("channel", "text", "web, app or phone", nullable=True))
RECENT = ml.Trailing("channel", "returns", {"channel": "channel"}, (ml.days(7),), (ml.Count(), ml.Rate("back", "returned")))


def with_channel(tables: Tables) -> Tables:
    """Returns that say the channel, so that a trailing rate can be made of them."""
    orders, outcomes = tables
    channel = dict(zip(orders["order_id"].to_pylist(), orders["channel"].to_pylist(), strict=True))
    return orders, outcomes.append_column("channel", pa.array([channel[key] for key in outcomes["order_id"].to_pylist()]))


def trailing(retold: Callable, tables: Tables, shop_pipeline: ml.Pipeline):
    orders = shop_pipeline.table("orders")
    return retold(tables, tables=(orders, WITH_CHANNEL), features=(*shop_pipeline.features, RECENT))


def test_features_that_are_known_at_the_tick_are_those_of_the_training_set(retold, tables, shop_pipeline):
    shop = trailing(retold, with_channel(tables), shop_pipeline)
    (verdict,) = shop.checked(ml.AvailableAtPrediction())
    assert verdict.passed, verdict.sentence
    n = sum(pc.sum(pc.equal(every["tick"], date.fromisoformat(day))).as_py() for every in [
        read_window(shop.folder, "test", labelled=False)] for day in ("2024-02-02", "2024-02-05", "2024-02-08"))  # fmt: skip
    assert f"all 6 features of {n} test rows in 3 ticks are what scoring had at the tick" in verdict.sentence


def test_rows_that_reached_the_lake_later_than_they_say_are_caught(retold, tables, shop_pipeline):
    # The source delivers a day late, but declares no known_after: training sees what scoring did not have yet.
    orders, outcomes = with_channel(tables)
    ticks = [day + ONE_DAY for day in outcomes["tick"].to_pylist()]
    late = outcomes.set_column(outcomes.column_names.index("tick"), "tick", pa.array(ticks))
    (verdict,) = trailing(retold, (orders, late), shop_pipeline).checked(ml.AvailableAtPrediction())
    assert not verdict.passed
    assert 0 < verdict.value <= 1
    assert "'channel_count_7d'" in verdict.sentence
    assert "in the training set, but was" in verdict.sentence


def test_a_column_that_is_only_filled_in_later_is_caught_in_the_newest_tick(retold, tables):
    orders, outcomes = tables
    fresh = pc.equal(orders["tick"], date(2024, 2, 10))
    amount = pc.if_else(fresh, pa.scalar(None, pa.float64()), orders["amount"])
    empty = orders.set_column(orders.column_names.index("amount"), "amount", amount)
    # What comes after the tick that the training stands at is not looked at.
    (verdict,) = retold((empty, outcomes)).checked(ml.AvailableAtPrediction(most_nulls=0.5))
    assert (verdict.passed, verdict.n) == (False, 120)
    assert verdict.value == pytest.approx(0.98, abs=0.01)
    assert "in the newest tick 2024-02-10 (120 rows) 'amount' is null in 100.0% of rows, in the training rows in 2." in (
        verdict.sentence
    )


def test_a_training_set_that_was_changed_does_not_hold_what_scoring_had(own):
    rows = pq.read_table(own.folder.training_set)
    last = pc.and_(pc.equal(rows["tick"], date(2024, 2, 8)), pc.greater(rows["amount"], 100))
    moved = pc.if_else(last, pc.add(rows["amount"], 1e-9), rows["amount"])
    pq.write_table(rows.set_column(rows.column_names.index("amount"), "amount", moved), own.folder.training_set)
    (verdict,) = own.checked(ml.AvailableAtPrediction())
    assert not verdict.passed
    assert f"('amount' in {pc.sum(pc.fill_null(last, False)).as_py()})" in verdict.sentence


def test_a_feature_set_until_a_tick_is_without_what_came_after(retold, tables, shop_pipeline):
    late = replace(
        WITH_CHANNEL,
        columns=(
            *WITH_CHANNEL.columns[:2],
            ml.Column("returned", "bool", "whether it came back", nullable=True, known_at="told_at"),
            WITH_CHANNEL.columns[3],
            ml.Column("told_at", "timestamp", "when we heard of it", nullable=True),
        ),
    )
    orders, outcomes = with_channel(tables)
    told = outcomes.append_column("told_at", pc.add(outcomes["settled_at"], pa.scalar(timedelta(hours=12))))
    declared = {"tables": (shop_pipeline.table("orders"), late), "features": (*shop_pipeline.features, RECENT)}
    shop = retold((orders, told), **declared)
    ticks = shop.pipeline.schedule.range("2024-02-05")
    tick = shop.pipeline.schedule.tick("2024-02-05")
    now, then = (features.build(shop.pipeline, ticks, shop.platform, until=until).table for until in (None, tick))
    assert now.equals(then), "features rest on what was known"
    earlier = shop.pipeline.schedule.tick("2024-02-01")
    hidden = features.build(shop.pipeline, ticks, shop.platform, until=earlier).table
    assert hidden.num_rows == 0, "the tick itself came later"
    from mlprod_tasks.features.snapshot import Snapshot
    from mlprod_tasks.platform.engine import engine

    snapshot = Snapshot(shop.pipeline, shop.platform, until=tick)
    with engine() as connection:
        seen = snapshot.read(connection, lambda relation: f"SELECT tick, told_at, returned FROM {relation}", "returns")
        related = connection.sql(f"SELECT tick, told_at, returned FROM {snapshot.relation('returns')}").to_arrow_table()
    assert related.sort_by("tick").select(["tick"]).equals(seen.sort_by("tick").select(["tick"]))
    assert pc.is_null(related["returned"]).to_pylist().count(True) == pc.is_null(seen["returned"]).to_pylist().count(True)
    assert pc.max(seen["tick"]).as_py() == tick.name
    assert pc.max(seen["told_at"]).as_py() < tick.start
    unheard = pc.is_null(seen["told_at"])
    assert pc.sum(unheard).as_py() > 0
    assert pc.all(pc.equal(unheard, pc.is_null(seen["returned"]))).as_py()
