"""Loops that go once through events and rows in order of time, as machine code.

Both take events and rows sorted by time, times in microseconds, keys as small integers (-1: no key, never matches).
"""

from __future__ import annotations

import numpy as np

from mlprod_tasks.features.machine_code import Floats, Ints, machine_code


def _without_values(measures: Ints, m: int) -> float:
    """What measure m is without a value: 0 for a sum, nan for a mean."""
    return 0.0 if measures[6 * m + 5] == 1 else np.nan


def _measured(sums: Ints, of: int, measures: Ints, scales: Floats, m: int) -> float:
    """Measure m, from the sums of one key and window, which begin at position `of`."""
    whole, fine, values, high, bad = (
        measures[6 * m],
        measures[6 * m + 1],
        measures[6 * m + 2],
        measures[6 * m + 3],
        measures[6 * m + 4],
    )
    n = sums[of + 1 + values]  # part -1 is the count of all events
    if n == 0:
        return 0.0 if measures[6 * m + 5] == 1 else np.nan
    if bad >= 0 and sums[of + 1 + bad] > 0:
        return np.inf  # a value that no sum can hold: this key's alone
    total = sums[of + 1 + whole] * scales[2 * m]
    if high >= 0:
        # The sum may have left 64 bits and wrapped; the sum of its high halves has not, and tells by how much.
        upper = sums[of + 1 + high]
        lower = sums[of + 1 + whole] - (upper << 32)
        upper += lower >> 32
        if upper < -(1 << 31) or upper >= 1 << 31:
            total = upper * (scales[2 * m] * 4294967296.0) + (lower & 0xFFFFFFFF) * scales[2 * m]
    if fine >= 0:
        total += sums[of + 1 + fine] * scales[2 * m + 1]
    measured: float = total if measures[6 * m + 5] == 1 else total / n
    return measured


@machine_code
def window_aggregates(
    events: int,
    event_at: Ints,  # (events,), sorted: strictly after this moment a row sees the event
    event_key: Ints,  # (events,)
    known: Ints,  # (events,): the moment that must be in the window
    late: int,  # whether `known` may be before `event_at`; if not, they are the same
    leaving: Ints,  # (events,) if late: the events sorted by `known`
    width: int,
    parts: Ints,  # (events, width): what each event adds besides one to the count
    rows: int,
    row_at: Ints,  # (rows,), sorted
    row_key: Ints,  # (rows,)
    row: Ints,  # (rows,): where the results of each row go
    windows: int,
    lengths: Ints,  # (windows,)
    oldest: Ints,  # (windows,), zeros: the oldest event of each window, in the order in which they leave it
    sums: Ints,  # (keys, windows, 1 + width), zeros: each key's count of events, then its parts
    measures: int,
    parts_of: Ints,  # (measures, 6), the parts of each mean or sum: see trailing.EventValues
    scales: Floats,  # (measures, 2): the unit of the sum and of its finer digits
    counts: Ints,  # out: (windows, rows)
    measured: Floats,  # out: (windows, measures, rows), a mean is nan without a value; inf with one that no sum can hold
    keep: int,  # whether to give the sums themselves, too
    kept: Ints,  # out, if so: (windows, 1 + width, rows)
) -> None:
    """Count, means and sums over the events of the row's key in [at - length, at), for every window length.

    A late event that is older than a window when it can be seen never enters this window. Each window has a pointer to its
    oldest event. Sums are of integers, so adding and subtracting an event is exact and a result does not depend on the rows
    before it.
    """
    stride = width + 1
    newest = 0
    for i in range(rows):
        at = row_at[i]
        while newest < events and event_at[newest] < at:
            key = event_key[newest]
            age = event_at[newest] - known[newest] if late else 0
            if key >= 0:
                for w in range(windows):
                    if age >= lengths[w]:
                        continue
                    of = (key * windows + w) * stride
                    sums[of] += 1
                    for p in range(width):
                        sums[of + 1 + p] += parts[newest * width + p]
            newest += 1
        key, to = row_key[i], row[i]
        for w in range(windows):
            begin, left = at - lengths[w], oldest[w]
            while left < events:
                gone = leaving[left] if late else left
                if known[gone] >= begin:
                    break
                if event_key[gone] >= 0 and event_at[gone] - known[gone] < lengths[w]:
                    of = (event_key[gone] * windows + w) * stride
                    sums[of] -= 1
                    for p in range(width):
                        sums[of + 1 + p] -= parts[gone * width + p]
                left += 1
            oldest[w] = left
            of = (key * windows + w) * stride
            counts[w * rows + to] = sums[of] if key >= 0 else 0
            for m in range(measures):
                place = (w * measures + m) * rows + to
                measured[place] = _measured(sums, of, parts_of, scales, m) if key >= 0 else _without_values(parts_of, m)
            if keep:
                for p in range(stride):
                    kept[(w * stride + p) * rows + to] = sums[of + p] if key >= 0 else 0


@machine_code
def latest_event(
    events: int,
    event_at: Ints,  # (events,), sorted; of equal times the last one wins
    event_key: Ints,  # (events,)
    rows: int,
    row_at: Ints,  # (rows,), sorted
    row_key: Ints,  # (rows,)
    row: Ints,  # (rows,): where the result of each row goes
    max_age: int,
    last: Ints,  # (keys,), each -1: each key's last event so far
    positions: Ints,  # out: (rows,), the event's position or -1
) -> None:
    """Find the last event of the row's key in [at - max_age, at)."""
    newest = 0
    for i in range(rows):
        at = row_at[i]
        while newest < events and event_at[newest] < at:
            if event_key[newest] >= 0:
                last[event_key[newest]] = newest
            newest += 1
        positions[row[i]] = -1
        if row_key[i] >= 0:
            event = last[row_key[i]]
            if event >= 0 and event_at[event] >= at - max_age:
                positions[row[i]] = event


