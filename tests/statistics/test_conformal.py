"""Split conformal intervals: ranks by hand, MAPIE's, and the share that they hold on data of which it is known."""

import numpy as np
import pytest
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.regression import SplitConformalRegressor
from scipy import stats
from sklearn.linear_model import LinearRegression

from mlprod_tasks.statistics import conformal


@pytest.mark.parametrize(
    ("rows", "coverage", "low", "high"),
    [(19, 0.9, 1, 19), (99, 0.9, 5, 95), (100, 0.9, 5, 96), (39, 0.95, 1, 39), (999, 0.8, 100, 900), (3, 0.5, 1, 3)],
    ids=lambda one: str(one),
)
def test_each_end_is_the_residual_of_its_rank(rows, coverage, low, high):
    residual = np.random.default_rng(rows).permutation(np.arange(1.0, rows + 1))
    assert conformal.offsets(residual, coverage) == (low, high)


@pytest.mark.parametrize(
    ("rows", "coverage"), [(57, 0.9), (99, 0.9), (100, 0.9), (141, 0.95), (999, 0.8)], ids=lambda one: str(one)
)
def test_both_ends_are_those_of_mapie(rows, coverage):
    chance = np.random.default_rng(rows)
    x = chance.normal(size=(rows, 1))
    y = 3 * x[:, 0] + chance.gamma(1.0, size=rows)
    model = LinearRegression().fit(x[: rows // 2], y[: rows // 2])
    # A score with sign, each side with a quantile of its own.
    oracle = SplitConformalRegressor(model, coverage, conformity_score=AbsoluteConformityScore(sym=False), prefit=True)
    predicted, interval = oracle.conformalize(x, y).predict_interval(np.array([[0.5]]))
    low, high = conformal.offsets(y - model.predict(x), coverage)
    # MAPIE widens both ends by a tiny share, for rounding.
    assert interval[0, :, 0] - predicted == pytest.approx([low, high], abs=1e-6)


@pytest.mark.parametrize(("rows", "coverage", "needed"), [(18, 0.9, 19), (98, 0.98, 99), (0, 0.5, 3)], ids=("18", "98", "none"))
def test_too_few_rows_for_the_share_are_refused_with_how_many_it_takes(rows, coverage, needed):
    with pytest.raises(conformal.TooFewRows, match=f"needs at least {needed} rows, but there are {rows}"):
        conformal.offsets(np.arange(float(rows)), coverage)
    assert conformal.offsets(np.arange(float(needed)), coverage) == (0, needed - 1)


@pytest.mark.parametrize("draw", [stats.norm(2, 3), stats.gamma(0.7), stats.t(2)], ids=("normal", "skewed", "heavy tails"))
def test_a_further_row_is_within_its_interval_as_often_as_promised(draw):
    """Of exchangeable residuals without ties, the mean probability is exactly (high - low ranks) / (rows + 1)."""
    held = []
    for seed in range(2000):
        low, high = conformal.offsets(draw.rvs(99, random_state=seed), 0.9)
        held.append(draw.cdf(high) - draw.cdf(low))
    assert np.mean(held) == pytest.approx(0.9, abs=4 * np.std(held) / np.sqrt(2000))
