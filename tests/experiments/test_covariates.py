"""Differences are adjusted for declared features of a unit's first row."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from mlprod_tasks import features
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import get
from mlprod_tasks.platform import names
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"


def test_what_features_explain_is_what_least_squares_finds(never):
    declared = replace(never.pipeline.experiments, covariates=("amount", "items"))
    shop: Shop = never.declared(experiments=declared)
    run = get(shop.pipeline, "never", shop.platform)
    reading = read_out(shop.pipeline, run, shop.tick(END), shop.platform)
    (saved,) = (one for one in reading.compared if one.metric == "saved")
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), list(ticks.names)).to_pandas()
    known = features.labels(shop.pipeline, ticks, shop.tick(END), shop.platform).to_pandas()[["order_id", "label"]].dropna()
    rows = rows.merge(known, on="order_id")
    costs = shop.pipeline.value
    paid = np.where(rows["label"].astype(bool), costs.true_positive, costs.false_positive)
    value, treated = np.where(rows["decision"].astype(bool), paid, 0.0), (rows["variant"] != "control").to_numpy(float)
    x = rows[["amount", "items"]].astype(float)
    design = np.column_stack([np.ones(len(rows)), treated, x.fillna(x.mean())])
    slopes = np.linalg.lstsq(design, value, rcond=None)[0]
    assert saved.better == pytest.approx(slopes[1])
    left = value - design @ slopes
    error = sum(left[treated == one].var(ddof=1) / (treated == one).sum() for one in (0, 1)) ** 0.5
    assert (saved.better_high - saved.better_low) / 2 == pytest.approx(1.96 * error, rel=0.01)
    assert saved.difference != pytest.approx(saved.better)
