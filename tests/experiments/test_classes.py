"""An experiment on a use case whose predictions are classes: a hold-out, in batch and on request."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import plan_for, start
from mlprod_tasks.platform import names
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.run import build_service
from tests.experiments.conftest import publish
from tests.support.clock import SetClock
from tests.support.reason_shop import reason_shop
from tests.support.service import orders_of, post
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"
METRICS = (
    ml.UnitMetric("worth", "value", "what predictions were worth", unit="CHF"),
    ml.UnitMetric("right", "prediction = outcome", "orders predicted right", of="proportion"),
)


@pytest.fixture
def reasons(filled_home, tmp_path) -> Shop:
    """The shop of classes with a champion and two weeks of scored orders; it is noon of 2024-01-24."""
    shop = reason_shop(filled_home, tmp_path).declared(experiments=ml.Experiments(METRICS))
    assert shop.promoted("one").moved
    publish(shop, *shop.pipeline.schedule.names(date(2024, 1, 1), date(2024, 2, 14)))
    shop = replace(shop, platform=replace(shop.platform, clock=SetClock(datetime(2024, 1, 24, 12, tzinfo=UTC))))
    for tick in shop.pipeline.schedule.range("2024-01-15", "2024-01-21"):
        score(shop.pipeline, tick, shop.platform)
    return shop


def test_what_classes_are_worth_is_compared_with_a_hold_out_as_pandas_finds_it(reasons):
    with pytest.raises(CannotPlan, match="only a yes or no is decided from a score"):
        plan_for(reasons.pipeline, Wanted("worth", 2.0), ["champion@0.5"], reasons.platform)
    planned = plan_for(reasons.pipeline, Wanted("worth", 2.0), ["fallback"], reasons.platform)
    run = start(reasons.pipeline, "held", planned, "Ann", "", reasons.platform)
    for tick in reasons.pipeline.schedule.range(FIRST, LAST):
        score(reasons.pipeline, tick, reasons.platform)
    reading = read_out(reasons.pipeline, run, reasons.tick(END), reasons.platform)
    assert reading.problems == (), reading.sentence
    ticks = reasons.pipeline.schedule.range(FIRST, LAST)
    labels = features.labels(reasons.pipeline, ticks, reasons.tick(END), reasons.platform).to_pandas()
    rows = reasons.platform.lake.rows(names.predictions(reasons.pipeline), [tick.name for tick in ticks]).to_pandas()
    rows = rows.merge(labels[["order_id", "label"]].dropna(), on="order_id")
    rows["right"] = (rows["prediction"] == rows["label"]).astype(float)
    shares = rows.groupby("variant")["right"].mean()
    right = next(one for one in reading.compared if one.metric == "right")
    assert (right.control, right.treated) == pytest.approx((shares["control"], shares["fallback"]))
    assert right.control > right.treated

    reasons.platform.clock.at = reasons.tick("2024-01-25").start + timedelta(minutes=1)
    service = build_service(reasons.platform, {"returns": reasons.pipeline}, keys_needed=False)
    sent, _ = orders_of(reasons, "2024-01-25")
    told = post(service, {"rows": sent}).json()["rows"]
    batch = rows.set_index("order_id")
    same = [one for one in told if one["key"]["order_id"] in batch.index]
    assert len(same) > 100
    for one in same:
        stored = batch.loc[one["key"]["order_id"]]
        assert (one["route"] == "fallback", one["prediction"]) == (stored["variant"] == "fallback", stored["prediction"])