@machine_code
def group_by_key(
    n: int,
    key: Ints,  # (n,), -1: left out
    next_of: Ints,  # (keys,), where each key's first goes; afterwards where its next would go
    order: Ints,  # out: the positions with a key, by key and then as they came
) -> None:
    """Bring positions into the order of their keys, without a change of order within a key."""
    for i in range(n):
        if key[i] >= 0:
            order[next_of[key[i]]] = i
            next_of[key[i]] += 1


@machine_code
def window_bounds(
    rows: int,
    row_at: Ints,  # (rows,), sorted
    row_key: Ints,  # (rows,)
    row: Ints,  # (rows,): where the results of each row go
    event_at: Ints,  # (events,), by key and then sorted
    end_of: Ints,  # (keys,): the position after each key's last event
    windows: int,
    lengths: Ints,  # (windows,)
    next_of: Ints,  # (keys, 1 + windows), each its key's first event
    high: Ints,  # out: (rows,), the position after the last event before the row
    low: Ints,  # out: (windows, rows), the position of the first event of each window
) -> None:
    """Find the events of the row's key in [at - length, at), for every window length: those from low to high."""
    stride = windows + 1
    for i in range(rows):
        at, key, to = row_at[i], row_key[i], row[i]
        high[to] = 0
        for w in range(windows):
            low[w * rows + to] = 0
        if key >= 0:
            newest = next_of[key * stride]
            while newest < end_of[key] and event_at[newest] < at:
                newest += 1
            next_of[key * stride] = high[to] = newest
            for w in range(windows):
                oldest = next_of[key * stride + 1 + w]
                while oldest < newest and event_at[oldest] < at - lengths[w]:
                    oldest += 1
                next_of[key * stride + 1 + w] = low[w * rows + to] = oldest


@machine_code
def smallest(
    rows: int,
    row: Ints,  # (rows,): the rows by key and then in order of time
    low: Ints,  # (all rows,): the positions of each row's window
    high: Ints,
    values: Ints,  # (events,), by key and then in order of time
    waiting: Ints,  # (events,): memory for positions that may be the smallest of a later window, by ascending values
    found: Ints,  # out: (all rows,), the position of the first of the smallest values; -1 of an empty window
) -> None:
    """Find the smallest value of each window. Bounds never fall from one row to the next."""
    newest = first = after = 0
    for i in range(rows):
        to = row[i]
        found[to] = -1
        if low[to] < high[to]:
            if newest < low[to]:
                newest, first = low[to], after
            while newest < high[to]:
                while after > first and values[waiting[after - 1]] > values[newest]:
                    after -= 1
                waiting[after] = newest
                after += 1
                newest += 1
            while waiting[first] < low[to]:
                first += 1
            found[to] = waiting[first]


@machine_code
def distinct(
    rows: int,
    row: Ints,  # (rows,): the rows by key and then in order of time
    low: Ints,  # (all rows,): the positions of each row's window
    high: Ints,
    codes: Ints,  # (events,), by key and then in order of time: equal for equal values
    seen: Ints,  # (codes,), zeros: how often each value is in the window
    found: Ints,  # out: (all rows,)
) -> None:
    """Count the different values of each window. Bounds never fall from one row to the next."""
    newest = oldest = different = 0
    for i in range(rows):
        to = row[i]
        while oldest < newest and oldest < low[to]:
            seen[codes[oldest]] -= 1
            if seen[codes[oldest]] == 0:
                different -= 1
            oldest += 1
        if newest < low[to]:
            newest = oldest = low[to]
        while newest < high[to]:
            if seen[codes[newest]] == 0:
                different += 1
            seen[codes[newest]] += 1
            newest += 1
        found[to] = different


def _ranked(tree: Ints, half: int, place: int) -> int:
    """The rank of the value at a place, counted from 0, among those in the tree."""
    rank, step, left = 0, half, place
    while step > 0:
        if tree[rank + step] <= left:
            rank += step
            left -= tree[rank]
        step = step // 2
    return rank


@machine_code
def ranked(
    rows: int,
    row: Ints,  # (rows,): the rows by key and then in order of time
    low: Ints,  # (all rows,): the positions of each row's window
    high: Ints,
    rank: Ints,  # (events,), by key and then in order of time: the rank of each value among all of its key
    half: int,  # a power of 2, at least the number of events of any key
    tree: Ints,  # (2 * half + 1,), zeros: counts of the values in the window by rank (P. M. Fenwick 1994)
    place: Ints,  # (all rows,): the place of the value to find among those of the window, counted from 0
    lower: Ints,  # out: (all rows,), its rank
    upper: Ints,  # out: (all rows,), the rank of the next value, or of the same if it is the last one
) -> None:
    """Find values by their place in the sorted window. Bounds never fall from one row to the next."""
    newest = oldest = 0
    for i in range(rows):
        to = row[i]
        while oldest < newest and oldest < low[to]:
            at = rank[oldest] + 1
            while at <= 2 * half:
                tree[at] -= 1
                at += at & -at
            oldest += 1
        if newest < low[to]:
            newest = oldest = low[to]
        while newest < high[to]:
            at = rank[newest] + 1
            while at <= 2 * half:
                tree[at] += 1
                at += at & -at
            newest += 1
        if low[to] < high[to]:
            lower[to] = _ranked(tree, half, place[to])
            last = high[to] - low[to] - 1
            upper[to] = _ranked(tree, half, min(place[to] + 1, last))
