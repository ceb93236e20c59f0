"""Split the events of a tick's windows by their key into parts of about the same size, and what is too large further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np

from mlprod_tasks.features.known import MICROSECOND

BUCKETS_A_PART = 16
MOST_BUCKETS = 4_096
# Of one part's events this many are read and written at once, so that a key that is too large can be split where these end.
CHUNKS_A_PART = 4


@dataclass(frozen=True)
class EventPart:
    """Events that are aggregated at once: those of some buckets that were written in some chunks.

    buckets: the hashes of keys. chunks: None for all. sums, others: whether their sums are computed, and their other
    aggregates. asked: only of rows scored from its first to before its second moment (microseconds); None for all rows.
    events: about how many there are.
    """

    buckets: tuple[int, ...]
    chunks: tuple[int, ...] | None
    sums: bool
    others: bool
    events: int
    asked: tuple[int, int] | None = None


def buckets_for(events: int, most: int) -> int:
    """How many buckets keys are hashed to, so that parts of about `most` events can be put together from them."""
    return min(MOST_BUCKETS, BUCKETS_A_PART * -(-events // most))


def event_parts(
    counts: np.ndarray, most: int, *, sums: bool, others: bool, asked: tuple[int, int], look_back: timedelta
) -> list[EventPart]:
    """Parts of at most about `most` events, and of about the same number.

    counts: (chunks, buckets) events. sums, others: which aggregates there are. asked: the moments of the first and the last
    row; look_back: how long before a row its longest window begins.

    A bucket with more events than a part is to have holds a key with as many. Sums are added up from parts, so these are split
    by chunks. The other aggregates need all events of a window at once: if windows are shorter than the time between the first
    and the last row, they are split by ranges of that time, each with its look-back, and if not, they stay in one part.
    """
    of_bucket = counts.sum(axis=0)
    total = int(of_bucket.sum())
    share = max(1, -(-total // max(1, -(-total // most))))
    heavy = [int(bucket) for bucket in np.flatnonzero(of_bucket > share)]
    light = [int(bucket) for bucket in np.flatnonzero(of_bucket <= share)]
    parts = [EventPart(buckets, None, sums, others, events) for buckets, events in _packed(of_bucket, light, share)]
    for bucket in heavy:
        if sums:
            for chunks, events in _cut(counts[:, bucket], share):
                parts.append(EventPart((bucket,), chunks, True, False, events))
        if others:
            parts += _by_time(bucket, int(of_bucket[bucket]), share, asked, look_back // MICROSECOND)
    return parts


def _packed(of_bucket: np.ndarray, buckets: Sequence[int], share: int) -> list[tuple[tuple[int, ...], int]]:
    """The buckets in as many parts as their events need, the largest first, each to the part with the fewest (R. L. Graham)."""
    if not buckets:
        return []
    held: list[list[int]] = [[] for _ in range(max(1, -(-int(of_bucket[list(buckets)].sum()) // share)))]
    events = [0] * len(held)
    for bucket in sorted(buckets, key=lambda one: -int(of_bucket[one])):
        to = min(range(len(held)), key=lambda part: (events[part], len(held[part])))
        held[to].append(bucket)
        events[to] += int(of_bucket[bucket])
    return [(tuple(sorted(one)), count) for one, count in zip(held, events, strict=True)]


def _cut(of_chunk: np.ndarray, share: int) -> list[tuple[tuple[int, ...], int]]:
    """Consecutive chunks in as many parts as their events need, each cut where it is nearest to the mean."""
    total = int(of_chunk.sum())
    parts = -(-total // share)
    until = np.cumsum(of_chunk)
    cuts = {int(np.argmin(np.abs(until - total * (number + 1) / parts))) + 1 for number in range(parts - 1)}
    edges = [0, *sorted(cuts | {of_chunk.size})]
    found = [(tuple(range(a, b)), int(of_chunk[a:b].sum())) for a, b in pairwise(edges)]
    return [one for one in found if one[1]]


def _by_time(bucket: int, events: int, share: int, asked: tuple[int, int], look_back: int) -> list[EventPart]:
    first, after = asked[0], asked[1] + 1
    ranges = max(1, min(-(-events // share), (after - first) // max(look_back, 1)))
    edges = [first + (after - first) * number // ranges for number in range(ranges + 1)]
    each = events * (look_back + (after - first) // ranges) // (look_back + after - first)
    return [EventPart((bucket,), None, False, True, each, (a, b)) for a, b in pairwise(edges)]
