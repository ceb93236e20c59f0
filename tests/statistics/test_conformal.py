"""Split conformal intervals: ranks by hand, and the share that they hold on data of which it is known."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics import conformal


@pytest.mark.parametrize(
    ("rows", "coverage", "low", "high"),
    [(19, 0.9, 1, 19), (99, 0.9, 5, 95), (100, 0.9, 5, 96), (39, 0.95, 1, 39), (999, 0.8, 100, 900), (3, 0.5, 1, 3)],
    ids=lambda one: str(one),
)
def test_each_end_is_the_residual_of_its_rank(rows, coverage, low, high):
    residual = np.random.default_rng(rows).permutation(np.arange(1.0, rows + 1))
    assert conformal.offsets(residual, coverage) == (low, high)


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
