"""Prediction intervals by split conformal prediction.

Vovk, Gammerman and Shafer (2005); with separate quantiles for each side, as of a conformity score with sign.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class TooFewRows(ValueError):
    """There are too few rows to hold such a share of outcomes."""


def offsets(residual: Floats, coverage: float) -> tuple[float, float]:
    """Return what to add to a prediction for the low and the high end of its interval.

    residual: outcome minus prediction, (n,), of rows that the model was not fitted to. The interval holds the outcome of a
    further row with a probability of at least `coverage` if its residual is exchangeable with these: each side leaves out at
    most half of the rest. Raises: TooFewRows.
    """
    ends = _ranks(len(residual), coverage)
    if ends is None:
        raise TooFewRows(
            f"an interval that holds {coverage:g} of outcomes needs at least {fewest(coverage)} rows, but there are "
            f"{len(residual)}"
        )
    ordered = np.sort(residual)
    return float(ordered[ends[0] - 1]), float(ordered[ends[1] - 1])


def fewest(coverage: float) -> int:
    """Return the number of rows that an interval needs."""
    return ceil(round(2 / (1 - coverage), 9)) - 1


def _ranks(rows: int, coverage: float) -> tuple[int, int] | None:
    """The ranks of the residuals, from 1, at both ends; None if the rows do not reach so far."""
    tail = (1 - coverage) / 2
    # Rounded, so that 0.05 * 20 is 1 although it is not in floating point.
    low, high = floor(round((rows + 1) * tail, 9)), ceil(round((rows + 1) * (1 - tail), 9))
    return (low, high) if low >= 1 and high <= rows else None
