"""Outcomes that a column tells, such as when an invoice was paid or a customer left, against plain pandas."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.platform.ledger import Publication

Shop = Any  # of conftest.py
DAY = timedelta(days=1)
ZONE = ZoneInfo("America/New_York")
FIRST, LAST = date(2013, 3, 5), date(2013, 3, 30)  # clocks change in between, on 10 March
WITHIN = ml.days(6)
DELAY = 7  # in ticks: an hour may be missing of the calendar's days


def row_outcomes(shop: Shop, within: timedelta = WITHIN, until: str | None = None, **column: Any) -> Shop:
    """The shop's use case about orders that are paid later, as their own rows tell."""
    orders, *others = shop.pipeline.tables
    paid = {"kind": "timestamp", "known_at": "entered_at"} | column
    orders = replace(
        orders,
        refresh_ticks=DELAY + 1,
        columns=(
            *orders.columns,
            ml.Column("happened", doc="-", nullable=True, **paid),
            ml.Column("entered_at", "timestamp", "-", nullable=True),
            ml.Column("ends_at", "timestamp", "-", nullable=True),
        ),
    )
    return asked_of(shop, (orders, *others), ml.Outcome("orders", {"id": "id"}, ml.Happens("happened"), within, until=until))


def key_outcomes(shop: Shop, kind: str = "timestamp") -> Shop:
    """The shop's use case about orders whose customers leave later, as a table without a time tells."""
    *others, customers = shop.pipeline.tables
    customers = replace(customers, columns=(*customers.columns, ml.Column("happened", kind, "-", nullable=True)))
    of_customer = ml.Outcome("customers", {"customer": "customer"}, ml.Happens("happened"), WITHIN)
    return asked_of(shop, (*others, customers), of_customer)


def asked_of(shop: Shop, tables: tuple[ml.Table, ...], label: ml.Outcome) -> Shop:
    shop.pipeline = replace(
        shop.pipeline,
        schedule=replace(shop.pipeline.schedule, timezone="America/New_York"),
        tables=tables,
        features=(ml.Expression("hour", "extract(hour FROM due)", "int", "-"),),
        label=label,
        split=replace(shop.pipeline.split, gap=WITHIN + ml.days(2)),
        predict_at=ml.AtTick(),
        value=ml.CostMatrix(true_positive=1, false_positive=-1),
        serving=None,
        watches=ml.WATCHES,
        rules=ml.RULES,
    )
    return shop


def random_orders(seed: int, as_date: bool = False) -> list[tuple[Any, ...]]:
    random = np.random.default_rng(seed)
    orders = []
    for n in range(300):
        due = datetime(2013, 3, 5, 12, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 24 * 27)))
        tick = datetime.combine((due - timedelta(hours=12)).date(), datetime.min.time(), ZONE) + timedelta(hours=8)
        happened = tick.astimezone(UTC) + timedelta(hours=int(random.integers(-20, 200)))
        happened += timedelta(microseconds=int(random.choice([0, 1, -1])))
        entered = happened + timedelta(hours=int(random.choice([0, 0, 0, 50])))
        ends = due + timedelta(hours=int(random.integers(-20, 200)))
        moment = happened.astimezone(ZONE).date() if as_date else happened
        paid = random.random() < 0.7
        orders.append((
            f"{n:03}", due, int(random.integers(0, 40)), "tea", moment if paid else None, entered if paid else None,
            None if random.random() < 0.2 else ends,
        ))  # fmt: skip
    return orders


def day_of(moment: Any, edge: int) -> pd.Timestamp:
    """The start of a date (edge 0) or of the day after it (1); a timestamp as it is."""
    if isinstance(moment, datetime):
        return pd.Timestamp(moment)
    return pd.Timestamp(datetime.combine(moment + edge * DAY, datetime.min.time(), ZONE)).tz_convert("UTC")


def expected_label(start: Any, end: Any, moment: Any) -> bool | None:
    if moment is None or pd.isna(moment):
        return False
    begins, ends = day_of(moment, 0), day_of(moment, 1)
    if begins < start:
        return None
    return bool(begins < end and ends <= end)


