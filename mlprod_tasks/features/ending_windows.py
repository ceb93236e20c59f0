"""Outcomes over windows that end at a moment of each row: positions among the events of its key, not one length for all."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Count, First, Last, Pipeline
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.features.keys import KeyCodes
from mlprod_tasks.platform.sql import identifier, literal


def end_sql(pipeline: Pipeline, until: str) -> str:
    """SQL of the moment at which a row's window ends, in microseconds since 1970: null if the row has none.

    A date ends with its day, in the schedule's time zone.
    """
    column = identifier(until)
    if pipeline.entity_table.column(until).kind == "timestamp":
        return f"epoch_us(CAST({column} AS TIMESTAMPTZ))"
    return f"epoch_us(timezone({literal(pipeline.schedule.timezone)}, CAST({column} + 1 AS TIMESTAMP)))"


def values_until(
    at: pa.ChunkedArray, values: pa.ChunkedArray | None, codes: KeyCodes, starts: np.ndarray, ends: np.ndarray, of: Aggregate
) -> pa.Array:
    """What an aggregate gives of the events in each row's [start, end), (rows,): a count, a sum, the first or the last value.

    at: (events,) microseconds. values: an event without value does not count, nor does a count take one that is 0; None: all
    events count. Events are in the order of their table's key, which decides which of the same moment comes first. A sum over a
    value that is no finite number is infinite; the first and last value are null without events.
    """
    counts = np.ones(len(at), bool) if values is None else values.is_valid().to_numpy()
    if values is not None and isinstance(of, Count):
        counts &= pc.fill_null(values, 0).to_numpy() != 0
    counts &= codes.events >= 0
    moments = at.to_numpy()[counts]
    times, rank = np.unique(moments, return_inverse=True)
    place = codes.events[counts].astype(np.int64) * (times.size + 1) + rank  # in order of key, then of time
    order = np.argsort(place, kind="stable")
    key = codes.rows.astype(np.int64) * (times.size + 1)
    low, high = (np.searchsorted(place[order], key + np.searchsorted(times, edge)) for edge in (starts, ends))
    high = np.where(codes.rows < 0, low, np.maximum(low, high))
    if isinstance(of, Count):
        return pa.array((high - low).astype(np.float64))
    assert values is not None
    if isinstance(of, First | Last):
        taken = np.flatnonzero(counts)[order]
        event = np.append(taken, 0)[np.where(high > low, low if isinstance(of, First) else high - 1, -1)]
        return values.combine_chunks().take(pa.array(event, mask=high <= low))
    amounts = pc.cast(values, pa.float64()).to_numpy()[counts][order].tolist()
    return pa.array([_sum(amounts[a:b]) for a, b in zip(low.tolist(), high.tolist(), strict=True)], pa.float64())


def _sum(values: list[float]) -> float:
    """The sum, rounded once, whatever the order of its values."""
    return math.fsum(values) if all(map(math.isfinite, values)) else math.inf
