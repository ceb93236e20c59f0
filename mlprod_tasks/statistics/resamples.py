"""What intervals draw: rows, or runs of neighbouring ticks, because rows of one tick, and neighbouring ticks, are alike.

Circular blocks (Politis and Romano, in Exploring the Limits of Bootstrap, 1992): a resample is made of runs of neighbouring
ticks, as long as the series, the last tick followed by the first. A block of one tick is the cluster bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ticks = NDArray[np.int64]  # the place of each row's tick in order of time, (n,), from 0 on, none left out

COVERAGE = 0.95
CELLS_AT_ONCE = 250_000  # of the matrix of weights: several times faster if it fits into a core's cache
FEWEST_TICKS = 10  # with fewer, how much ticks differ is not known well enough, so that rows are drawn


def enough_ticks(places: NDArray) -> Ticks | None:
    """Return the place of each row's tick among those that occur, (n,); None for fewer than FEWEST_TICKS.

    places: of all ticks, in order of time, (n,).
    """
    known, among = np.unique(places, return_inverse=True)
    return np.asarray(among, np.int64) if len(known) >= FEWEST_TICKS else None


def number_of(ticks: Ticks) -> int:
    """Return how many ticks there are."""
    return int(ticks.max()) + 1


def block_length(ticks: int) -> int:
    """Return how many neighbouring ticks are drawn together: the cube root of their number.

    At this rate the variance of a mean is estimated best (Hall, Horowitz and Jing, Biometrika 82, 1995).
    """
    return max(1, round(math.cbrt(ticks)))


def drawn_ticks(ticks: int, block: int, resamples: int, seed: int) -> Floats:
    """Return how often each tick is in each resample, (resamples, ticks). block: ticks that are drawn together."""
    length = min(block, ticks)
    blocks = ceil(ticks / length)
    starts = np.random.default_rng(seed).integers(0, ticks, (resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :ticks] % ticks
    counts = np.zeros((resamples, ticks))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    return counts


def drawn_weights(rows: int, resamples: int, seed: int, ticks: Ticks | None = None) -> Iterator[Floats]:
    """Yield how often each row is drawn in each resample, (some resamples, rows), some resamples at once.

    ticks: draw these instead of rows, each with all its rows, so that a resample has not quite as many.
    """
    at_once = max(1, CELLS_AT_ONCE // rows)
    if ticks is not None:
        n = number_of(ticks)
        counts = drawn_ticks(n, block_length(n), resamples, seed)
        for first in range(0, resamples, at_once):
            yield counts[first : first + at_once, ticks]
        return
    random = np.random.default_rng(seed)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        weights = np.empty((count, rows))
        for row in weights:
            row[:] = np.bincount(random.integers(0, rows, rows), minlength=rows)
        yield weights


@cache
def widening(ticks: int) -> float:
    """Return how many times as wide an interval is as resamples of ticks make it.

    Few blocks vary less than what they are drawn from, and how much they vary is itself uncertain: the factor is that of
    Student's interval over the normal one, with as many values as there are blocks (Hesterberg, The American Statistician 69,
    2015, section 5.3).
    """
    from scipy.special import ndtri, stdtrit

    blocks = ticks / block_length(ticks)
    tail = (1 + COVERAGE) / 2
    return float(stdtrit(blocks - 1, tail) / ndtri(tail)) * sqrt(blocks / (blocks - 1))


def error_of_sum(parts: Floats, ticks: Ticks) -> float:
    """Return the standard error of a sum over rows, to be multiplied by normal quantiles: that of resamples without end.

    parts: what each row adds to it, (n,), 0 in the sum, such as (value - mean) / n of a mean.
    """
    n = number_of(ticks)
    length = block_length(n)
    of_ticks = np.bincount(ticks, parts, minlength=n)
    cumulated = np.concatenate(([0.0], np.cumsum(np.concatenate((of_ticks, of_ticks[: length - 1])))))
    of_blocks = cumulated[length:] - cumulated[:-length]
    return widening(n) * sqrt(float(of_blocks @ of_blocks) / length)
