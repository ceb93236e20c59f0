"""Compute an aggregate from the events of one key, bit for bit as features/event_series.py does for many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlprod_tasks.declaration import First, Last, Max, MeanGap, Min, SinceFirst, SinceLast
from mlprod_tasks.declaration.aggregate import Ordered
from mlprod_tasks.features.event_series import MICROSECONDS_PER_HOUR

# Takes times, values, the positions where the window begins and ends, which hold at least one event, and predict_at.
Computed = Callable[[Sequence[int], Sequence[Any], int, int, int], Any]


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


def _mean_gap(at: Sequence[int], values: Sequence[Any], start: int, end: int, moment: int) -> float | None:
    return (at[end - 1] - at[start]) / MICROSECONDS_PER_HOUR / (end - start - 1) if end - start > 1 else None
