"""The quantile of a group of units, compared as a mean is: by its variance, which the order statistics around it tell."""

from __future__ import annotations

from math import nan, sqrt

from mlprod_tasks.statistics.treatment_effect import Moments

WIDTH = 1.96  # of the order statistics around a quantile, in its standard errors: an interval of 95 %


def neighbours(n: int, quantile: float) -> tuple[float, float] | None:
    """Return which quantiles of n units lie one interval below and above a quantile; None if there are too few units."""
    half = WIDTH * sqrt(quantile * (1 - quantile) / n)
    low, high = quantile - half, quantile + half
    return (low, high) if n > 1 and low > 0 and high < 1 else None


def moments_of_quantile(n: int, value: float, around: tuple[float, float] | None) -> Moments:
    """Return moments whose mean is the quantile, and whose variance over n is the square of its standard error.

    value: the quantile; around: the values at its `neighbours`. Their distance estimates the density there (Siddiqui, Journal
    of Research of the NBS 64B, 1960; Bloch and Gastwirth, Annals of Mathematical Statistics 39, 1968). The variance is nan if
    there are too few units.
    """
    error = nan if around is None else (around[1] - around[0]) / (2 * WIDTH)
    return Moments.of_one(n, value, n * error**2)
