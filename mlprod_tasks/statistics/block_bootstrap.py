"""Resamples of ticks instead of rows, because rows of one tick, and neighbouring ticks, are alike.

Circular blocks (Politis and Romano, in Exploring the Limits of Bootstrap, 1992): a resample is made of runs of neighbouring
ticks, as long as the series, the last tick followed by the first. A block of one tick is the cluster bootstrap.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.metrics import COVERAGE, Estimate

Floats = NDArray[np.float64]

RESAMPLES = 2000


def drawn_ticks(ticks: int, block: int, resamples: int, seed: int) -> Floats:
    """Return how often each tick is in each resample, (resamples, ticks). block: ticks that are drawn together."""
    length = min(block, ticks)
    blocks = ceil(ticks / length)
    starts = np.random.default_rng(seed).integers(0, ticks, (resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :ticks] % ticks
    counts = np.zeros((resamples, ticks))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    return counts


def ratio(
    numerator: Floats, denominator: Floats, block: int, resamples: int = RESAMPLES, seed: int = 0, coverage: float = COVERAGE
) -> Estimate:
    """Return the ratio of two sums over ticks, with its percentile interval.

    numerator, denominator: of each tick in order of time, (ticks,). Resamples whose denominator is 0 are left out; NaN if that
    of all ticks is 0.
    """
    total = float(denominator.sum())
    if not total:
        return Estimate(np.nan, np.nan, np.nan)
    counts = drawn_ticks(len(numerator), block, resamples, seed)
    below = counts @ denominator
    drawn = (counts @ numerator)[below > 0] / below[below > 0]
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Estimate(float(numerator.sum()) / total, float(low), float(high))
