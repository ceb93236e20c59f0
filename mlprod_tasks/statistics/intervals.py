"""Confidence intervals with COVERAGE. All assume that rows are independent of each other.

Rows of one tick are not quite independent (they share a day's weather, a day's customers), so values vary more from tick to
tick than these intervals say. The normal range of a tick is therefore learned from the reference's own ticks.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.auc_interval import Z
from mlprod_tasks.statistics.metrics import COVERAGE

Floats = NDArray[np.float64]
Interval = tuple[float, float]

MOST_EXACT = 1000  # trials of which the distribution of successes is computed and not approximated


def wilson(successes: float, trials: float, z: float = Z) -> Interval:
    """Interval of a share, z standard errors each way (Wilson, JASA 22, 1927). Raises: ValueError without trials.

    The formula itself and not scipy.stats.binomtest, which gives the same: that takes whole numbers only, but rows that depend
    on each other count as a fraction of their number. It also takes 0.6 ms instead of 1 us, after an import of 0.7 s.
    """
    if trials <= 0:
        raise ValueError(f"{successes} of {trials} is no share")
    share = successes / trials
    scale = 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / scale
    # For none and all of the trials the bound is exactly 0 or 1; the formula would round.
    return (0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == trials else min(1.0, middle + half))


def of_mean(values: Floats) -> Interval:
    """Interval of the mean of the population that `values` sample, by the central limit theorem. values: (n,), n >= 2."""
    return normal(float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values)))


def normal(value: float, error: float, low: float = -np.inf, high: float = np.inf, z: float = Z) -> Interval:
    """Value +- z standard errors, cut to [low, high]."""
    return max(low, value - z * error), min(high, value + z * error)


def successes(chances: Floats) -> Interval:
    """Interval of the number of successes of independent trials with their own chances (Poisson binomial).

    Exact for up to MOST_EXACT trials, and then of at least COVERAGE, for the number is whole; normal beyond.
    """
    from scipy.stats import poisson_binom

    if len(chances) > MOST_EXACT:
        mean, variance = float(chances.sum()), float((chances * (1 - chances)).sum())
        return normal(mean, sqrt(variance), 0.0, float(len(chances)))
    if not len(chances):
        return 0.0, 0.0
    # Its own quantiles fail for more than 62 chances (scipy 1.17), its distribution does not: 18 ms for 1,000.
    below = poisson_binom.cdf(np.arange(len(chances) + 1), chances)
    tail = (1 - COVERAGE) / 2
    return float(np.searchsorted(below, tail)), min(float(np.searchsorted(below, 1 - tail)), float(len(chances)))


def of_rank_correlation(correlation: float, n: int) -> Interval:
    """Interval of Spearman's correlation of n pairs.

    Fisher's z with the variance of Bonett and Wright (Psychometrika 65, 2000). (-1, 1) for fewer than four pairs.
    """
    if n < 4:
        return -1.0, 1.0
    inside = float(np.clip(correlation, -1 + 1e-9, 1 - 1e-9))
    low, high = normal(float(np.arctanh(inside)), sqrt((1 + inside**2 / 2) / (n - 3)))
    return float(np.tanh(low)), float(np.tanh(high))
