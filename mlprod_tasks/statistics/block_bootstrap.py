"""The ratio of two sums over ticks, with an interval from resamples of runs of neighbouring ticks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.metrics import Estimate
from mlprod_tasks.statistics.resamples import COVERAGE, drawn_ticks

Floats = NDArray[np.float64]

RESAMPLES = 2000


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
