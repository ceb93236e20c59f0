"""Rows that arrived late: no row sees one that was not in the lake when its tick was scored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.reads import taken_from
from mlprod_tasks.features import sql
from mlprod_tasks.features.snapshot import Snapshot
from tests.support.late_rows import TICKS, TRAILING, random_late_shop
from tests.support.window_oracle import expected, window

Shop = Any  # of conftest.py
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    """A moment in UTC: '06-03 08:00' is in 2013."""
    return datetime.fromisoformat(f"2013-{text}").replace(tzinfo=UTC)


ORDERS = [(f"o{day:%d}", datetime(2013, 6, day.day, 12, tzinfo=UTC), 1, "tea") for day in TICKS]  # scored at 08:00


def payment(id: str, paid: datetime, amount: float | None = 1.0, **more: Any) -> tuple[Any, ...]:
    row = {"customer": 1, "product": "tea", "amount": amount, "pieces": 1, "settled_at": None, "refund": None} | more
    return (id, paid, *row.values())


def using_late(pipeline: ml.Pipeline) -> ml.Pipeline:
    return replace(pipeline, tables=tuple(t if t.time is None else replace(t, late="use") for t in pipeline.tables))


def column(shop: Shop, name: str, pipeline: ml.Pipeline | None = None, **options: Any) -> list[Any]:
    """A feature of every tick's order, which the printed SQL and a tick alone give too."""
    declared = pipeline or shop.pipeline
    ticks = declared.schedule.range(TICKS[0], TICKS[-1])
    made = features.build(declared, ticks, shop.platform, **options).table
    if not options:
        assert made.equals(sql.run(declared, ticks, shop.platform))
        alone = [features.build(declared, declared.schedule.range(tick), shop.platform).table for tick in TICKS]
        assert [row for one in alone for row in one.to_pylist()] == made.to_pylist()
    values: list[Any] = made[name].to_pylist()
    return values


def test_a_late_row_counts_from_the_tick_that_may_use_it_until_it_leaves_the_window(shop: Shop) -> None:
    shop.holds(orders=ORDERS, payments=[payment("a", at("06-02 09:00"), 3.0), payment("b", at("06-02 10:00"), 5.0)])
    in_time = column(shop, "customer_count_7d")
    assert in_time == [2] * 7 + [0] * 2
    shop.arrives("payments", {"b": at("06-05 08:00")})
    assert column(shop, "customer_count_7d") == [1, 1, 2, 2, 2, 2, 2, 0, 0]
    assert column(shop, "customer_mean_amount_7d") == [3.0, 3.0, *[4.0] * 5, None, None]
    assert column(shop, "customer_count_1d") == [1, *[0] * 8], "it was too old for a window of a day when it came"
    assert column(shop, "customer_count_7d", using_late(shop.pipeline)) == in_time


def test_a_late_row_that_is_too_old_for_every_window_never_counts(shop: Shop) -> None:
    shop.holds(orders=ORDERS, payments=[payment("a", at("06-02 09:00"))]).arrives("payments", {"a": at("06-10 08:00")})
    assert column(shop, "customer_count_7d") == [0] * 9
    shop.arrives("payments", {"a": at("06-08 08:00")})
    assert column(shop, "customer_count_7d") == [0, 0, 0, 0, 0, 1, 1, 0, 0]


def test_a_late_value_of_a_late_row_counts_when_both_are_there(shop: Shop) -> None:
    paid = payment("a", at("06-01 09:00"), settled_at=at("06-04 09:00"), refund=8.0)
    shop.holds(orders=ORDERS, payments=[paid]).arrives("payments", {"a": at("06-07 08:00")})
    assert column(shop, "customer_mean_refund_7d") == [None] * 4 + [8.0] * 5
    shop.arrives("payments", {"a": at("06-02 08:00")})
    assert column(shop, "customer_mean_refund_7d") == [None] * 2 + [8.0] * 7


def test_an_observation_that_comes_late_never_hides_a_newer_one_and_is_as_old_as_what_it_tells(shop: Shop) -> None:
    prices = [("tea", 1, at("06-02 20:00"), 1.0), ("tea", 2, at("06-03 20:00"), 2.0), ("tea", 3, at("06-04 20:00"), 3.0)]
    shop.holds(orders=ORDERS, prices=prices)
    assert column(shop, "price")[:5] == [1.0, 2.0, 3.0, 3.0, None]
    shop.arrives("prices", {("tea", 2): at("06-04 08:00")})
    assert column(shop, "price")[:5] == [1.0, 2.0, 3.0, 3.0, None]
    shop.arrives("prices", {("tea", 2): at("06-05 08:00")})
    assert column(shop, "price")[:5] == [1.0, 1.0, 3.0, 3.0, None]
    shop.arrives("prices", {("tea", 3): at("06-06 08:00")})
    assert column(shop, "price")[:5] == [1.0, 2.0, 2.0, 3.0, None]
    assert column(shop, "price", using_late(shop.pipeline))[:5] == [1.0, 2.0, 3.0, 3.0, None]


