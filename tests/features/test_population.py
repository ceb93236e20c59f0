"""Which keys are alive at a tick, and what happens to them later, against plain pandas."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration.defaults import GATES, KPI
from mlprod_tasks.features import sql
from mlprod_tasks.platform.ledger import Publication

Shop = Any  # of conftest.py
FIRST, LAST = date(2013, 6, 1), date(2013, 6, 20)  # ticks that have a partition of payments
TICK = date(2013, 6, 8)
STARTS = datetime(2013, 6, 8, 8, tzinfo=UTC)
JUST = timedelta(microseconds=1)


def with_population(shop: Shop, known_after: timedelta = timedelta(0), **changed: Any) -> Shop:
    """The shop's use case about customers instead of orders."""
    population = ml.Population("buyers", **{"seen_in": "payments", "by": ("customer",), "within": ml.days(3)} | changed)
    tables = tuple(replace(t, known_after=known_after) if t.name == "payments" else t for t in shop.pipeline.tables)
    computed = (ml.Count(), ml.Mean("amount"), ml.Rate("big", "amount > 100"))
    trailing = ml.Trailing("paid", "payments", {"customer": "customer"}, (ml.days(7),), computed)
    shop.pipeline = replace(
        shop.pipeline,
        tables=tables,
        entity=population,
        features=(ml.Expression("weekday", "extract(isodow FROM as_of)", "int", "-"), trailing),
        label=ml.Outcome("payments", {"customer": "customer"}, ml.Any(), within=ml.days(2)),
        fallback=ml.RateTable(by=("weekday",)),
        value=ml.CostMatrix(true_positive=1, false_positive=-1),
        split=replace(shop.pipeline.split, gap=ml.days(3)),
        predict_at=ml.AtTick(),
        serving=None,
        watches=ml.WATCHES,
        rules=ml.RULES,
    )
    return shop


def payment(id: int, paid: datetime, customer: int | None, amount: float | None = 1.0) -> tuple[Any, ...]:
    return (str(id), paid, customer, "tea", amount, 1, None, None)


def alive(shop: Shop, day: date = TICK) -> list[int]:
    """The customers of a tick's rows, which the printed SQL gives too."""
    ticks = shop.pipeline.schedule.range(day)
    made = features.build(shop.pipeline, ticks, shop.platform).table
    assert made.equals(sql.run(shop.pipeline, ticks, shop.platform))
    assert set(made["as_of"].to_pylist()) == ({made["predict_at"][0].as_py()} if made.num_rows else set())
    return made["customer"].to_pylist()


