"""Every aggregate, row by row, against plain pandas; in batch, as SQL and on request."""

import statistics
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlglot

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.reads import taken_from
from mlprod_tasks.features import sql
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.fill import fill_online
from tests.support.window_oracle import expected, window

Shop = Any  # of tests/support/feature_shop.py
FIRST, LAST = date(2013, 6, 1), date(2013, 6, 9)
BY = {"customer": "customer", "product": "product"}
WINDOWS = (ml.hours(5), ml.days(2), ml.days(6))
AGGREGATES = (
    ml.Count(), ml.Mean("amount"), ml.Rate("big", "amount > 100"), ml.Sum("amount"), ml.Sum("pieces"), ml.Sum("refund"),
)  # fmt: skip
SOME = (
    ml.Count("teas", where="product = 'tea'"), ml.Count("refunded", where="refund > 2"), ml.Mean("amount", where="pieces < 3"),
    ml.Rate("big", "amount > 100", where="product = 'tea'"), ml.Sum("pieces", "spent", where="amount > 100"),
    ml.Sum("amount", "in_tea", where="product = 'tea'"), ml.Sum("amount", "back", where="refund > 2"),
    ml.Rate("tea_share", "product = 'tea'"),
)  # fmt: skip
ORDERED = (
    ml.Min("amount"), ml.Max("amount"), ml.Min("pieces"), ml.Max("pieces", where="product = 'tea'"), ml.Max("refund"),
    ml.First("amount"), ml.Last("amount"), ml.First("product"), ml.Last("product"), ml.Last("pieces", where="amount > 100"),
    ml.Last("refund"), ml.SinceFirst(), ml.SinceLast(), ml.MeanGap(), ml.SinceLast("hours_since_tea", "product = 'tea'"),
    ml.MeanGap("refund_gap_hours", "refund > 2"),
)  # fmt: skip
SPREAD = (
    ml.Std("amount"), ml.Std("pieces", where="product = 'tea'"), ml.Std("refund"), ml.CountDistinct("product"),
    ml.CountDistinct("pieces", where="amount > 100"), ml.CountDistinct("refund"), ml.Quantile("amount", 0.5),
    ml.Quantile("pieces", 0.9), ml.Quantile("refund", 0.125), ml.Quantile("amount", 0.0), ml.Quantile("amount", 1.0),
    ml.Slope("amount"), ml.Slope("pieces", where="product = 'tea'"), ml.Slope("refund"),
)  # fmt: skip
TRAILING = (
    ml.Trailing("customer", "payments", {"customer": "customer"}, WINDOWS, AGGREGATES),
    ml.Trailing("pair", "payments", BY, WINDOWS[:2], AGGREGATES),
    ml.Trailing("some", "payments", {"customer": "customer"}, WINDOWS, SOME),
    ml.Trailing("before", "payments", {"customer": "customer"}, WINDOWS, (*AGGREGATES, SOME[0]), skip=ml.hours(31)),
    ml.Trailing("spread", "payments", {"customer": "customer"}, WINDOWS, SPREAD),
    ml.Trailing("pair_spread", "payments", BY, WINDOWS[1:], SPREAD, skip=ml.hours(31)),
    ml.Trailing(
        "always", "payments", {"customer": "customer"}, (ml.days(2), ml.EVER), (*AGGREGATES, *SPREAD[:2], *ORDERED[:3])
    ),
    ml.Trailing("one_by_one", "payments", {"customer": "customer"}, WINDOWS, ORDERED),
    ml.Trailing("pair_by_one", "payments", BY, WINDOWS[1:], (ml.Count(), *ORDERED), skip=ml.hours(31)),
)


def utc(day: date, hour: float = 0) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)


def orders() -> list[tuple[Any, ...]]:
    keys = [(1, "tea"), (2, "tea"), (3, "coffee"), (None, "tea"), (2, None), (99, "cocoa"), (1, "coffee")]
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    return [(f"{day}-{i}", utc(day, 9 + i), *key) for day in days for i, key in enumerate(keys)]


