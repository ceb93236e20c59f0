"""Distances between two distributions, from counts in the same bins.

These are effect sizes, not p-values: with the row counts of production, every test rejects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlprod_tasks.statistics.bins import Bins, CountedColumn, Counts

PSEUDO_COUNT = 0.5


class NothingToCompare(ValueError):
    """Counts without any row, or in different bins."""


def psi(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the population stability index (Siddiqi, 2006).

    The sum over bins of (a - e) ln(a / e), a and e being shares. Half a row is added to every bin of both sides, so that an
    empty bin has a logarithm; at usual row counts this changes the index by less than its sampling error. expected, actual:
    (bins,) counts.
    """
    e, a = (_smoothed(counts) for counts in _as_counts(expected, actual))
    return float(np.sum((a - e) * np.log(a / e)))


def psi_noise(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the expected PSI of two samples of the same distribution.

    It is (bins - 1) (1 / n + 1 / m). Without drift, PSI / (1 / n + 1 / m) follows chi-squared with bins - 1 degrees of freedom
    (Yurdakul and Naranjo, 2020). Bins that are empty on both sides do not count.
    """
    e, a = _as_counts(expected, actual)
    used = int(np.count_nonzero(e + a))
    return (used - 1) * (1 / float(e.sum()) + 1 / float(a.sum()))


def corrected_psi(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the PSI minus its sampling noise, at least 0.

    Comparable between tick sizes.
    """
    return max(0.0, psi(expected, actual) - psi_noise(expected, actual))


def jensen_shannon_distance(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the square root of the Jensen-Shannon divergence in bits (Lin, 1991).

    0 for equal shares, 1 for disjoint ones.
    """
    e, a = (counts / counts.sum() for counts in _as_counts(expected, actual))
    middle = (e + a) / 2

    def divergence(p: NDArray[np.float64]) -> float:
        some = p > 0
        return float(np.sum(p[some] * np.log2(p[some] / middle[some])))

    return float(np.sqrt(max(0.0, (divergence(e) + divergence(a)) / 2)))


def wasserstein(expected: ArrayLike, actual: ArrayLike, borders: Sequence[float]) -> float:
    """Return the earth mover's distance in the column's unit.

    Rows are assumed to be spread evenly within bins. It differs from the exact distance of the rows by at most the sum over
    bins of width * max(e, a). expected, actual: (bins,) counts; borders: (bins + 1,), all finite, ascending.
    """
    e, a = _as_counts(expected, actual)
    if len(borders) != len(e) + 1:
        raise NothingToCompare(f"{len(e)} bins have {len(e) + 1} borders, not {len(borders)}")
    gap = np.concatenate(([0.0], np.cumsum(e / e.sum() - a / a.sum())))
    left, right, widths = gap[:-1], gap[1:], np.diff(np.asarray(borders, np.float64))
    # The area below |a line from left to right|: a trapezium, or two triangles if the line crosses zero.
    total = np.abs(left) + np.abs(right)
    crossing = left * right < 0
    triangles = (left**2 + right**2) / np.where(total > 0, 2 * total, 1.0)
    return float(np.sum(widths * np.where(crossing, triangles, total / 2)))


def wasserstein_of(bins: Bins, expected: Counts, actual: CountedColumn) -> float:
    """Return the earth mover's distance in the column's unit, without nulls and 'other'.

    Numbers: within the reference's range, rows are assumed to be spread evenly in their bin. This differs from the exact
    distance by at most the sum over bins of width * max(e, a), and by far less if both sides are similar within bins. Beyond
    the range, where the reference has no rows, it is exact. Integers that are categories: exact, except for values within the
    range that the reference does not have.

    expected: (len(bins),) counts.
    """
    if not bins.of_numbers:
        order = np.argsort([int(value) for value in bins.categories])
        at = np.asarray([int(bins.categories[k]) for k in order], np.float64)
        now = actual.counts[2:][order]
        now[0], now[-1] = now[0] + actual.below, now[-1] + actual.above
        e, a = _as_counts(expected[2:][order], now)
        apart = np.abs(np.cumsum(e / e.sum() - a / a.sum()))[:-1]
        return float(np.sum(apart * np.diff(at))) + actual.beyond / float(a.sum())
    # Rows beyond the range are first moved to its ends, as bins without width.
    ends = np.zeros(len(bins) - 2, np.int64)
    ends[0], ends[-1] = actual.below, actual.above
    now = np.concatenate([[actual.below], actual.counts[2:] - ends, [actual.above]])
    inside = wasserstein(np.concatenate([[0], expected[2:], [0]]), now, [bins.low, *borders(bins), bins.high])
    return inside + actual.beyond / float(now.sum())


def borders(bins: Bins) -> list[float]:
    """Return the borders of bins of numbers.

    The outer ones are the reference's minimum and maximum.
    """
    return [bins.low, *(min(max(edge, bins.low), bins.high) for edge in bins.edges), bins.high]


def _as_counts(expected: ArrayLike, actual: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    e, a = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if e.shape != a.shape or e.ndim != 1:
        raise NothingToCompare(f"counts of {e.shape} and {a.shape} bins cannot be compared")
    if e.sum() <= 0 or a.sum() <= 0:
        raise NothingToCompare("a distribution without rows cannot be compared")
    return e, a


def _smoothed(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    more = counts + PSEUDO_COUNT
    smoothed: NDArray[np.float64] = more / more.sum()
    return smoothed
