"""Confidence intervals with COVERAGE, for independent rows unless they are told the rows' ticks.

Rows of one tick are not fully independent (they share the day's weather and customers), so values vary more from tick to tick
than the intervals of rows say. The normal range of a tick is therefore learned from the ticks of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.auc_interval import NORMAL, Z
from mlprod_tasks.statistics.metrics import Difference, Estimate
from mlprod_tasks.statistics.resamples import COVERAGE, Ticks, error_of_sum

Floats = NDArray[np.float64]
Interval = tuple[float, float]

MOST_EXACT = 1000  # up to so many trials the distribution of successes is exact, not approximated


def wilson(successes: float, trials: float, z: float = Z) -> Interval:
    """Return the interval of a share, z standard errors each way. Raises: ValueError.

    Wilson, JASA 22 (1927). ValueError without trials.
    scipy.stats.binomtest gives the same, but only for whole numbers, and dependent rows count as a fraction of their number.
    It also takes 0.6 ms instead of 1 us, after an import of 0.7 s.
    """
    if trials <= 0:
        raise ValueError(f"{successes} of {trials} is not a share")
    share = successes / trials
    scale = 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / scale
    # With no or only successes the bound is exactly 0 or 1; the formula would round.
    return (0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == trials else min(1.0, middle + half))


def of_mean(values: Floats) -> Interval:
    """Return the interval of the population mean, by the central limit theorem.

    values: a sample, (n,), n >= 2.
    """
    return normal(float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values)))


def mean_estimate(values: Floats, ticks: Ticks | None = None) -> Estimate:
    """Return the mean with its normal interval; NaN ends for a single value. ticks: of each value, if these are the sample."""
    mean, n = float(values.mean()), len(values)
    if ticks is None:
        error = float(values.std(ddof=1)) / sqrt(n) if n > 1 else nan
    else:
        error = error_of_sum((values - mean) / n, ticks)
    return Estimate(mean, mean - Z * error, mean + Z * error)


def normal(value: float, error: float, low: float = -np.inf, high: float = np.inf, z: float = Z) -> Interval:
    """Return value +- z standard errors, cut to [low, high]."""
    return max(low, value - z * error), min(high, value + z * error)


def mean_of_differences(parts: Sequence[Difference], overlapping: int = 1) -> Difference:
    """Return the mean of differences, with its interval and two-sided p-value.

    The variance of a sum of independent estimates is the sum of their variances; each follows from the width of the estimate's
    own interval, taken as normal. overlapping: parts that are so many places apart share no rows; 1 if none do. The standard
    error of all is at most the sum of those of such independent parts. NaN if one of the parts has no value.
    """
    values, widths = [one.value for one in parts], [one.high - one.low for one in parts]
    value = float(np.mean(values))
    independent = (widths[first::overlapping] for first in range(overlapping))
    error = sum(sqrt(sum((width / (2 * Z)) ** 2 for width in some)) for some in independent) / len(parts)
    if np.isnan(value) or np.isnan(error):
        return Difference(value, nan, nan, nan)
    if error == 0:
        return Difference(value, value, value, 1.0 if abs(value) < 1e-12 else 0.0)
    return Difference(value, *normal(value, error), 2 * NORMAL.cdf(-abs(value) / error))


def successes(chances: Floats) -> Interval:
    """Return the interval of the number of successes of independent trials.

    chances: the probability of each, so the number is Poisson binomial.
    Exact for up to MOST_EXACT trials, with at least COVERAGE, as the number is whole; a normal approximation for more.
    """
    from scipy.stats import poisson_binom

    if len(chances) > MOST_EXACT:
        mean, variance = float(chances.sum()), float((chances * (1 - chances)).sum())
        return normal(mean, sqrt(variance), 0.0, float(len(chances)))
    if not len(chances):
        return 0.0, 0.0
    # scipy 1.17's quantiles fail for more than 62 trials; its distribution function does not, and takes 18 ms for 1,000.
    below = poisson_binom.cdf(np.arange(len(chances) + 1), chances)
    tail = (1 - COVERAGE) / 2
    return float(np.searchsorted(below, tail)), min(float(np.searchsorted(below, 1 - tail)), float(len(chances)))


def of_rank_correlation(correlation: float, n: int) -> Interval:
    """Return the interval of Spearman's correlation of n pairs.

    Fisher's z with the variance of Bonett and Wright (Psychometrika 65, 2000). (-1, 1) for fewer than four pairs.
    """
    if n < 4:
        return -1.0, 1.0
    inside = float(np.clip(correlation, -1 + 1e-9, 1 - 1e-9))
    low, high = normal(float(np.arctanh(inside)), sqrt((1 + inside**2 / 2) / (n - 3)))
    return float(np.tanh(low)), float(np.tanh(high))
