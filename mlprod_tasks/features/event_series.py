"""Trailing aggregates that need the events of a window one by one: smallest, first, time since the last, ...

Events are grouped by key and are in order of time within a key, so each window is a range of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import (
    CountDistinct,
    First,
    Last,
    Max,
    MeanGap,
    Min,
    Quantile,
    SinceFirst,
    SinceLast,
    Slope,
    Std,
    Trailing,
)
from mlprod_tasks.declaration.aggregate import Ordered
from mlprod_tasks.features.deviations import deviations, slopes
from mlprod_tasks.features.event_times import EventTimes
from mlprod_tasks.features.keys import KeyCodes
from mlprod_tasks.features.known import MICROSECOND
from mlprod_tasks.features.rows import ScoredRows

MICROSECONDS_PER_HOUR = 3.6e9


@dataclass(frozen=True)
class EventSeries:
    """The events that count for some aggregates, by key and then in order of time.

    values: none of them is null or not a number; None if only the times matter.
    """

    at: np.ndarray  # (events,) microseconds
    values: pa.Array | None
    starts: np.ndarray  # (keys + 1,): the position of each key's first event; the last one is the number of events
    seen: np.ndarray | None = None  # (events,): if asked for, the moment strictly after which each is seen


@dataclass(frozen=True)
class _Windows:
    """The rows' windows over a series: positions from `low` to before `high`, both in the order of rows."""

    low: np.ndarray
    high: np.ndarray
    predict_at: np.ndarray
    by_key: np.ndarray  # the rows with a key, by key and then in order of time

    @property
    def counts(self) -> np.ndarray:
        counts: np.ndarray = self.high - self.low
        return counts


def event_series(
    at: np.ndarray,
    order: np.ndarray | None,
    codes: np.ndarray,
    keys: int,
    values: pa.ChunkedArray | None,
    seen: np.ndarray | None = None,
) -> EventSeries:
    """Group events by key.

    at: the times, ascending. order: the events' positions in that order; None if they are in it already. codes: the key of each
    event, -1 for none. values: events whose value is null are left out; None if all events count.
    """
    from mlprod_tasks.features import sweep  # imported here because the compiler's library takes time to load

    positions = np.arange(at.size) if order is None else order
    key = codes[positions].astype(np.int64)
    if values is not None and values.null_count:
        key[~values.is_valid().to_numpy()[positions]] = -1
    starts = np.concatenate(([0], np.cumsum(np.bincount(key[key >= 0], minlength=keys)))).astype(np.int64)
    grouped = np.empty(starts[-1], np.int64)
    sweep.group_by_key(key.size, key, starts[:-1].copy(), grouped)
    taken = None if values is None else _clean(values).take(pa.array(positions[grouped]))
    return EventSeries(at[grouped], taken, starts, None if seen is None else seen[grouped])


