"""Outcomes whose window ends at a moment of the row itself, such as the end of a campaign, against plain pandas."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.outcome import Outcome

Shop = Any  # of conftest.py
DAY = timedelta(days=1)
FIRST, LAST = date(2013, 3, 5), date(2013, 3, 30)  # clocks change in between, on 10 March
ZONE = ZoneInfo("America/New_York")
LONGEST = ml.days(6)


def with_ends(shop: Shop, of: Any, until: str | None, known_after: timedelta = timedelta(0)) -> Shop:
    """The shop's use case about pairs of customer and product, which end; `of` is what happens until then."""
    orders, payments, *others = shop.pipeline.tables
    key = (replace(column, nullable=False) for column in orders.columns[1:])
    columns = (
        ml.Column("ends_at", "timestamp", "-", nullable=True),
        ml.Column("last_day", "date", "-", nullable=True),
    )
    label = Outcome("payments", {"customer": "customer", "product": "product"}, ml.Any(), LONGEST, until=until)
    shop.pipeline = replace(
        shop.pipeline,
        schedule=replace(shop.pipeline.schedule, timezone="America/New_York"),
        tables=(
            replace(orders, key=("customer", "product", "due"), columns=(*key, *columns)),
            replace(payments, known_after=known_after),
            *others,
        ),
        features=(ml.Expression("hour", "extract(hour FROM due)", "int", "-"),),
        label=label,
        split=replace(shop.pipeline.split, gap=LONGEST + ml.days(1)),
        predict_at=ml.AtTick(),
        value=ml.CostMatrix(true_positive=1, false_positive=-1),
        serving=None,
        watches=ml.WATCHES,
        rules=ml.RULES,
    )
    object.__setattr__(shop.pipeline, "label", replace(label, of=of))  # numbers are labels of regressions
    return shop


def random_rows(seed: int) -> dict[str, list[tuple[Any, ...]]]:
    random = np.random.default_rng(seed)
    orders, payments = [], []
    for day in range(24):
        for customer in range(6):
            due = datetime(2013, 3, 5, 12, tzinfo=UTC) + timedelta(days=day, hours=int(random.integers(0, 20)))
            ends = due + timedelta(hours=int(random.integers(-30, 200)))
            product = str(random.choice(["tea", "milk"]))
            orders.append((due, customer, product, *(None if random.random() < 0.1 else one for one in (ends, ends.date()))))
    for n in range(900):
        paid = datetime(2013, 3, 4, 8, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 28 * 24)))
        paid += timedelta(microseconds=int(random.choice([0, 0, 1, -1])))
        customer = None if random.random() < 0.05 else int(random.integers(0, 6))
        amount = None if random.random() < 0.1 else float(np.round(random.exponential(4), 3))
        payments.append((str(n), paid, customer, str(random.choice(["tea", "milk"])), amount, n % 5, None, None))
    return {"orders": orders, "payments": payments}


def in_pandas(payments: pd.DataFrame, of: Any) -> Any:
    if where := getattr(of, "where", ""):
        payments = payments.query(where.replace(" = ", " == "))
    if isinstance(of, ml.Any):
        return len(payments) > 0
    if isinstance(of, ml.First | ml.Last):  # of the same moment, by the table's key
        values = payments.sort_values(["paid_at", "id"])[of.column].dropna()
        return None if values.empty else str(values.iloc[0 if isinstance(of, ml.First) else -1])
    return float(len(payments)) if isinstance(of, ml.Count) else float(payments[of.column].sum())


def expected_labels(shop: Shop, rows: dict[str, list[tuple[Any, ...]]], as_of: date) -> list[tuple[Any, ...]]:
    """Every row that is complete, one by one."""
    label, schedule, payments = shop.pipeline.label, shop.pipeline.schedule, shop.pipeline.table("payments")
    frame = pd.DataFrame(rows["payments"], columns=list(payments.names))
    expected = []
    for due, customer, product, ends_at, last_day in rows["orders"]:
        tick = schedule.tick_at(due)  # a row planned one tick ahead is in the tick whose interval holds its time
        begin = tick.start if isinstance(shop.pipeline.predict_at, ml.AtTick) else due - shop.pipeline.predict_at.lead
        end = (pd.Timestamp(begin).tz_convert(ZONE) + pd.DateOffset(days=6)).tz_convert("UTC")
        if label.until == "ends_at" and ends_at is not None:
            end = min(end, ends_at)
        if label.until == "last_day" and last_day is not None:
            midnight = datetime.combine(last_day + DAY, datetime.min.time(), ZONE)
            end = min(end, midnight.astimezone(UTC))
        if end <= begin or end + payments.known_after > schedule.tick(as_of).start:
            continue
        of_pair = frame[(frame["customer"] == customer) & (frame["product"] == product)]
        inside = of_pair[(of_pair["paid_at"] >= begin) & (of_pair["paid_at"] < end)]
        value = in_pandas(inside, label.of)
        if value is not None:
            expected.append((tick.name, customer, product, due, value, end + payments.known_after))
    return sorted(expected)


