"""Metrics that are quantiles of units: planned, and read out, beside numpy and scipy."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.plan_text import told
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import plan_for
from mlprod_tasks.platform import names
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"
LARGE = ml.UnitMetric("large", "coalesce(amount, 0)", "what one order in ten exceeds", of="quantile", quantile=0.9, unit="USD")


def declared(shop: Shop) -> Shop:
    return shop.declared(experiments=replace(shop.pipeline.experiments, metrics=(*shop.pipeline.experiments.metrics, LARGE)))


def test_a_quantile_is_read_out_as_numpy_and_the_bootstrap_find_it(never):
    shop = declared(never)
    run = experiments.get(shop.pipeline, "never", shop.platform)
    reading = read_out(shop.pipeline, run, shop.tick(END), shop.platform)
    (large,) = (one for one in reading.compared if one.metric == "large")
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    labels = features.labels(shop.pipeline, ticks, shop.tick(END), shop.platform).to_pandas()
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [tick.name for tick in ticks]).to_pandas()
    rows = rows.merge(labels[["order_id", "label"]].dropna(), on="order_id").assign(amount=lambda one: one["amount"].fillna(0))
    control, treated = (rows.loc[rows["variant"] == name, "amount"].to_numpy() for name in ("control", "champion@1.0"))
    assert (large.control, large.treated) == pytest.approx((np.quantile(control, 0.9), np.quantile(treated, 0.9)))
    oracle = stats.bootstrap(
        (control, treated), lambda a, b, axis: np.quantile(b, 0.9, axis=axis) - np.quantile(a, 0.9, axis=axis),
        n_resamples=2000, rng=np.random.default_rng(5), method="percentile", vectorized=True,
    )  # fmt: skip
    assert (large.high - large.low) / 2 == pytest.approx(1.96 * oracle.standard_error, rel=0.3)
    assert large.better is None


def test_a_quantile_is_planned_for_by_its_standard_error_and_told_as_one(shop):
    shop = declared(shop)
    planned = plan_for(shop.pipeline, Wanted("large", difference=40), ["champion@1.0"], shop.platform)
    assert planned.units <= planned.expected
    assert "quantile 0.9" in told(shop.pipeline, planned)
    extreme = replace(LARGE, quantile=0.9999)
    rare = shop.declared(experiments=ml.Experiments(metrics=(extreme,)))
    with pytest.raises(CannotPlan, match=r"units of .* are too few for that quantile"):
        plan_for(rare.pipeline, Wanted("large", difference=40), ["champion@1.0"], rare.platform)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (replace(LARGE, quantile=None), "`quantile` says which one"),
        (replace(LARGE, of="mean"), "`quantile` says which one"),
        (replace(LARGE, quantile=90.0), "must lie between 0 and 1"),
        (replace(LARGE, per="1"), "only a ratio has `per`"),
    ],
)
def test_a_quantile_that_makes_no_sense_is_refused_when_it_is_declared(metric, why):
    with pytest.raises(ValueError, match=why):
        replace(SHOP, experiments=ml.Experiments((metric,)))
