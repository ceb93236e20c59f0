"""Standard deviations and slopes over windows, from exact sums of products."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mlprod_tasks.features import exact_sums
from mlprod_tasks.features.exact_sums import LARGEST, Digits

# Slopes are of times since 2020-01-01, in microseconds, so that sums of their squares fit.
SINCE = 1_577_836_800_000_000
MICROSECONDS_PER_DAY = 86_400_000_000.0


def deviations(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> pa.Array:
    """The sample standard deviation of each window's values, from position low to before high.

    It is null for less than two values, and infinite over a value that no sum can hold.
    """
    x = exact_sums.rounded(values)
    n = high - low
    total, squares = (_sums(one, low, high) for one in (exact_sums.digits_of_values(x), exact_sums.digits_of_products(x, x)))
    found = exact_sums.spread(np.maximum(n, 2), total, squares, np.sqrt)
    return pa.array(np.where(_refused(values, low, high), np.inf, found), mask=n < 2)


def slopes(at: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> pa.Array:
    """The slope of each window's values over time, per day.

    It is null if all values are of the same moment, and infinite over a value that no sum can hold.
    """
    t, y = (at - SINCE).astype(np.float64), exact_sums.rounded(values)
    values_of = [exact_sums.digits_of_values(one) for one in (t, y)]
    products_of = [exact_sums.digits_of_products(t, one) for one in (t, y)]
    above, below = exact_sums.slope(high - low, *(_sums(digits, low, high) for digits in values_of + products_of))
    flat = below == 0
    found = above / np.where(flat, 1.0, below) * MICROSECONDS_PER_DAY
    return pa.array(np.where(_refused(values, low, high), np.inf, found), mask=flat)


def _sums(digits: Digits, low: np.ndarray, high: np.ndarray) -> Digits:
    """The exact sums of numbers over windows. digits: of each event."""
    running = [_running(digit) if digit.any() else None for digit in digits]
    return [0 if one is None else one[high] - one[low] for one in running]


def _refused(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether a window holds a value that no sum can hold."""
    running = _running(~(np.abs(values) < LARGEST))
    found: np.ndarray = running[high] > running[low]
    return found


def _running(values: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