def found_labels(shop: Shop, as_of: date, last: date = date(2013, 3, 28)) -> list[tuple[Any, ...]]:
    schedule = shop.pipeline.schedule
    found = features.labels(shop.pipeline, schedule.range(date(2013, 3, 4), last), schedule.tick(as_of), shop.platform)
    names = ("tick", "customer", "product", "due", "label", "label_known_at")
    return list(zip(*(found[name].to_pylist() for name in names), strict=True))


OUTCOMES = {
    "any": ml.Any(),
    "any big": ml.Any(where="amount > 3"),
    "count": ml.Count(),
    "count small": ml.Count(where="amount <= 3"),
    "sum": ml.Sum("amount"),
    "sum of pieces": ml.Sum("pieces", where="amount > 1"),
    "first": ml.First("pieces"),
    "last text": ml.Last("product"),
    "last big": ml.Last("id", where="amount > 3"),
}


@pytest.mark.parametrize("of", OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.parametrize("until", ["ends_at", "last_day"])
@pytest.mark.parametrize("known_after", [timedelta(0), ml.hours(5)], ids=["at once", "later"])
def test_outcomes_until_the_end_of_each_row_are_those_of_pandas(
    of: Any, until: str, known_after: timedelta, feature_shop
) -> None:
    shop, rows = with_ends(feature_shop, of, until, known_after), random_rows(3)
    shop.holds(**rows)
    expected, found = expected_labels(shop, rows, LAST), found_labels(shop, LAST)
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    if isinstance(of, ml.First | ml.Last):
        assert [row[4] for row in found] == [row[4] for row in expected]
    else:
        assert [row[4] for row in found] == pytest.approx([row[4] for row in expected], abs=1e-9)
    assert [row[5] for row in found] == [row[5] for row in expected]
    least = {ml.Any: {True, False}, ml.First: {"0", "1"}, ml.Last: set()}.get(type(of), {0.0})
    assert {row[4] for row in expected} >= least
    assert len({row[4] for row in expected}) > 1 or of == ml.Last("product"), "the product is part of the key"


@pytest.mark.parametrize("of", [ml.Any(), ml.Count(where="amount <= 3"), ml.Sum("amount"), ml.First("pieces")], ids=repr)
@pytest.mark.parametrize("until", [None, "ends_at"])
def test_windows_that_begin_before_each_row_are_those_of_pandas(of: Any, until: str | None, feature_shop: Shop) -> None:
    shop, rows = with_ends(feature_shop, of, until), random_rows(3)
    object.__setattr__(shop.pipeline, "predict_at", ml.Before(ml.hours(26.5)))
    shop.holds(**rows)
    for as_of in (LAST, date(2013, 3, 16)):
        expected, found = expected_labels(shop, rows, as_of), found_labels(shop, as_of, min(as_of, date(2013, 3, 28)))
        assert [row[:4] for row in found] == [row[:4] for row in expected]
        assert [row[4] for row in found] == pytest.approx([row[4] for row in expected], abs=1e-9) or [
            row[4] for row in found
        ] == [row[4] for row in expected]
        assert [row[5] for row in found] == [row[5] for row in expected]
        assert len({row[4] for row in expected}) > 1 or of == ml.Any()


def test_events_between_the_prediction_and_its_tick_must_be_ingested(feature_shop: Shop) -> None:
    """Without them a row would have too few events."""
    rows = random_rows(3)
    shop = with_ends(feature_shop, ml.Count(), None)
    object.__setattr__(shop.pipeline, "predict_at", ml.Before(ml.hours(26.5)))
    ticks = [shop.pipeline.schedule.tick_at(paid).name + DAY for _, paid, *_ in rows["payments"]]
    kept = [row for row, tick in zip(rows["payments"], ticks, strict=True) if tick != date(2013, 3, 14)]
    shop.holds(orders=rows["orders"], payments=kept)
    missing = shop.pipeline.schedule.tick(date(2013, 3, 13))  # its rows are known in it
    found = {row[3] for row in found_labels(shop, LAST)}
    for due, *_ in rows["orders"]:
        begin = due - ml.hours(26.5)
        end = (pd.Timestamp(begin).tz_convert(ZONE) + pd.DateOffset(days=6)).tz_convert("UTC")
        complete = end <= shop.pipeline.schedule.tick(LAST).start and shop.pipeline.schedule.tick_at(due).name <= date(
            2013, 3, 28
        )
        assert (due in found) == (complete and (end <= missing.start or begin >= missing.end))


def test_a_row_is_complete_at_its_own_end_and_not_before(feature_shop: Shop) -> None:
    rows = random_rows(4)
    shop = with_ends(feature_shop, ml.Any(), "ends_at").holds(**rows)
    for as_of in (date(2013, 3, 10), date(2013, 3, 12), date(2013, 3, 20)):
        found = found_labels(shop, as_of, as_of)
        assert found == expected_labels(shop, rows, as_of)
        assert 0 < len(found) < 144


def test_events_after_the_end_of_a_row_change_nothing(feature_shop: Shop) -> None:
    due, ends = datetime(2013, 3, 12, 15, tzinfo=UTC), datetime(2013, 3, 14, 9, tzinfo=UTC)
    shop = with_ends(feature_shop, ml.Any(), "ends_at")
    others = [("o" + str(n), due + timedelta(days=n - 9), 9, "tea", 1.0, 1, None, None) for n in range(30)]
    moments = [ends, ends + timedelta(days=1), due - timedelta(days=2)]
    planted = [(str(n), at, 1, "tea", 5.0, 1, None, None) for n, at in enumerate(moments)]
    before = ("b", ends - timedelta(microseconds=1), 1, "tea", 5.0, 1, None, None)
    order = (due, 1, "tea", ends, ends.date())
    shop.holds(orders=[order], payments=[*others, *planted])
    assert [row[4] for row in found_labels(shop, LAST)] == [False]
    shop.holds(orders=[order], payments=[*others, *planted, before])
    assert [row[4] for row in found_labels(shop, LAST)] == [True]


def test_a_row_needs_the_partitions_up_to_its_own_end_alone(feature_shop: Shop) -> None:
    due = datetime(2013, 3, 12, 15, tzinfo=UTC)
    shop = with_ends(feature_shop, ml.Any(), "ends_at")
    orders = [(due, n, "tea", due + timedelta(days=n), None) for n in (1, 2, 3)]
    paid = [(str(n), due + timedelta(days=n - 1), 9, "tea", 1.0, 1, None, None) for n in (1, 2, 4, 5, 6)]
    shop.holds(orders=orders, payments=paid)
    assert [row[1] for row in found_labels(shop, LAST)] == [1], "the partition of the third day is missing"


def test_a_sum_over_a_value_that_is_infinite_gives_no_label_to_its_row_alone(feature_shop: Shop) -> None:
    due = datetime(2013, 3, 12, 15, tzinfo=UTC)
    shop = with_ends(feature_shop, ml.Sum("amount"), "ends_at")
    orders = [(due, n, "tea", due + timedelta(hours=20), None) for n in (1, 2)]
    others = [("o" + str(n), due + timedelta(days=n), 9, "tea", 1.0, 1, None, None) for n in range(5)]
    paid = [(str(n), due, n, "tea", amount, 1, None, None) for n, amount in ((1, float("inf")), (2, 4.0))]
    shop.holds(orders=orders, payments=[*others, *paid])
    schedule = shop.pipeline.schedule
    known = features.known_labels(shop.pipeline, schedule.range(date(2013, 3, 12)), schedule.tick(LAST), shop.platform)
    assert known.table["label"].to_pylist() == [4.0]
    assert known.failed["customer"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("until", "said"),
    [("due_date", "until 'due_date' is not a column of 'orders'"), ("product", "until 'product' is text: name the timestamp")],
    ids=["no column", "text"],
)
def test_an_end_that_cannot_be_is_refused(until: str, said: str, feature_shop: Shop) -> None:
    with pytest.raises(ValueError, match=said):
        with_ends(feature_shop, ml.Any(), until)
