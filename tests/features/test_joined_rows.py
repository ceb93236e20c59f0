"""Of a large table only what rows can match is read, and the features are those of reading all of it, and of pandas."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.features import joined_rows, joins
from tests.support.late_rows import TICKS, random_late_shop

Shop = Any  # of tests/support/feature_shop.py
DAY = date(2013, 6, 9)
START = datetime(2013, 6, 9, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICE, LAST = (
    ml.AsOf("prices", {"product": "product"}, {"price": "price"}, max_age=ml.days(3)),
    ml.AsOf("payments", {"customer": "customer", "product": "product"}, {"paid": "amount", "back": "refund"}, ml.days(2)),
)


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every table is large. Returns how many rows were read of each as-of join."""
    monkeypatch.setattr(joined_rows, "LARGE_ROWS", 0)
    plain, rows = joins.as_of, []

    def counted(table: ml.Table, feature: ml.AsOf, events: pa.Table, of: Any) -> Any:
        rows.append(events.num_rows)
        return plain(table, feature, events, of)

    monkeypatch.setattr(joins, "as_of", counted)
    return rows


def filled(shop: Shop, **changed: Any) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Orders of a tick with keys that are missing or that nothing has; prices and payments of weeks, many at equal moments."""
    rng = np.random.default_rng(7)
    shop.pipeline = replace(shop.pipeline, features=(*shop.pipeline.features[:3], PRICE, LAST), **changed)
    products = [f"p{n}" for n in range(40)]
    orders = [
        (f"o{n:03}", START + int(rng.integers(0, 96)) * HOUR / 4, [1, 2, 3, None, 99][n % 5], [*products[:7], None, "x"][n % 9])
        for n in range(120)
    ]
    prices = [(products[n % 40], n, START - int(rng.integers(0, 150)) * HOUR, float(n) if n % 7 else None) for n in range(900)]
    payments = [
        (f"p{n:03}", START - int(rng.integers(0, 60)) * HOUR, [1, 2, 3, 4, None][n % 5], products[n % 8], float(n), n,
         None if n % 3 else START - int(rng.integers(-9, 40)) * HOUR, n / 8)
        for n in range(500)
    ]  # fmt: skip
    shop.holds(orders=orders, prices=prices, payments=payments, customers=[(n, f"C{n}") for n in range(80)])
    held = (("orders", orders), ("prices", prices), ("payments", payments))
    made = (pd.DataFrame(rows, columns=list(shop.pipeline.table(name).names)) for name, rows in held)
    orders_made, prices_made, payments_made = made
    return orders_made, prices_made, payments_made


def latest(orders: pd.DataFrame, rows: pd.DataFrame, known: pd.Series, on: list[str], max_age: timedelta) -> pd.DataFrame:
    """What pandas joins to each order: the newest row before its predict_at, of equal moments the one with the last key."""
    right = rows.assign(known=known, seen=known).sort_values(["known", rows.columns[0], "seq" if "seq" in rows else "id"])
    right = right.drop_duplicates([*on, "known"], keep="last").dropna(subset=on)
    left = orders.dropna(subset=on).sort_values("predict_at", kind="stable")
    right[on] = right[on].astype(left[on].dtypes.to_dict())
    found = pd.merge_asof(
        left, right.drop(columns=[name for name in ("id", "due") if name in right and name not in on]),
        left_on="predict_at", right_on="known", by=on, tolerance=max_age, allow_exact_matches=False,
    )  # fmt: skip
    return orders[["id"]].merge(found, on="id", how="left").sort_values("id")


@pytest.mark.parametrize("predict_at", [ml.AtTick(), ml.Before(ml.hours(26))])
def test_as_of_joins_are_those_of_pandas(shop: Shop, read: list[int], predict_at: Any) -> None:
    orders, prices, payments = filled(shop, predict_at=predict_at)
    made = features.build(shop.pipeline, shop.pipeline.schedule.range(DAY), shop.platform).table.to_pandas()
    at = START if isinstance(predict_at, ml.AtTick) else orders["due"] - ml.hours(26)
    orders = orders.assign(predict_at=pd.Series(at, index=orders.index).astype("datetime64[us, UTC]"))
    price = latest(orders, prices, prices["set_at"] + HOUR, ["product"], PRICE.max_age)
    np.testing.assert_array_equal(made["price"], price["price"])
    paid = latest(orders, payments, payments["paid_at"], ["customer", "product"], LAST.max_age)
    np.testing.assert_array_equal(made["paid"], paid["amount"])
    np.testing.assert_array_equal(made["back"], paid["refund"].where(paid["settled_at"] < paid["predict_at"]))
    assert made["country"].fillna("").tolist() == ["" if pd.isna(c) or c == 99 else f"C{c:.0f}" for c in orders["customer"]]
    assert made[["price", "paid", "back"]].notna().any().all()
    # Of 900 and 500: one of each key, and those that became known at the same moment or after the first order is scored.
    assert all(n <= most for n, most in zip(read, (10, 30) if isinstance(predict_at, ml.AtTick) else (40, 150), strict=True))


def test_late_rows_are_seen_by_the_same_rows(shop: Shop, monkeypatch: pytest.MonkeyPatch, read: list[int]) -> None:
    random_late_shop(shop, 5)
    few = [
        shop.pipeline.schedule.range(first, last) for first, last in ((TICKS[0], TICKS[-1]), *((tick, tick) for tick in TICKS))
    ]
    narrow = [features.build(shop.pipeline, ticks, shop.platform, only=["price"]).table for ticks in few]
    held = list(read)
    monkeypatch.setattr(joined_rows, "LARGE_ROWS", 1_000)
    whole = [features.build(shop.pipeline, ticks, shop.platform, only=["price"]).table for ticks in few]
    assert all(one.equals(other) for one, other in zip(narrow, whole, strict=True))
    assert max(held[1:]) < min(read[len(held) + 3 :])  # two products, and what is late beside them
    assert narrow[0]["price"].null_count < narrow[0].num_rows


def test_a_key_that_a_large_reference_table_has_twice_is_an_error_where_rows_ask_for_it(shop: Shop) -> None:
    filled(shop)
    ticks = shop.pipeline.schedule.range(DAY)
    shop.holds(customers=[(1, "CH"), (50, "DE"), (50, "FR")])
    assert set(features.build(shop.pipeline, ticks, shop.platform).table["country"].to_pylist()) == {"CH", None}
    shop.holds(customers=[(1, "CH"), (1, "DE")])
    with pytest.raises(ValueError, match="table 'customers' holds a key"):
        features.build(shop.pipeline, ticks, shop.platform)


def test_keys_that_are_numbers_with_a_sign_of_zero_are_not_matched_in_sql(shop: Shop) -> None:
    table = replace(shop.pipeline.table("customers"), columns=(ml.Column("customer", "float", "-"),))
    assert not joined_rows._exact(table, {"customer": "customer"})
    assert joined_rows._exact(shop.pipeline.table("prices"), {"product": "product"})


def test_no_rows_ask_for_nothing(shop: Shop) -> None:
    filled(shop)
    shop.holds(orders=[])
    assert features.build(shop.pipeline, shop.pipeline.schedule.range(DAY), shop.platform).table.num_rows == 0