def payments() -> list[tuple[Any, ...]]:
    """Rows with nulls, equal moments, moments on the edges of windows, and refunds that are known later."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(400):
        paid = utc(date(2013, 5, 24)) + timedelta(hours=int(random.integers(0, 16 * 24)))
        settled = None if random.random() < 0.3 else paid + timedelta(hours=int(random.integers(0, 90)))
        amount = None if random.random() < 0.1 else float(np.round(random.normal(60, 80), 2))
        pieces = None if random.random() < 0.1 else int(random.integers(-5, 9))
        customer = None if random.random() < 0.05 else int(random.integers(1, 4))
        product = None if random.random() < 0.05 else ("tea", "coffee", "cocoa")[int(random.integers(3))]
        refund = None if random.random() < 0.2 else float(random.integers(0, 50)) / 8
        rows.append((f"p{i:03}", paid, customer, product, amount, pieces, settled, refund))
    return rows


def filled(shop: Shop, *trailing: ml.Trailing, **changed: Any) -> Shop:
    """The shop with these features and random rows."""
    shop.pipeline = replace(shop.pipeline, features=(*shop.pipeline.features[:4], *trailing), **changed)
    return shop.holds(orders=orders(), payments=payments(), customers=[(1, "CH"), (2, None)])


def oracle(shop: Shop, feature: ml.Trailing) -> list[dict[str, Any]]:
    """The values of a trailing feature for each order of the range, in the order of ticks and keys."""
    columns = shop.pipeline.table("payments").names
    events = pd.DataFrame(payments(), columns=list(columns))
    # A refund is known when it is settled.
    moments = {False: events["paid_at"], True: events[["paid_at", "settled_at"]].max(axis=1, skipna=False)}
    rows = []
    for order in orders():
        at = utc(order[1].date(), 8)
        keys = {"customer": order[2], "product": order[3]}
        by = {theirs: keys[mine] for mine, theirs in feature.by.items()}
        row = {}
        for length in feature.windows:
            seen = {late: window(events, moments[late], at - feature.skip, length, by) for late in moments}
            for aggregate in feature.aggregates:
                row[feature.feature(aggregate, length)] = expected(aggregate, seen["refund" in taken_from(aggregate)], at)
        rows.append(row)
    return rows


def same(got: Any, want: Any) -> bool:
    return bool(
        type(got) is type(want)
        and (got == want if not isinstance(got, float) else got == pytest.approx(want, rel=1e-9, abs=1e-9))
    )


@pytest.mark.parametrize("feature", TRAILING, ids=lambda feature: feature.name)
def test_each_row_has_what_pandas_computes_from_its_window(shop: Shop, feature: ml.Trailing) -> None:
    filled(shop, feature)
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    made = features.build(shop.pipeline, ticks, shop.platform).table.to_pylist()
    wanted = oracle(shop, feature)
    assert len(made) == len(wanted) == 63
    wrong = [
        (row["id"], name, row[name], want[name])
        for row, want in zip(made, wanted, strict=True)
        for name in want
        if not same(row[name], want[name])
    ]
    assert not wrong, wrong[:5]


def test_the_printed_sql_gives_the_same_values(shop: Shop) -> None:
    filled(shop, *TRAILING)
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    made = features.build(shop.pipeline, ticks, shop.platform).table
    by_sql = sql.run(shop.pipeline, ticks, shop.platform)
    assert by_sql.schema.equals(made.schema)
    names = [name for feature in TRAILING for name in names_of(feature)]
    wrong = [
        (name, got, want)
        for name in names
        for got, want in zip(made[name].to_pylist(), by_sql[name].to_pylist(), strict=True)
        if not same(got, want)
    ]
    assert not wrong, wrong[:5]


def test_the_printed_sql_can_be_translated_to_spark(shop: Shop) -> None:
    with_expressions(shop)
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, *TRAILING[1:]))
    text = sql.sql(pipeline)
    (spark,) = sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    assert sqlglot.parse_one(spark, dialect="spark").named_selects[4:] == list(pipeline.feature_names)


def test_a_request_gets_the_same_bits(shop: Shop) -> None:
    filled(shop, *TRAILING, serving=ml.Serving(look_back=ml.days(8)))
    fill_online(shop.pipeline, shop.pipeline.schedule.tick(LAST), shop.platform)
    for day in (FIRST + timedelta(days=n) for n in range(1, 9)):
        checked = compared(shop.pipeline, shop.pipeline.schedule.tick(day), shop.platform)
        assert (checked.rows, checked.share) == (7, 0.0), checked.examples


@pytest.mark.parametrize("feature", TRAILING, ids=lambda feature: feature.name)
def test_a_row_alone_has_the_bits_that_it_has_in_company(shop: Shop, feature: ml.Trailing) -> None:
    filled(shop, *TRAILING)
    whole = features.build(shop.pipeline, shop.pipeline.schedule.range(FIRST, LAST), shop.platform).table
    names = list(names_of(feature))
    alone = [
        features.build(shop.pipeline, shop.pipeline.schedule.range(day), shop.platform, only=names[-3:]).table
        for day in (FIRST, date(2013, 6, 5), LAST)
    ]
    for part in alone:
        (day,) = set(part["tick"].to_pylist())
        wanted = [row for row in whole.to_pylist() if row["tick"] == day]
        assert part.select(names[-3:]).to_pylist() == [{name: row[name] for name in names[-3:]} for row in wanted]


@pytest.mark.parametrize(
    "amounts",
    [[0.1] * 7, [1e9 + n / 1000 for n in range(5)], [4e15, -4e15, 0.5, 1e-9], [1e-10, 3e-10], [2.0**51 - 0.5, 2.0**51 - 1]],
    ids=["the same", "far from zero", "of any size", "tiny", "nearly too large"],
)
def test_deviations_have_no_error_of_cancelled_digits(shop: Shop, amounts: list[float]) -> None:
    feature = ml.Trailing(
        "customer", "payments", {"customer": "customer"}, (ml.days(1),), (ml.Std("amount"), ml.Slope("amount"))
    )
    filled(shop, feature, serving=ml.Serving(look_back=ml.days(2)))
    early = [("z", utc(LAST, -4), 2, "tea", 1e15 / 3, 1, None, None)]
    paid = [(f"p{i}", utc(LAST, 1 + i), 1, "tea", amount, 1, None, None) for i, amount in enumerate(amounts)]
    shop.holds(orders=[("a", utc(LAST, 9), 1, "tea")], payments=early + paid)
    (row,) = features.build(shop.pipeline, shop.pipeline.schedule.range(LAST), shop.platform).table.to_pylist()
    values = [Fraction(round(Fraction(amount) * 2**52), 2**52) for amount in amounts]
    exact = float(statistics.variance(values)) ** 0.5
    assert row["customer_std_amount_1d"] == pytest.approx(exact, rel=1e-15)
    days = [Fraction(i, 24) for i in range(len(values))]
    middle, mean = sum(days) / len(days), sum(values) / len(values)
    rise = sum((d - middle) * (v - mean) for d, v in zip(days, values, strict=True)) / sum((d - middle) ** 2 for d in days)
    assert row["customer_slope_amount_1d"] == pytest.approx(float(rise), rel=1e-15)
    tick = shop.pipeline.schedule.tick(LAST)
    fill_online(shop.pipeline, tick, shop.platform)
    assert compared(shop.pipeline, tick, shop.platform).share == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**52], ids=["nan", "infinite", "minus infinite", "too large"])
def test_a_value_that_no_sum_can_hold_makes_the_sum_of_its_key_infinite_and_no_others(shop: Shop, bad: float) -> None:
    more = tuple(kind("amount") for kind in (ml.Sum, ml.Std, ml.Slope, ml.Min, ml.Max, ml.First, ml.CountDistinct))
    aggregates = (*more, ml.Quantile("amount", 0.5))
    feature = ml.Trailing("customer", "payments", {"customer": "customer"}, WINDOWS, aggregates)
    filled(shop, feature, serving=ml.Serving(look_back=ml.days(8)))
    at = utc(LAST, 7)
    shop.holds(
        orders=[("a", utc(LAST, 9), 1, "tea"), ("b", utc(LAST, 9), 2, "tea")],
        payments=[
            ("x", at, 1, "tea", bad, 1, None, None),
            ("y", at, 2, "tea", 0.5, 1, None, None),
            *((f"z{n}", utc(LAST, 1), n, "tea", 0.0, 1, None, None) for n in (1, 2)),
        ],
    )
    tick = shop.pipeline.schedule.tick(LAST)
    made = features.build(shop.pipeline, shop.pipeline.schedule.range(LAST), shop.platform).table
    assert made["customer_sum_amount_5h"].to_pylist() == [np.inf, 0.5]
    large = {np.inf: np.inf, -np.inf: -np.inf}.get(bad, np.inf if np.isnan(bad) else bad)
    for name in ("min_amount", "max_amount", "first_amount", "q50_amount"):
        assert made[f"customer_{name}_5h"].to_pylist() == [large, 0.5]
    assert made["customer_std_amount_2d"].to_pylist() == [np.inf, pytest.approx(0.5 / 2**0.5)]
    assert made["customer_slope_amount_2d"].to_pylist() == [np.inf, pytest.approx(2.0)]
    assert made["customer_distinct_amount_2d"].to_pylist() == [2, 2]
    fill_online(shop.pipeline, tick, shop.platform)
    assert compared(shop.pipeline, tick, shop.platform).share == 0.0


EXPRESSIONS = (
    ml.Expression("twice", "2 * share", "float", "of another expression"),
    ml.Expression("share", "customer_sum_pieces_2d / nullif(customer_sum_pieces_6d, 0)", "float", "two windows"),
    ml.Expression("dearer", "customer_mean_amount_6d > 5 * price", "bool", "two tables"),
    ml.Expression("quiet", "customer_hours_since_last_6d IS NULL", "bool", "a window without rows"),
)


def with_expressions(shop: Shop) -> Shop:
    trailing = ml.Trailing(
        "customer", "payments", {"customer": "customer"}, WINDOWS, (ml.Sum("pieces"), ml.Mean("amount"), ml.SinceLast())
    )
    filled(shop, EXPRESSIONS[1], EXPRESSIONS[0], *EXPRESSIONS[2:], trailing, serving=ml.Serving(look_back=ml.days(8)))
    return shop.holds(prices=[("tea", 1, utc(date(2013, 6, 4)), 11.0), ("coffee", 1, utc(date(2013, 6, 5)), 1.0)])


def ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def test_expressions_read_windows_of_several_tables(shop: Shop) -> None:
    with_expressions(shop)
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    made = features.build(shop.pipeline, ticks, shop.platform).table
    rows = made.to_pylist()
    assert [row["share"] for row in rows] == [ratio(r["customer_sum_pieces_2d"], r["customer_sum_pieces_6d"]) for r in rows]
    assert [row["twice"] for row in rows] == [None if row["share"] is None else 2 * row["share"] for row in rows]
    known = [row for row in rows if row["price"] is not None and row["customer_mean_amount_6d"] is not None]
    assert [row["dearer"] for row in known] == [row["customer_mean_amount_6d"] > 5 * row["price"] for row in known]
    assert [row["quiet"] for row in rows] == [row["customer_hours_since_last_6d"] is None for row in rows]
    assert {row["quiet"] for row in rows} == {row["dearer"] for row in known} == {True, False}
    by_sql = sql.run(shop.pipeline, ticks, shop.platform)
    names = [one.name for one in EXPRESSIONS]
    assert by_sql.select(names).equals(made.select(names))
    only = features.build(shop.pipeline, ticks, shop.platform, only=["twice"])
    assert only.table.column_names[4:] == ["twice"]
    assert only.table["twice"].equals(made["twice"])
    assert set(only.versions) == {"orders", "payments"}


def test_a_request_computes_expressions_over_windows(shop: Shop) -> None:
    with_expressions(shop)
    fill_online(shop.pipeline, shop.pipeline.schedule.tick(LAST), shop.platform)
    for day in (date(2013, 6, 4), date(2013, 6, 6), LAST):
        checked = compared(shop.pipeline, shop.pipeline.schedule.tick(day), shop.platform)
        assert (checked.rows, checked.share) == (7, 0.0), checked.examples
        assert set(checked.compiled) >= {"share", "twice", "dearer", "quiet"}
