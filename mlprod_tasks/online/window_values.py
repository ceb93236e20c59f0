"""Compute an aggregate from the events of one key, bit for bit as features/event_series.py does for many.

Sums are of Python's integers here, which never overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from mlprod_tasks.declaration import CountDistinct, First, Last, Max, MeanGap, Min, Quantile, SinceFirst, SinceLast, Slope, Std
from mlprod_tasks.declaration.aggregate import Ordered
from mlprod_tasks.features import exact_sums
from mlprod_tasks.features.deviations import MICROSECONDS_PER_DAY, SINCE
from mlprod_tasks.features.event_series import MICROSECONDS_PER_HOUR, interpolated
from mlprod_tasks.features.exact_sums import FRACTION, LARGEST, Digits

Prepared = Callable[[Sequence[int], Sequence[Any]], Any]
# Takes times, what was prepared from times and values, the positions where the window begins and ends, which hold at least one
# event, and predict_at.
Computed = Callable[[Sequence[int], Any, int, int, int], Any]


def computed(aggregate: Ordered) -> Computed:
    """The function that computes an aggregate over a window."""
    match aggregate:
        case Min():
            return lambda at, values, start, end, moment: min(values[start:end])
        case Max():
            return lambda at, values, start, end, moment: max(values[start:end])
        case First():
            return lambda at, values, start, end, moment: values[start]
        case Last():
            return lambda at, values, start, end, moment: values[end - 1]
        case SinceFirst():
            return lambda at, values, start, end, moment: (moment - at[start]) / MICROSECONDS_PER_HOUR
        case SinceLast():
            return lambda at, values, start, end, moment: (moment - at[end - 1]) / MICROSECONDS_PER_HOUR
        case MeanGap():
            return _mean_gap
        case CountDistinct():
            return lambda at, values, start, end, moment: len(set(values[start:end]))
        case Quantile():
            return partial(_quantile, aggregate.q)
        case Std():
            return _deviation
        case Slope():
            return _slope


def prepared(aggregate: Ordered) -> Prepared:
    """The function that prepares a key's times and values, once for all windows."""
    match aggregate:
        case Std():
            return lambda at, values: _running(values, lambda x, _: (x, x * x), at)
        case Slope():
            return lambda at, values: _running(values, _products, at)
    return lambda at, values: values


def _mean_gap(at: Sequence[int], values: Sequence[Any], start: int, end: int, moment: int) -> float | None:
    return (at[end - 1] - at[start]) / MICROSECONDS_PER_HOUR / (end - start - 1) if end - start > 1 else None


def _quantile(q: float, at: Sequence[int], values: Sequence[Any], start: int, end: int, moment: int) -> float:
    ordered = sorted(values[start:end])
    place = (len(ordered) - 1) * q
    below = math.floor(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return float(interpolated(low, high, place - below, lambda condition, a, b: a if condition else b))


def _running(values: Sequence[Any], of: Callable[[int, int], tuple[int, ...]], at: Sequence[int]) -> list[list[int]]:
    """Running sums, the first 0: of values that no sum can hold, and of what a value in units of 2**-52 and its time add."""
    added = []
    for value, time in zip(map(float, values), at, strict=True):
        fits = abs(value) < LARGEST
        added.append((int(not fits), *of(_units(value) if fits else 0, time - SINCE)))
    return [list(accumulate(part, initial=0)) for part in zip(*added, strict=True)]


def _units(value: float) -> int:
    """A value in units of 2**-52, rounded half to even as numpy does."""
    above, below = value.as_integer_ratio()
    return (above << FRACTION) // below if abs(value) >= 1.0 else round(value * LARGEST)


def _products(x: int, time: int) -> tuple[int, ...]:
    time <<= FRACTION
    return time, x, time * time, time * x


def _sums(running: Sequence[Sequence[int]], start: int, end: int) -> list[Digits]:
    return [exact_sums.digits_of_integer(one[end] - one[start]) for one in running]


def _deviation(at: Sequence[int], running: Sequence[Sequence[int]], start: int, end: int, moment: int) -> float | None:
    n = end - start
    if n < 2:
        return None
    refused, *sums = running
    if refused[end] > refused[start]:
        return math.inf
    total, squares = _sums(sums, start, end)
    return float(exact_sums.spread(n, total, squares, math.sqrt))


def _slope(at: Sequence[int], running: Sequence[Sequence[int]], start: int, end: int, moment: int) -> float | None:
    refused, *sums = running
    above, below = exact_sums.slope(end - start, *_sums(sums, start, end))
    if below == 0:
        return None
    return math.inf if refused[end] > refused[start] else float(above / below * MICROSECONDS_PER_DAY)
