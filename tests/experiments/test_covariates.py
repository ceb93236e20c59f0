"""Differences are adjusted for declared features of a unit's first row."""

from dataclasses import replace
from datetime import date
from math import ceil, sqrt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks import features
from mlprod_tasks.experiments.compare import Compared, Looked
from mlprod_tasks.experiments.plan import Plan, Wanted
from mlprod_tasks.experiments.plan_text import told
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import get, plan_for
from mlprod_tasks.experiments.verdict import ALIKE, BETTER, decide
from mlprod_tasks.platform import names
from mlprod_tasks.statistics.sample_size import units_for_means
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"
WANTED, NEVER = Wanted("saved", difference=1.2), "champion@1.0"


def test_what_features_explain_is_what_least_squares_finds(never):
    declared = replace(never.pipeline.experiments, covariates=("amount", "items"))
    shop: Shop = never.declared(experiments=declared)
    run = get(shop.pipeline, "never", shop.platform)
    reading = read_out(shop.pipeline, run, shop.tick(END), shop.platform)
    (saved,) = (one for one in reading.compared if one.metric == "saved")
    rows, value = worth(shop, FIRST, LAST)
    treated = (rows["variant"] != "control").to_numpy(float)
    x = rows[["amount", "items"]].astype(float)
    design = np.column_stack([np.ones(len(rows)), treated, x.fillna(x.mean())])
    slopes = np.linalg.lstsq(design, value, rcond=None)[0]
    assert saved.better == pytest.approx(slopes[1])
    left = value - design @ slopes
    error = sum(left[treated == one].var(ddof=1) / (treated == one).sum() for one in (0, 1)) ** 0.5
    assert (saved.better_high - saved.better_low) / 2 == pytest.approx(1.96 * error, rel=0.01)
    assert saved.difference != pytest.approx(saved.better)


def worth(shop: Shop, first: date, last: date) -> tuple[pd.DataFrame, np.ndarray]:
    """Scored rows with a known outcome, and what was saved by each, in plain pandas."""
    ticks = shop.pipeline.schedule.range(first, last)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), list(ticks.names)).to_pandas()
    known = features.labels(shop.pipeline, ticks, shop.tick(END), shop.platform).to_pandas()[["order_id", "label"]].dropna()
    rows, costs = rows.merge(known, on="order_id"), shop.pipeline.value
    paid = np.where(rows["label"].astype(bool), costs.true_positive, costs.false_positive)
    return rows, np.where(rows["decision"].astype(bool), paid, 0.0)


def test_covariates_are_a_part_of_the_plan(shop):
    plain = plan_for(shop.pipeline, WANTED, [NEVER], shop.platform)
    declared = shop.declared(experiments=replace(shop.pipeline.experiments, covariates=("amount", "items")))
    planned = plan_for(declared.pipeline, WANTED, [NEVER], declared.platform)
    rows, value = worth(declared, planned.usual.first, planned.usual.last)
    x = rows[["amount", "items"]].astype(float)
    design = np.column_stack([np.ones(len(rows)), x.fillna(x.mean())])
    left = value - design @ np.linalg.lstsq(design, value, rcond=None)[0]
    assert planned.usual.explained == pytest.approx(1 - left.var() / value.var())
    assert planned.units == ceil(units_for_means(WANTED.difference, left.std(ddof=1), alpha=0.05, power=0.8))
    assert planned.units < planned.unadjusted.units == plain.units
    assert planned.unadjusted.periods == plain.periods
    assert planned.seen == pytest.approx(plain.seen * sqrt(1 - planned.usual.explained), rel=1e-3)
    assert Plan.from_json(planned.as_json()) == planned
    words = told(declared.pipeline, planned)
    assert f"given amount, items, which explain {planned.usual.explained:.1%} of the variance" in words
    assert f"without them: {plain.units:,} units" in words


def test_with_covariates_in_the_plan_the_adjusted_difference_decides(shop):
    declared = shop.declared(experiments=replace(shop.pipeline.experiments, covariates=("amount",)))
    planned = plan_for(declared.pipeline, WANTED, [NEVER], declared.platform)
    primary = declared.pipeline.experiments.metric("saved")
    noisy = Compared("saved", NEVER, 5.0, 5.4, 0.4, -0.2, 1.0, 0.08, 0.2, 0.5, 0.2, 0.8, 0.75, None, 0.001)
    units = {one.name: 1000 for one in planned.variants}
    decided = decide(declared.pipeline, planned, primary, [noisy], (), Looked(None, True), units)
    assert (decided.verdict, decided.variant) == (BETTER, NEVER)
    assert decided.sentence.endswith("difference 0.5 [0.2, 0.8], given amount")
    raw = decide(declared.pipeline, replace(planned, covariates=()), primary, [noisy], (), Looked(None, True), units)
    assert raw.verdict == ALIKE


def test_variants_that_are_told_apart_by_a_covariate_void_the_verdict(never):
    """As a split by what units are, and not by chance: units that come once have no past that would tell."""
    shop: Shop = never.declared(experiments=replace(never.pipeline.experiments, covariates=("amount", "items")))
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), list(ticks.names))
    amount = rows["amount"].to_numpy()
    split = pa.array(np.where(amount > np.nanmedian(amount), "champion@1.0", "control"))
    changed = rows.set_column(rows.column_names.index("variant"), "variant", split)
    shop.platform.lake.replace_ticks(names.predictions(shop.pipeline), ticks, changed)
    reading = read_out(shop.pipeline, get(shop.pipeline, "never", shop.platform), shop.tick(END), shop.platform)
    assert reading.verdict == "void"
    assert "units of champion@1.0 differ from the control in covariate 'amount' (< 0.001)" in reading.sentence
    assert "'items'" not in reading.sentence