def series_columns(
    feature: Trailing,
    aggregates: Sequence[Ordered],
    times: EventTimes,
    codes: KeyCodes,
    values: pa.ChunkedArray | None,
    rows: ScoredRows,
) -> list[tuple[str, pa.Array]]:
    """The name and the column of each aggregate over each window.

    If some events arrived late, rows between two arrivals see the same ones, so these are grouped anew for them, as far back as
    the longest window.
    """
    if times.leaving is None or not rows.count:
        series = event_series(times.at, times.order, codes.events, codes.size, values)
        return _columns(feature, aggregates, series, codes, rows)
    known, seen, order = times.by_known()
    ends = rows.at - feature.skip // MICROSECOND
    arrivals = np.unique(seen[seen > known])
    edges = np.unique(np.concatenate(([0], np.searchsorted(ends, arrivals, side="right"), [rows.count])))
    parts: dict[str, list[pa.Array]] = {}
    for first, after in pairwise(edges.tolist()):
        oldest = np.searchsorted(known, ends[first] - max(feature.windows) // MICROSECOND)
        inside = np.arange(oldest, np.searchsorted(known, ends[after - 1]))
        inside = inside[(seen[inside] == known[inside]) | (seen[inside] < ends[first])]
        series = event_series(known[inside], order[inside], codes.events, codes.size, values)
        positions = rows.order[first:after]
        some = ScoredRows(rows.table.select(["tick"]).take(positions), rows.at[first:after], np.arange(positions.size))
        some_codes = KeyCodes(codes.rows[positions], codes.events, codes.size)
        for name, column in _columns(feature, aggregates, series, some_codes, some):
            parts.setdefault(name, []).append(column)
    back = np.empty(rows.count, np.int64)
    back[rows.order] = np.arange(rows.count)
    return [(name, pa.concat_arrays(columns).take(pa.array(back))) for name, columns in parts.items()]


def _columns(
    feature: Trailing, aggregates: Sequence[Ordered], series: EventSeries, codes: KeyCodes, rows: ScoredRows
) -> list[tuple[str, pa.Array]]:
    columns = []
    for length, windows in zip(sorted(feature.windows), _windows(feature, series, codes, rows), strict=True):
        columns += [(feature.feature(one, length), _column(one, series, windows)) for one in aggregates]
    return columns


def _windows(feature: Trailing, series: EventSeries, codes: KeyCodes, rows: ScoredRows) -> list[_Windows]:
    """The windows of all rows, for each length in ascending order."""
    from mlprod_tasks.features import sweep

    lengths = np.array([length // MICROSECOND for length in sorted(feature.windows)], np.int64)
    low, high = np.empty((lengths.size, rows.count), np.int64), np.empty(rows.count, np.int64)
    row_key = codes.rows[rows.order].astype(np.int64)
    next_of = np.repeat(series.starts[:-1], lengths.size + 1)
    sweep.window_bounds(
        rows.count, rows.at - feature.skip // MICROSECOND, row_key, rows.order, series.at, series.starts[1:].copy(),
        lengths.size, lengths, next_of, high, low,
    )  # fmt: skip
    counts = np.bincount(row_key[row_key >= 0], minlength=series.starts.size)
    by_key = np.empty(int(counts.sum()), np.int64)
    sweep.group_by_key(rows.count, row_key, np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64), by_key)
    predict_at = np.empty(rows.count, np.int64)
    predict_at[rows.order] = rows.at
    return [_Windows(one, high, predict_at, rows.order[by_key]) for one in low]


def _column(aggregate: Ordered, series: EventSeries, windows: _Windows) -> pa.Array:
    match aggregate:
        case First():
            return _taken(series, np.where(windows.counts > 0, windows.low, -1))
        case Last():
            return _taken(series, np.where(windows.counts > 0, windows.high - 1, -1))
        case Min() | Max():
            return _taken(series, _smallest(series, windows, largest=isinstance(aggregate, Max)))
        case CountDistinct():
            return pa.array(_distinct(series, windows))
        case Quantile():
            return _quantile(series, windows, aggregate.q)
        case Std():
            return deviations(_numbers(series), windows.low, windows.high)
        case Slope():
            return slopes(series.at, _numbers(series), windows.low, windows.high)
    some, several = windows.counts > 0, windows.counts > 1
    first, last = (np.append(series.at, 0)[np.where(some, edge, -1)] for edge in (windows.low, windows.high - 1))
    match aggregate:
        case SinceFirst():
            return pa.array((windows.predict_at - first) / MICROSECONDS_PER_HOUR, mask=~some)
        case SinceLast():
            return pa.array((windows.predict_at - last) / MICROSECONDS_PER_HOUR, mask=~some)
        case MeanGap():
            hours = (last - first) / MICROSECONDS_PER_HOUR
            return pa.array(hours / np.where(several, windows.counts - 1, 1), mask=~several)


def _smallest(series: EventSeries, windows: _Windows, largest: bool) -> np.ndarray:
    """The position of the smallest (or largest) value of each window; -1 without one."""
    from mlprod_tasks.features import sweep

    assert series.values is not None
    values = _sortable(series.values.to_numpy(zero_copy_only=False))
    found = np.full(windows.low.size, -1, np.int64)
    sweep.smallest(
        windows.by_key.size, windows.by_key, windows.low, windows.high, ~values if largest else values,
        np.empty(values.size, np.int64), found,
    )  # fmt: skip
    return found


def _distinct(series: EventSeries, windows: _Windows) -> np.ndarray:
    from mlprod_tasks.features import sweep

    assert series.values is not None
    coded = series.values.dictionary_encode()
    found = np.zeros(windows.low.size, np.int64)
    sweep.distinct(
        windows.by_key.size, windows.by_key, windows.low, windows.high,
        coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), np.zeros(len(coded.dictionary), np.int64), found,
    )  # fmt: skip
    return found


def _quantile(series: EventSeries, windows: _Windows, q: float) -> pa.Array:
    """The value at place (n - 1) * q of each window's sorted values."""
    from mlprod_tasks.features import sweep

    values, counts = _numbers(series), windows.counts
    sizes = np.diff(series.starts)
    first = np.repeat(series.starts[:-1], sizes)  # of each event's key
    by_value = np.lexsort((values, first))
    rank = np.empty(values.size, np.int64)
    rank[by_value] = np.arange(values.size) - first
    half = 1 << int(max(sizes.max(initial=1) - 1, 0)).bit_length()
    place = np.maximum(counts - 1, 0) * q
    lower, upper = np.zeros(counts.size, np.int64), np.zeros(counts.size, np.int64)
    sweep.ranked(
        windows.by_key.size, windows.by_key, windows.low, windows.high, rank, half, np.zeros(2 * half + 1, np.int64),
        np.floor(place).astype(np.int64), lower, upper,
    )  # fmt: skip
    start = np.append(first, 0)[np.where(counts > 0, windows.low, -1)]
    low, high = (np.append(values[by_value], 0.0)[np.where(counts > 0, start + one, -1)] for one in (lower, upper))
    with np.errstate(invalid="ignore"):  # of infinite values
        found = interpolated(low, high, place - np.floor(place), np.where)
    return pa.array(found, mask=counts == 0)


def interpolated(low: Any, high: Any, share: Any, choose: Callable[[Any, Any, Any], Any]) -> Any:
    """The value at a share of the way from low to high, either of which may be infinite."""
    apart = choose(low == high, 0.0, high) - choose(low == high, 0.0, low)
    return choose((share == 0) | (low == high), low, low + apart * share)


def _numbers(series: EventSeries) -> np.ndarray:
    assert series.values is not None
    numbers: np.ndarray = series.values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _sortable(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the values."""
    if values.dtype != np.float64:
        return values.astype(np.int64)
    bits = values.view(np.int64)  # of negative floats, the larger bits are the smaller number
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def _taken(series: EventSeries, positions: np.ndarray) -> pa.Array:
    assert series.values is not None
    return series.values.take(pa.array(positions, mask=positions < 0))


def _clean(values: pa.ChunkedArray) -> pa.Array:
    """The values without NaN, which counts as infinite, and without negative zero."""
    if pa.types.is_floating(values.type):
        values = pc.add(pc.if_else(pc.is_nan(values), np.inf, values), 0.0)
    return values.combine_chunks()
