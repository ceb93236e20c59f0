"""Compiled loops that go once through events and rows in order of time.

Import this module only where it is needed: numba takes a second to load.

`window_aggregates` and `latest_event` take events and rows sorted by time, times in microseconds, keys as small integers
(-1: no key, never matches).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    """Compile once per machine, or once per process if the cache folder cannot be written."""
    compile_ = cast(Callable[..., Callable[[F], F]], numba.njit)
    try:
        return compile_(cache=True, nogil=True)(function)
    except RuntimeError:
        return compile_(nogil=True)(function)


def _inlined(function: F) -> F:
    """Inline into the caller: a call for each event would double the time."""
    return cast(Callable[..., Callable[[F], F]], numba.njit)(inline="always")(function)


@_inlined
def _add_event(state: np.ndarray, base: int, key: int, parts: np.ndarray, event: int, sign: int) -> None:
    """Add an event to the sums of its key in one window (sign 1), or remove it (sign -1)."""
    if key >= 0:
        state[key, base] += sign
        for p in range(parts.shape[1]):
            state[key, base + 1 + p] += sign * parts[event, p]


@_inlined
def _write_result(
    state: np.ndarray,
    w: int,
    base: int,
    key: int,
    to: int,
    measures: np.ndarray,
    scales: np.ndarray,
    counts: np.ndarray,
    means: np.ndarray,
) -> None:
    """Write the count and the means of one row's window from the sums of its key."""
    counts[w, to] = state[key, base] if key >= 0 else 0
    for m in range(measures.shape[0]):
        n = state[key, base + 1 + measures[m, 2]] if key >= 0 else 0  # part -1 is the count of all events
        if n == 0:
            means[w, m, to] = np.nan
            continue
        if measures[m, 4] >= 0 and state[key, base + 1 + measures[m, 4]] > 0:
            means[w, m, to] = np.inf  # a value that no sum can hold: this key's alone
            continue
        whole = state[key, base + 1 + measures[m, 0]]
        total = whole * scales[m, 0]
        if measures[m, 3] >= 0:
            # The sum may have left 64 bits and wrapped; the sum of its high halves has not, and tells by how much.
            high = state[key, base + 1 + measures[m, 3]]
            low = whole - (high << 32)
            high += low >> 32
            if high < -(1 << 31) or high >= 1 << 31:
                total = high * (scales[m, 0] * 4294967296.0) + (low & 0xFFFFFFFF) * scales[m, 0]
        if measures[m, 1] >= 0:
            total += state[key, base + 1 + measures[m, 1]] * scales[m, 1]
        means[w, m, to] = total / n


@_compiled
def window_aggregates(
    event_at: np.ndarray,  # (events,) int64, sorted
    event_key: np.ndarray,  # (events,) int64
    parts: np.ndarray,  # (events, parts) int64: what each event adds besides one to the count
    row_at: np.ndarray,  # (rows,) int64, sorted
    row_key: np.ndarray,  # (rows,) int64
    row: np.ndarray,  # (rows,) int64: where the results of each row go
    lengths: np.ndarray,  # (windows,) int64, ascending
    keys: int,
    measures: np.ndarray,  # (measures, 5) int64, the parts of each mean: see trailing.EventValues
    scales: np.ndarray,  # (measures, 2) float64: the unit of the sum and of its finer digits
    counts: np.ndarray,  # out: (windows, rows) int64
    means: np.ndarray,  # out: (windows, measures, rows) float64, nan without a value, inf with one that no sum can hold
) -> None:
    """Count and mean over the events of the row's key in [at - length, at), for every window length.

    Each window has a pointer to its oldest event. Sums are of integers, so adding and subtracting an event is exact and a
    result does not depend on the rows before it.
    """
    stride = parts.shape[1] + 1  # one window's sums of one key: the count of events, then the parts
    state = np.zeros((keys, lengths.size * stride), np.int64)
    oldest = np.zeros(lengths.size, np.int64)
    newest = 0
    for i in range(row_at.size):
        at = row_at[i]
        while newest < event_at.size and event_at[newest] < at:
            for w in range(lengths.size):
                _add_event(state, w * stride, event_key[newest], parts, newest, 1)
            newest += 1
        for w in range(lengths.size):
            first = at - lengths[w]
            while oldest[w] < newest and event_at[oldest[w]] < first:
                _add_event(state, w * stride, event_key[oldest[w]], parts, oldest[w], -1)
                oldest[w] += 1
            _write_result(state, w, w * stride, row_key[i], row[i], measures, scales, counts, means)


@_compiled
def latest_event(
    event_at: np.ndarray,  # (events,) int64, sorted; of equal times the last one wins
    event_key: np.ndarray,
    row_at: np.ndarray,  # (rows,) int64, sorted
    row_key: np.ndarray,
    row: np.ndarray,
    max_age: int,
    keys: int,
    positions: np.ndarray,  # out: (rows,) int64, the event's position or -1
) -> None:
    """Find the last event of the row's key in [at - max_age, at)."""
    last = np.full(keys, -1, np.int64)
    newest = 0
    for i in range(row_at.size):
        at = row_at[i]
        while newest < event_at.size and event_at[newest] < at:
            if event_key[newest] >= 0:
                last[event_key[newest]] = newest
            newest += 1
        positions[row[i]] = -1
        if row_key[i] >= 0:
            event = last[row_key[i]]
            if event >= 0 and event_at[event] >= at - max_age:
                positions[row[i]] = event
