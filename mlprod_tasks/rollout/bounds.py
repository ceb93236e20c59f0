"""Bounds of means, shares and percentiles of rows in clusters, such as the rows of one entity or of one request."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics import intervals

Floats = NDArray[np.float64]
Codes = NDArray[np.uint64]
QUANTILE = 0.99


@dataclass(frozen=True)
class ClusteredMean:
    """A mean with its squared standard error, from independent clusters.

    clusters: their number.
    """

    value: float
    variance: float
    clusters: int


def mean_of(values: Floats, cluster: Codes) -> ClusteredMean:
    """The mean with its cluster-robust variance.

    If each row is a cluster, that is the usual s squared over n.

    values: (n,), from at least two clusters.
    """
    _, place = np.unique(cluster, return_inverse=True)
    value = float(values.mean())
    sums = np.bincount(place, weights=values - value)
    clusters = len(sums)
    return ClusteredMean(value, float((sums**2).sum()) / len(values) ** 2 * clusters / (clusters - 1), clusters)


def welch(ours: ClusteredMean, theirs: ClusteredMean, wrong: float) -> tuple[float, float]:
    """Bounds of the difference of two means, each exceeded with probability `wrong`.

    Welch, Biometrika 34 (1947), with Satterthwaite's degrees of freedom. scipy.stats.ttest_ind does not fit: it treats rows as
    independent, but here only clusters are.
    """
    from scipy.stats import t

    difference, variance = ours.value - theirs.value, ours.variance + theirs.variance
    if variance == 0:
        return difference, difference
    freedom = variance**2 / (ours.variance**2 / (ours.clusters - 1) + theirs.variance**2 / (theirs.clusters - 1))
    half = float(t.ppf(1 - wrong, freedom)) * sqrt(variance)
    return difference - half, difference + half


def wilson(successes: float, trials: float, wrong: float) -> tuple[float, float]:
    """Wilson's bounds of a share, each exceeded with probability `wrong`."""
    from scipy.stats import norm

    return intervals.wilson(successes, trials, float(norm.ppf(1 - wrong)))


def clopper_pearson(successes: float, trials: float, wrong: float) -> tuple[float, float]:
    """Exact bounds of a share (Clopper and Pearson, Biometrika 26, 1934).

    Each is exceeded with probability `wrong` at most, for any number of trials.

    Uses quantiles of the beta distribution: scipy.stats.binomtest takes whole numbers only, and the effective number of
    dependent rows is a fraction.
    """
    from scipy.stats import beta

    low = float(beta.ppf(wrong, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - wrong, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def percentile_bounds(values: Floats, worth: float, wrong: float, quantile: float = QUANTILE) -> tuple[float, float]:
    """Bounds of a percentile, each exceeded with probability `wrong` at most.

    They are 0 or infinity if rows are too few.

    worth: how many independent rows would tell as much.
    """
    from scipy.stats import binom

    n, ordered = max(1, int(worth)), np.sort(values)
    below, above = int(binom.ppf(wrong, n, quantile)), int(binom.ppf(1 - wrong, n, quantile)) + 1
    # The rank among n independent rows, scaled to all rows and rounded to the safe side.
    low = float(ordered[max(0, int(np.floor(below / n * len(ordered))) - 1)]) if below > 0 else 0.0
    high = float(ordered[min(len(ordered), int(np.ceil(above / n * len(ordered)))) - 1]) if above <= n else float("inf")
    return low, high