def test_a_late_row_is_one_of_the_rows_to_score_but_is_in_no_window_before(shop: Shop) -> None:
    shop.holds(orders=ORDERS).arrives("orders", {"o05": at("06-07 08:00")})
    assert column(shop, "planned_count_3d") == [0, 1, 2, 2, 3, 3, 3, 3, 3]
    tick = shop.pipeline.schedule.tick(date(2013, 6, 5))
    rows = features.build(shop.pipeline, shop.pipeline.schedule.range(tick.name), shop.platform, until=tick).table
    assert rows["id"].to_pylist() == ["o05"]


def test_what_was_known_at_a_tick_has_no_row_that_came_later_even_where_late_rows_are_used(shop: Shop) -> None:
    shop.holds(orders=ORDERS, payments=[payment("a", at("06-02 09:00"))]).arrives("payments", {"a": at("06-05 08:00")})
    for pipeline in (shop.pipeline, using_late(shop.pipeline)):
        for tick, count in ((TICKS[1], 0), (TICKS[2], 1)):
            ticks = pipeline.schedule.range(tick)
            made = features.build(pipeline, ticks, shop.platform, until=pipeline.schedule.tick(tick)).table
            assert made["customer_count_7d"].to_pylist() == [count]


def test_an_outcome_that_comes_late_is_a_label_from_its_tick_on(shop: Shop) -> None:
    paid = [payment("o03", at("06-03 13:00"), settled_at=at("06-03 14:00"), refund=1.0)]
    shop.holds(orders=ORDERS, payments=paid).arrives("payments", {"o03": at("06-06 08:00")})

    def labelled(pipeline: ml.Pipeline, as_of: date) -> list[str]:
        tick = pipeline.schedule.tick(as_of)
        found = features.labels(pipeline, pipeline.schedule.range(TICKS[0]), tick, shop.platform)
        return list(found["id"].to_pylist())

    days = [date(2013, 6, day) for day in (4, 5, 6)]
    assert [labelled(shop.pipeline, day) for day in days] == [[], [], ["o03"]]
    assert [labelled(using_late(shop.pipeline), day) for day in days] == [["o03"]] * 3


def test_only_partitions_with_late_rows_are_read_the_slower_way(shop: Shop) -> None:
    paid = [payment("a", at("06-02 09:00")), payment("b", at("06-04 09:00"))]
    shop.holds(orders=ORDERS, payments=paid).arrives("payments", {"a": at("06-05 08:00")})
    snapshot = Snapshot(shop.pipeline, shop.platform)
    found = [snapshot.hides_late("payments", shop.pipeline.schedule.range(day)) for day in TICKS[:3]]
    assert found == [True, False, False]
    assert not Snapshot(using_late(shop.pipeline), shop.platform).hides_late("payments", shop.pipeline.schedule.range(TICKS[0]))
    assert not snapshot.hides_late("orders", shop.pipeline.schedule.range(TICKS[0]))


SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_features_are_those_of_a_plain_reading_row_by_row(shop: Shop, seed: int) -> None:
    held = random_late_shop(shop, seed)
    ticks = shop.pipeline.schedule.range(TICKS[0], TICKS[-1])
    made = features.build(shop.pipeline, ticks, shop.platform, chunk_rows=7)
    assert made.table.equals(features.build(shop.pipeline, ticks, shop.platform, versions=made.versions).table)
    # DuckDB's avg of the printed SQL rounds otherwise; everything else is the same.
    theirs = sql.run(shop.pipeline, ticks, shop.platform)
    for row, other in zip(made.table.to_pylist(), theirs.to_pylist(), strict=True):
        plain = read_plainly(held, row)
        for name, value in plain.items():
            wanted = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            assert (row[name], other[name]) == (wanted, wanted), (row["id"], name)
    used = features.build(using_late(shop.pipeline), ticks, shop.platform).table
    assert used["customer_count_7d"].to_pylist() != made.table["customer_count_7d"].to_pylist()
    assert used["price"].to_pylist() != made.table["price"].to_pylist()


def read_plainly(held: dict[str, pd.DataFrame], row: dict[str, Any]) -> dict[str, Any]:
    """Features of one order, as their declaration reads."""
    now = row["predict_at"]
    order = held["orders"].set_index("id").loc[row["id"]]
    there = {name: rows[rows.usable.isna() | (rows.usable <= now)] for name, rows in held.items()}
    wanted: dict[str, Any] = {}
    paid = there["payments"]
    # A refund is known when it is settled.
    known = {False: paid["paid_at"], True: paid[["paid_at", "settled_at"]].max(axis=1, skipna=False)}
    for feature in TRAILING:
        for length in feature.windows:
            seen = {late: window(paid, known[late], now - feature.skip, length, {"customer": order.customer}) for late in known}
            for aggregate in feature.aggregates:
                wanted[feature.feature(aggregate, length)] = expected(aggregate, seen["refund" in taken_from(aggregate)], now)
    prices = there["prices"][there["prices"]["product"] == order["product"]]
    told = prices.set_at + timedelta(hours=1)
    last = prices[(told < now) & (told >= now - 2 * DAY)].sort_values(["set_at", "seq"]).tail(1)
    wanted["price"] = None if last.empty else last.price.item()
    planned = there["orders"][there["orders"]["product"] == order["product"]]
    begins = planned.due.dt.normalize() + timedelta(hours=8)
    wanted["planned_count_3d"] = int(((begins < now) & (begins >= now - 3 * DAY)).sum())
    return wanted