def test_a_key_is_there_from_the_tick_after_it_was_seen_to_the_end_of_its_time(feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    shop.holds(
        payments=[
            payment(1, STARTS - JUST, 1),
            payment(2, STARTS, 2),  # known at predict_at: not before
            payment(3, STARTS - ml.days(3), 3),
            payment(4, STARTS - ml.days(3) - JUST, 4),
            payment(5, STARTS - JUST, None),
        ]
    )
    assert alive(shop) == [1, 3]
    assert alive(shop, TICK + timedelta(days=1)) == [1, 2]
    assert alive(shop, date(2013, 5, 1)) == []


def test_a_key_that_first_appears_later_is_in_no_earlier_tick_and_changes_no_row(feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    seen = [payment(1, STARTS - ml.hours(5), 1, 3.0)]
    shop.holds(payments=seen)
    before = features.build(shop.pipeline, shop.pipeline.schedule.range(TICK), shop.platform).table
    shop.holds(payments=[*seen, *(payment(n, STARTS + ml.hours(n), n % 3, 1e6) for n in range(10, 100))])
    assert features.build(shop.pipeline, shop.pipeline.schedule.range(TICK), shop.platform).table.equals(before)


def test_without_an_end_a_key_stays_for_ever_and_a_condition_chooses_the_rows_that_count(feature_shop: Shop) -> None:
    shop = with_population(feature_shop, within=None, where="amount > 10")
    shop.holds(payments=[payment(1, STARTS - ml.days(100), 1, 11.0), payment(2, STARTS - ml.days(1), 2, 10.0)])
    assert alive(shop) == [1]
    shop = with_population(feature_shop, within=None, where="1 // CAST(amount AS BIGINT) > 0")
    shop.holds(payments=[payment(1, STARTS - ml.days(1), 1, 0.0), payment(2, STARTS - ml.days(1), 2, 1.0)])
    assert alive(shop) == [2], "a condition that cannot be computed does not count"


def test_a_row_may_be_a_pair_of_keys(feature_shop: Shop) -> None:
    shop = with_population(feature_shop, by=("customer", "product"))
    moment = STARTS - ml.hours(1)
    rows = [("1", moment, 1, "tea", 1.0, 1, None, None), ("2", moment, 1, "milk", 1.0, 1, None, None)]
    shop.holds(payments=[*rows, ("3", moment, 1, None, 1.0, 1, None, None), ("4", moment, 1, "tea", 2.0, 1, None, None)])
    made = features.build(shop.pipeline, shop.pipeline.schedule.range(TICK), shop.platform).table
    assert made.select(["customer", "product", "paid_count_7d"]).to_pylist() == [
        {"customer": 1, "product": "milk", "paid_count_7d": 4},
        {"customer": 1, "product": "tea", "paid_count_7d": 4},
    ]


def test_a_late_row_shows_that_its_key_is_alive_from_the_tick_on_that_may_use_it(feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    day = timedelta(days=1)
    shop.holds(payments=[payment(1, STARTS - ml.hours(1), 1), payment(2, STARTS - ml.hours(1), 2)])
    shop.arrives("payments", {"2": STARTS + day})
    assert [alive(shop, TICK + n * day) for n in range(4)] == [[1], [1, 2], [1, 2], []]


def test_an_event_that_comes_late_is_in_an_outcome_from_the_tick_on_that_may_use_it(feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    others = [payment(n, datetime(2013, 6, n, 9, tzinfo=UTC), 9) for n in range(1, 20)]
    shop.holds(payments=[*others, payment(100, STARTS - ml.hours(1), 1), payment(101, STARTS + ml.hours(5), 1)])
    shop.arrives("payments", {"101": STARTS + timedelta(days=5)})

    def label(as_of: date) -> list[bool]:
        tick = shop.pipeline.schedule.tick(as_of)
        found = features.labels(shop.pipeline, shop.pipeline.schedule.range(TICK), tick, shop.platform).to_pylist()
        return [row["label"] for row in found if row["customer"] == 1]

    assert [label(TICK + timedelta(days=n)) for n in (3, 4, 5)] == [[False], [False], [True]]


def test_an_outcome_that_no_sum_can_hold_gives_no_label_to_its_key_alone_and_is_told(feature_shop: Shop, caplog) -> None:
    shop = with_population(feature_shop)
    label = ml.Outcome("payments", {"customer": "customer"}, ml.Sum("amount"), within=ml.days(2))
    object.__setattr__(shop.pipeline, "label", label)  # numbers are labels of regressions
    others = [payment(n, datetime(2013, 6, n, 9, tzinfo=UTC), 9) for n in range(1, 20)]
    before = payment(100, STARTS - ml.hours(1), 1)
    shop.holds(payments=[*others, before, payment(101, STARTS + ml.hours(5), 1, float("inf"))])
    tick = shop.pipeline.schedule.tick(LAST)
    known = features.known_labels(shop.pipeline, shop.pipeline.schedule.range(TICK), tick, shop.platform)
    assert known.failed.to_pylist() == [{"customer": 1, "tick": TICK}]
    assert known.table.select(["customer", "label"]).to_pylist() == [{"customer": 9, "label": 2.0}]
    assert features.labels(shop.pipeline, shop.pipeline.schedule.range(TICK), tick, shop.platform).equals(known.table)
    assert "is infinite for 1 rows" in caplog.text


OUTCOMES = {
    "any": ml.Any(),
    "any big": ml.Any(where="amount > 3"),
    "count": ml.Count(),
    "count small": ml.Count(where="amount <= 3"),
    "sum": ml.Sum("amount"),
    "sum of pieces": ml.Sum("pieces", where="product = 'tea'"),
}


def random_payments(seed: int) -> list[tuple[Any, ...]]:
    """Payments of twelve customers, some on whole hours, so that moments meet the ticks'."""
    random = np.random.default_rng(seed)
    rows = []
    for n in range(300):
        paid = datetime(2013, 5, 31, 8, tzinfo=UTC) + timedelta(hours=int(random.integers(0, 20 * 24)))
        paid += timedelta(microseconds=int(random.choice([0, 0, 1, -1])))
        customer = None if random.random() < 0.05 else int(random.integers(0, 12))
        amount = None if random.random() < 0.1 else float(np.round(random.exponential(4), 3))
        rows.append(
            (str(n), paid, customer, str(random.choice(["tea", "milk"])), amount, int(random.integers(0, 5)), None, None)
        )
    return rows


def in_pandas(payments: pd.DataFrame, of: Any) -> Any:
    """The outcome of the payments in one window."""
    where = getattr(of, "where", "")
    if where:
        payments = payments.query(where.replace(" = ", " == "))
    if isinstance(of, ml.Any):
        return len(payments) > 0
    return float(len(payments)) if isinstance(of, ml.Count) else float(payments[of.column].sum())


@pytest.mark.parametrize("of", OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.parametrize("known_after", [timedelta(0), ml.hours(5)], ids=["at once", "later"])
@pytest.mark.parametrize("within", [None, ml.days(2)], ids=["for ever", "two days"])
def test_rows_and_outcomes_are_those_of_pandas(of: Any, known_after: timedelta, within: timedelta | None, feature_shop) -> None:
    shop = with_population(feature_shop, known_after, within=within)
    shop.pipeline = replace(
        shop.pipeline, label=ml.Outcome("payments", {"customer": "customer"}, ml.Any(), within=ml.hours(60))
    )
    label = ml.Outcome("payments", {"customer": "customer"}, of, within=ml.hours(60))
    object.__setattr__(shop.pipeline, "label", label)  # numbers are labels of regressions
    rows = random_payments(3)
    shop.holds(payments=rows)
    payments = pd.DataFrame(rows, columns=[c.name for c in shop.pipeline.table("payments").columns])
    schedule, as_of = shop.pipeline.schedule, shop.pipeline.schedule.tick(LAST)
    ticks = schedule.range(FIRST, LAST)
    expected, complete = [], []
    for tick in ticks:
        known = payments[payments["paid_at"] + known_after < tick.start].dropna(subset=["customer"])
        newest = known.groupby("customer")["paid_at"].max() + known_after
        keys = sorted(int(key) for key, at in newest.items() if within is None or at >= tick.start - within)
        expected += [(tick.name, key) for key in keys]
        if tick.start + ml.hours(60) + known_after <= as_of.start:
            end = tick.start + ml.hours(60)
            later = payments[(payments["paid_at"] >= tick.start) & (payments["paid_at"] < end)]
            complete += [(tick.name, key, in_pandas(later[later["customer"] == key], of)) for key in keys]
    made = features.build(shop.pipeline, ticks, shop.platform).table
    assert list(zip(made["tick"].to_pylist(), made["customer"].to_pylist(), strict=True)) == expected
    found = features.labels(shop.pipeline, ticks, as_of, shop.platform)
    got = list(zip(*(found[name].to_pylist() for name in ("tick", "customer", "label")), strict=True))
    assert [row[:2] for row in got] == [row[:2] for row in complete]
    assert [row[2] for row in got] == pytest.approx([row[2] for row in complete], abs=1e-9)
    assert {row[2] for row in complete} >= ({True, False} if isinstance(of, ml.Any) else {0.0})
    waits = timedelta(hours=60) + known_after
    assert all(
        k == schedule.tick(t).start + waits
        for t, k in zip(found["tick"].to_pylist(), found["label_known_at"].to_pylist(), strict=True)
    )


CLASSES = {
    "last": ml.Last("product"),
    "first": ml.First("product"),
    "last of the dear": ml.Last("product", where="amount > 3"),
    "whole number": ml.Last("pieces"),
}


@pytest.mark.parametrize("otherwise", ["", "nothing"])
@pytest.mark.parametrize("of", CLASSES.values(), ids=CLASSES)
def test_the_class_of_the_first_or_last_event_is_that_of_pandas(of: Any, otherwise: str, feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    outcome = ml.Outcome("payments", {"customer": "customer"}, of, within=ml.hours(60), otherwise=otherwise)
    several = {"task": "multiclass", "label": outcome, "value": ml.ClassValue(), "fallback": ml.ShareTable(by=("weekday",))}
    shop.pipeline = replace(shop.pipeline, **several, gates=GATES, kpi=KPI)
    rows = random_payments(5)
    shop.holds(payments=rows)
    payments = pd.DataFrame(rows, columns=[c.name for c in shop.pipeline.table("payments").columns])
    payments = payments.sort_values([payments.columns[0]], kind="stable").sort_values("paid_at", kind="stable")
    if of.where:
        payments = payments.query("amount > 3")
    schedule, as_of = shop.pipeline.schedule, shop.pipeline.schedule.tick(LAST)
    made = features.build(shop.pipeline, schedule.range(FIRST, LAST), shop.platform).table
    expected = {}
    for tick, key in zip(made["tick"].to_pylist(), made["customer"].to_pylist(), strict=True):
        start = schedule.tick(tick).start
        if start + ml.hours(60) <= as_of.start:
            inside = payments[(payments.paid_at >= start) & (payments.paid_at < start + ml.hours(60))]
            values = inside[inside.customer == key][of.column].dropna().tolist()
            if values or otherwise:
                expected[tick, key] = str(values[0 if isinstance(of, ml.First) else -1]) if values else otherwise
    found = features.labels(shop.pipeline, schedule.range(FIRST, LAST), as_of, shop.platform)
    assert len(expected) > 40
    assert (
        dict(
            zip(
                zip(found["tick"].to_pylist(), found["customer"].to_pylist(), strict=True),
                found["label"].to_pylist(),
                strict=True,
            )
        )
        == expected
    )


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ({"of": ml.Last("amount")}, "Last of 'amount' needs a text or a whole number that is not personal"),
        ({"of": ml.Last("colour")}, "Last of 'colour': 'payments' has"),
        ({"of": ml.Last("product"), "classes": ("tea",)}, "classes has only 'tea': declare at least two"),
        ({"of": ml.Last("product"), "classes": ("tea", "milk"), "otherwise": "none"}, "otherwise 'none' is no class; classes"),
        (
            {"of": ml.Any(), "otherwise": "none"},
            "Any is a condition that is true or false, and task 'multiclass' does not predict",
        ),
    ],
    ids=["number", "no column", "one class", "otherwise", "yes or no"],
)
def test_a_class_of_events_that_cannot_be_is_refused(outcome: dict[str, Any], said: str, feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    given: dict[str, Any] = {"table": "payments", "by": {"customer": "customer"}, "within": ml.days(2)}
    several = {"task": "multiclass", "value": ml.ClassValue(), "fallback": ml.ShareTable(by=("weekday",))}
    with pytest.raises(ValueError, match=said):
        replace(shop.pipeline, label=ml.Outcome(**given | outcome), **several, gates=GATES, kpi=KPI)


def test_a_window_with_a_missing_partition_has_no_label_and_one_published_without_rows_has(feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    shop.holds(payments=[payment(n, STARTS + timedelta(days=day), 1) for n, day in enumerate([-1, 0, 1, 3, 4, 5])])
    schedule = shop.pipeline.schedule
    missing = TICK + timedelta(days=3)  # nothing was paid in the two days before it

    def labelled() -> list[date]:
        found = features.labels(shop.pipeline, schedule.range(TICK, LAST), schedule.tick(LAST), shop.platform)
        return [day for day in found["tick"].to_pylist() if day <= missing]

    assert missing not in shop.platform.lake.ticks("shop/raw/payments")
    assert labelled() == [TICK, missing]
    at = STARTS
    shop.platform.ledger.put(
        Publication(pipeline="shop", table_name="payments", tick=missing, rows=0, delta_version=0, at=at, first_at=at)
    )
    assert labelled() == [TICK, TICK + timedelta(days=1), TICK + timedelta(days=2), missing]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seen_in": "nowhere"}, "seen_in 'nowhere' is not a declared table"),
        ({"seen_in": "orders"}, "seen_in 'orders' must have a `time` and no ticks_ahead"),
        ({"seen_in": "customers"}, "seen_in 'customers' must have a `time`"),
        ({"by": ()}, "by names no column"),
        ({"by": ("refund",)}, "by 'refund' may be neither dropped nor known later"),
        ({"by": ("who",)}, "by 'who' is not a column of 'payments'"),
        ({"within": timedelta(0)}, "within must be positive"),
        ({"where": "amount"}, "not a condition that is true or false"),
        ({"where": "refund > 0"}, "reads refund, which is known later than its row"),
    ],
    ids=["no table", "ahead", "reference", "no key", "late key", "no column", "nothing", "number", "late condition"],
)
def test_a_population_that_cannot_be_is_refused(changed: dict[str, Any], said: str, feature_shop: Shop) -> None:
    with pytest.raises(ValueError, match=said):
        with_population(feature_shop, **changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"table": "nowhere"}, "not a declared table"),
        ({"table": "orders"}, "must have a `time` and no ticks_ahead"),
        ({"by": {"who": "customer"}}, "'who' is not a column of 'buyers'"),
        ({"within": timedelta(0)}, "within must be positive"),
        ({"of": ml.Any(where="amount")}, "not a condition that is true or false"),
        ({"of": ml.Any(where="refund > 1")}, "known later than its row"),
    ],
    ids=["no table", "ahead", "no column", "nothing", "number", "late"],
)
def test_an_outcome_that_cannot_be_is_refused(changed: dict[str, Any], said: str, feature_shop: Shop) -> None:
    shop = with_population(feature_shop)
    given: dict[str, Any] = {"table": "payments", "by": {"customer": "customer"}, "of": ml.Any(), "within": ml.days(2)}
    with pytest.raises(ValueError, match=said):
        replace(shop.pipeline, label=ml.Outcome(**given | changed))
