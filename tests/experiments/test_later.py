"""Metrics of what happens after a row was scored, in any declared table, against pandas over the raw rows."""

from dataclasses import replace
from datetime import date, timedelta

import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments.looks import complete_ticks
from mlprod_tasks.experiments.plan import Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import plan_for, start
from mlprod_tasks.platform import names
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop

FIRST, LAST = date(2024, 1, 25), date(2024, 1, 31)
BACK = ml.Outcome("returns", {"order_id": "order_id"}, ml.Any(where="returned"), within=ml.days(4))
SOON = ml.Outcome("returns", {"order_id": "order_id"}, ml.Count(), within=ml.days(1))
METRICS = (
    ml.UnitMetric("saved", "value", "what acting saved"),
    ml.UnitMetric("back", "later", "orders that came back", of="proportion", better="lower", later=BACK),
    ml.UnitMetric("kept", "CASE WHEN later THEN 0 ELSE amount END", "price of orders that were kept", later=BACK),
)


@pytest.fixture
def later(shop: Shop, scored) -> Shop:
    """The shop with an experiment whose week is scored."""
    shop = shop.declared(experiments=ml.Experiments(METRICS))
    planned = plan_for(shop.pipeline, Wanted("saved", 1.2), ["champion@1.0"], shop.platform)
    start(shop.pipeline, "later", planned, "Ann", "", shop.platform, starts=FIRST)
    scored(shop, FIRST, LAST)
    return shop


def run_of(shop: Shop):
    from mlprod_tasks.experiments import run

    return run.get(shop.pipeline, "later", shop.platform)


def came_back(shop: Shop) -> pd.DataFrame:
    """The scored orders with a label, and whether they came back within four days of their tick and were settled in one."""
    raw = shop.platform.lake.rows(
        names.raw(SHOP, "returns"), shop.pipeline.schedule.names(FIRST, date(2024, 2, 14))
    ).to_pandas()
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), shop.pipeline.schedule.names(FIRST, LAST)).to_pandas()
    rows = rows[rows["order_id"].isin(raw["order_id"])]
    settled = raw.set_index("order_id")
    back, soon = [], []
    for row in rows.itertuples():
        begins = shop.tick(str(row.tick)).start
        found = settled.loc[row.order_id]
        back.append(bool(found["returned"]) and begins <= found["settled_at"] < begins + timedelta(days=4))
        soon.append(int(begins <= found["settled_at"] < begins + timedelta(days=1)))
    return rows.assign(back=back, soon=soon)


def test_what_happens_later_is_what_pandas_finds(later: Shop) -> None:
    reading = read_out(later.pipeline, run_of(later), later.tick("2024-02-04"), later.platform)
    rows = came_back(later)
    assert reading.final, reading.sentence
    assert reading.units == rows.groupby("variant").size().to_dict()
    means = rows.groupby("variant")["back"].mean()
    assert 0 < means["control"] < 1
    back = next(one for one in reading.compared if one.metric == "back")
    assert (back.control, back.treated) == pytest.approx((means["control"], means["champion@1.0"]))
    kept = rows["amount"].where(~rows["back"], 0).fillna(0).groupby(rows["variant"]).mean()
    of_price = next(one for one in reading.compared if one.metric == "kept")
    assert (of_price.control, of_price.treated) == pytest.approx((kept["control"], kept["champion@1.0"]))


def test_a_verdict_waits_for_the_longest_metric(later: Shop) -> None:
    run = run_of(later)
    assert str(complete_ticks(later.pipeline, run, later.tick("2024-02-02"), later.platform).last) == "2024-01-29"
    early = read_out(later.pipeline, run, later.tick("2024-02-03"), later.platform)
    assert (early.verdict, early.last) == ("running", "2024-01-30")


def test_each_metric_reads_its_own_later(later: Shop) -> None:
    metrics = (*METRICS, ml.UnitMetric("soon", "later", "settled within a day", later=SOON))
    shop = later.declared(experiments=ml.Experiments(metrics))
    reading = read_out(shop.pipeline, run_of(shop), shop.tick("2024-02-04"), shop.platform)
    rows = came_back(later)
    compared = {one.metric: one.control for one in reading.compared}
    control = rows[rows["variant"] == "control"]
    assert compared["soon"] == pytest.approx(control["soon"].mean())
    assert compared["back"] == pytest.approx(control["back"].mean())
    assert control["soon"].mean() not in (0.0, 1.0, control["back"].mean())


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (replace(METRICS[0], sql="later"), "reads `later`, which is not declared"),
        (replace(METRICS[0], later=BACK), "its sql does not read `later`, which is declared"),
        (replace(METRICS[1], later=replace(BACK, table="refunds")), "not a declared table; declared are orders, returns"),
        (replace(METRICS[1], later=replace(BACK, within=timedelta(0))), "within must be positive"),
        (replace(METRICS[1], later=replace(BACK, by={"order": "order_id"})), "order"),
        (replace(METRICS[1], later=replace(BACK, of=ml.Last("order_id"))), "Last gives a class, and units are compared by"),
    ],
    ids=("not declared", "not read", "table", "window", "pair", "class"),
)
def test_what_cannot_be_read_later_is_refused(metric: ml.UnitMetric, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(SHOP, experiments=ml.Experiments((metric,)))