def expected_of_rows(shop: Shop, orders: list[tuple[Any, ...]], as_of: date) -> list[tuple[Any, ...]]:
    """Every row that is complete, one by one."""
    schedule, until = shop.pipeline.schedule, shop.pipeline.label.until
    now, expected = schedule.tick(as_of).start, []
    for key, due, _, _, moment, entered, ends_at in orders:
        tick = schedule.tick_at(due)  # planned one tick ahead
        begin = tick.start if isinstance(shop.pipeline.predict_at, ml.AtTick) else due - shop.pipeline.predict_at.lead
        end = (pd.Timestamp(begin).tz_convert(ZONE) + pd.DateOffset(days=6)).tz_convert("UTC")
        if until is not None and ends_at is not None:
            end = min(end, ends_at)
        if end > now or end <= begin or tick.name > date(2013, 3, 28):
            continue
        seen = moment if entered is not None and entered < now else None
        label = expected_label(begin, end, seen)
        if label is not None:
            expected.append((tick.name, key, label, max(end, entered) if label else end))
    return sorted(expected)


def found_labels(shop: Shop, as_of: date, last: date = date(2013, 3, 28)) -> list[tuple[Any, ...]]:
    schedule = shop.pipeline.schedule
    found = features.labels(shop.pipeline, schedule.range(date(2013, 3, 4), last), schedule.tick(as_of), shop.platform)
    return list(zip(*(found[name].to_pylist() for name in ("tick", "id", "label", "label_known_at")), strict=True))


@pytest.mark.parametrize("until", [None, "ends_at"], ids=["longest", "until"])
@pytest.mark.parametrize("kind", ["timestamp", "date"])
@pytest.mark.parametrize("predict_at", [ml.AtTick(), ml.Before(ml.hours(26.5))], ids=["tick", "before"])
def test_outcomes_in_a_column_of_the_row_are_those_of_pandas(
    predict_at: ml.AtTick | ml.Before, kind: str, until: str | None, feature_shop: Shop
) -> None:
    orders = random_orders(3, kind == "date")
    shop = row_outcomes(feature_shop, until=until, kind=kind)
    shop.pipeline = replace(shop.pipeline, predict_at=predict_at)
    shop.holds(orders=orders)
    for as_of in (LAST, date(2013, 3, 20)):
        expected = expected_of_rows(shop, orders, as_of)
        assert found_labels(shop, as_of, min(as_of, date(2013, 3, 28))) == expected
        assert {label for _, _, label, _ in expected} == {True, False}
        assert len(expected) < len(orders)


def published(shop: Shop, table: str, tick: date) -> None:
    shop.platform.ledger.put(
        Publication(pipeline="shop", table_name=table, tick=tick, rows=1, delta_version=1, at=shop.platform.clock.now())
    )


@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_outcomes_in_a_column_of_a_table_without_a_time_are_those_of_pandas(kind: str, feature_shop: Shop) -> None:
    shop, random = key_outcomes(feature_shop, kind), np.random.default_rng(5)
    orders = [row[:4] for row in random_orders(4)]
    left: dict[int, Any] = {}
    for customer in range(30):  # of 40: of the others there is no row
        moment = datetime(2013, 3, 6, 12, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 24 * 30)))
        left[customer] = None if random.random() < 0.3 else moment.astimezone(ZONE).date() if kind == "date" else moment
    shop.holds(orders=orders, customers=[(customer, "CH", moment) for customer, moment in left.items()])
    published(shop, "customers", date(2013, 3, 24))
    schedule, expected = shop.pipeline.schedule, []
    for key, due, customer, _ in orders:
        tick = schedule.tick_at(due)
        end = schedule.moment(tick.name + 6 * DAY)
        if end <= schedule.moment(date(2013, 3, 24)):  # when the table was read last
            moment = left.get(customer)
            label = expected_label(tick.start, end, moment)
            entered = end if not label else max(end, day_of(moment, 0))
            if label is not None:
                expected.append((tick.name, key, label, entered))
    assert found_labels(shop, LAST) == sorted(expected)
    assert {label for _, _, label, _ in expected} == {True, False}


