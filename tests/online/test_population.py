"""Keys of a population on request: the features of the batch at the same moment, and plainly who is in it at any moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.features import OnlineFeatures
from mlprod_tasks.online.fields import RequestFields
from mlprod_tasks.online.fill import fill_online
from tests.support.late_rows import AGGREGATES, TICKS, random_late_shop

Shop = Any  # of conftest.py
CUSTOMER = {"customer": "customer"}
FAILS = "CAST(CASE WHEN pieces % 3 = 0 THEN 'x' ELSE '1' END AS INTEGER) = 1"  # it cannot be computed for every row


def population(pipeline: Pipeline, by: tuple[str, ...], within: timedelta | None, where: str = "") -> Pipeline:
    """The shop, scoring who paid lately instead of orders."""
    pairs = {one: one for one in by}
    return replace(
        pipeline,
        entity=ml.Population("payers", seen_in="payments", by=by, within=within, where=where),
        features=(
            ml.Expression("hour", "extract(hour FROM as_of AT TIME ZONE 'UTC')", "int", "of the moment"),
            ml.Expression("day", "extract(isodow FROM tick)", "int", "of the tick"),
            ml.Lookup("customers", CUSTOMER, {"country": "country"}),
            ml.Trailing("paid", "payments", pairs, (ml.hours(24), ml.days(7)), AGGREGATES),
            ml.Expression("often", "paid_count_1d / nullif(paid_count_7d, 0)", "float", "-"),
        ),
        label=ml.Outcome("payments", pairs, ml.Any(), within=ml.days(1)),
        predict_at=ml.AtTick(),
        fallback=ml.RateTable(by=("country",)),
        serving=ml.Serving(look_back=ml.days(5)),
    )


@pytest.mark.parametrize(
    ("by", "within", "where"),
    [
        (("customer",), ml.days(1), ""),
        (("customer", "product"), ml.hours(30), "amount > 100"),
        (("customer", "product"), None, "amount > 300"),
        (("customer",), ml.hours(12), FAILS),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(2))
def test_a_request_gets_the_batchs_features_and_is_in_the_population_when_pandas_says_so(
    shop: Shop, by: tuple[str, ...], within: timedelta | None, where: str, seed: int
) -> None:
    paid = random_late_shop(shop, seed)["payments"]
    shop.holds(customers=[(1, "CH"), (2, "DE")])
    pipeline = population(shop.pipeline, by, within, where)
    fill_online(pipeline, pipeline.schedule.tick(TICKS[-1]), shop.platform)
    rows = 0
    for tick in TICKS[-4:]:
        checked = compared(pipeline, pipeline.schedule.tick(tick), shop.platform)
        assert (checked.share, checked.differing, checked.unanswered) == (0.0, {}, ""), checked.examples
        rows += checked.rows
    assert rows > 4

    online, random = OnlineFeatures(pipeline, shop.platform.online_store), np.random.default_rng(seed)
    counted = {
        "": paid["amount"].notna(),
        "amount > 100": paid["amount"] > 100,
        "amount > 300": paid["amount"] > 300,
        FAILS: paid["pieces"] % 3 != 0,
    }[where]
    told: set[str] = set()
    for _ in range(150):
        seconds = int(random.integers(0, 4 * 86_400))
        moment = datetime(2013, 6, 7, 8, tzinfo=UTC) + timedelta(seconds=seconds - seconds % 3600)
        values = {"customer": int(random.integers(1, 6)), "product": str(random.choice(["tea", "milk", "salt"]))}
        key = {name: values[name] for name in by}
        of_key = np.logical_and.reduce([paid[name] == value for name, value in key.items()])
        there = (paid["paid_at"] < moment) & (paid["usable"].isna() | (paid["usable"] <= moment))
        lately = True if within is None else paid["paid_at"] >= moment - within
        found = online.row(key, moment)
        told.add(found.answer)
        assert (found.answer == "model") == bool((of_key & counted & there & lately).any()), (key, moment)
        if found.answer == "absent":
            assert found.reasons[0].startswith("not in payers: no row")
    assert told == {"model", "absent"}


def test_who_enters_and_leaves_does_so_at_the_microsecond(shop: Shop) -> None:
    known = datetime(2013, 6, 2, 9, tzinfo=UTC)
    shop.holds(payments=[("a", known, 1, "tea", 3.0, 1, None, None)], customers=[])
    pipeline = population(shop.pipeline, ("customer",), ml.days(2))
    fill_online(pipeline, pipeline.schedule.tick(TICKS[0]), shop.platform)
    online, tiny = OnlineFeatures(pipeline, shop.platform.online_store), timedelta(microseconds=1)
    moments = (known, known + tiny, known + ml.days(2), known + ml.days(2) + tiny)
    assert [online.row({"customer": 1}, one).answer for one in moments] == ["absent", "model", "model", "absent"]
    told = online.row({"customer": 2}, known + tiny)
    assert told.reasons == ("not in payers: no row of 'payments' became known in the 2 days before the moment",)
    values = dict(zip(pipeline.feature_names, told.values, strict=True))
    assert (values["paid_count_7d"], values["country"]) == (0, None), "what is known of it is logged"


def test_what_the_store_does_not_know_is_left_to_the_declared_policy(shop: Shop) -> None:
    pipeline = population(shop.pipeline, ("customer",), ml.days(2))
    moment = datetime(2013, 6, 5, 9, tzinfo=UTC)
    online = OnlineFeatures(pipeline, shop.platform.online_store)
    nothing = online.row({"customer": 1}, moment)
    assert nothing.answer == "fallback"
    assert "population payers" in nothing.missing
    shop.holds(payments=[("a", datetime(2013, 6, 2, 9, tzinfo=UTC), 1, "tea", 3.0, 1, None, None)], customers=[])
    fill_online(pipeline, pipeline.schedule.tick(TICKS[0]), shop.platform)
    for stale, answer in (("use", "absent"), ("default", "model"), ("fallback", "fallback"), ("refuse", "refuse")):
        old = OnlineFeatures(replace(pipeline, serving=ml.Serving(stale=stale)), shop.platform.online_store)
        late = old.row({"customer": 1}, moment)
        assert (late.answer, "population payers" in late.stale) == (answer, True), "it may have paid since the store was filled"


def test_a_request_names_the_key_and_nothing_else(shop: Shop) -> None:
    fields = RequestFields(population(shop.pipeline, ("customer", "product"), None))
    assert fields.json_schema()["required"] == ["customer", "product"]
    assert set(fields.json_schema()["properties"]) == {"customer", "product"}
    assert fields.read({"customer": 1, "product": "tea"}) == ({"customer": 1, "product": "tea"}, [])
    wrong = [
        ({"customer": 1, "product": None}, ("product", "may not be null")),  # null in the table, but in no population
        ({"customer": 1}, ("product", "is required")),
        ({"customer": 1, "product": "tea", "as_of": "2013-06-05T09:00:00Z"}, ("as_of", "is not a field of this use case")),
    ]
    for given, problem in wrong:
        (found,) = fields.read(given)[1]
        assert (found.field, found.reason) == problem


def test_the_nightly_comparison_tells_of_a_row_that_only_batch_has(shop: Shop) -> None:
    known = datetime(2013, 6, 2, 9, tzinfo=UTC)
    shop.holds(payments=[("a", known, 1, "tea", 3.0, 1, None, None)], customers=[])
    pipeline = population(shop.pipeline, ("customer",), ml.days(2))
    tick = pipeline.schedule.tick(TICKS[0])
    fill_online(pipeline, tick, shop.platform)
    assert compared(pipeline, tick, shop.platform).share == 0.0
    shop.holds(payments=[("a", known, 1, "tea", 3.0, 1, None, None), ("b", known, 2, "tea", 3.0, 1, None, None)])
    assert features.build(pipeline, pipeline.schedule.range(tick.name), shop.platform).table.num_rows == 2
    checked = compared(pipeline, tick, shop.platform)
    assert (checked.rows, checked.share) == (2, 0.5)
    assert checked.differing["its place in the population"] == 1