def test_what_is_entered_after_the_window_corrects_the_outcome(feature_shop: Shop) -> None:
    due = datetime(2013, 3, 12, 15, tzinfo=UTC)
    happened, entered = due + DAY, due + 9 * DAY
    others = [(f"o{n}", due + n * DAY, 9, "tea", None, None, None) for n in range(12)]
    shop = row_outcomes(feature_shop).holds(orders=[*others, ("a", due, 1, "tea", happened, entered, None)])
    for as_of, label in ((date(2013, 3, 19), False), (date(2013, 3, 22), True)):
        assert [row[2] for row in found_labels(shop, as_of, date(2013, 3, 12)) if row[1] == "a"] == [label]


def test_what_happened_before_the_row_is_scored_leaves_it_without_an_outcome(feature_shop: Shop) -> None:
    tick = datetime(2013, 3, 12, 12, tzinfo=UTC)  # 08:00 in New York
    moments = {
        "before": tick - timedelta(microseconds=1),
        "at": tick,
        "end": tick + 6 * DAY,
        "last": tick + 6 * DAY - DAY / 864,
    }
    orders = [(key, tick + DAY / 8, 1, "tea", moment, moment, None) for key, moment in moments.items()]
    others = [(f"o{n}", tick + n * DAY, 9, "tea", None, None, None) for n in range(1, 12)]
    shop = row_outcomes(feature_shop).holds(orders=[*orders, *others])
    found = {row[1]: row[2] for row in found_labels(shop, LAST, date(2013, 3, 12))}
    assert found == {"at": True, "last": True, "end": False}


def test_a_key_that_is_no_longer_read_again_has_no_outcome(feature_shop: Shop) -> None:
    """A joined row of an old partition was read last before the window was over."""
    orders, payments, *others = feature_shop.pipeline.tables
    payments = replace(
        payments, refresh_ticks=10, columns=(*payments.columns, ml.Column("happened", "timestamp", "-", nullable=True))
    )
    shop = asked_of(
        feature_shop, (orders, payments, *others), ml.Outcome("payments", {"id": "id"}, ml.Happens("happened"), WITHIN)
    )
    due = datetime(2013, 3, 12, 15, tzinfo=UTC)
    rows = [(str(n), due, n, "tea") for n in range(8)]
    paid = [(str(n), due - n * DAY, n, "tea", 1.0, 1, None, None, due + DAY) for n in range(8)]
    fill = [(f"f{n}", due + n * DAY, 9, "tea", 1.0, 1, None, None, None) for n in range(1, 12)]
    shop.holds(orders=rows, payments=[*paid, *fill])
    # The row of the n-th key is in the partition of 13 - n March, read until 23 - n March; the window is over on the 18th.
    assert [(row[1], row[2]) for row in found_labels(shop, LAST)] == [(str(n), True) for n in range(6)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "text"}, "Happens 'happened': must be the timestamp or date at which it happens"),
        ({"within": ml.days(9)}, "is over after 9, and what happens until then would be missed: declare refresh_ticks=9"),
        ({"within": ml.days(0)}, "within must be positive"),
    ],
    ids=["text", "read too briefly", "no window"],
)
def test_a_moment_that_cannot_be_is_refused(change: dict[str, Any], said: str, feature_shop: Shop) -> None:
    with pytest.raises(ValueError, match=said):
        row_outcomes(feature_shop, **change)


def test_a_feature_that_reads_the_moment_is_refused(feature_shop: Shop) -> None:
    shop = row_outcomes(feature_shop, known_at=None)
    for sql in ("happened IS NULL", "coalesce(happened, due) > due"):
        with pytest.raises(ValueError, match=r"feature 'told' reads 'happened' of 'orders', which is the outcome"):
            replace(shop.pipeline, features=(ml.Expression("told", sql, "bool", "-"),))


def test_the_whole_key_is_needed(feature_shop: Shop) -> None:
    shop = row_outcomes(feature_shop)
    with pytest.raises(ValueError, match="`by` must match the whole key"):
        replace(shop.pipeline, label=replace(shop.pipeline.label, by={"customer": "customer"}))
