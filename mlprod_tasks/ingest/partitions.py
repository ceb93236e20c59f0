"""Which rows of a source table belong to which tick."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Table, TickRange


def partitions(table: Table, ticks: TickRange) -> TickRange:
    """The ticks whose partitions are read at `ticks`: these, and `refresh_ticks` earlier ones within the schedule.

    A reference table has no partitions: its rows belong to the last tick. So does a snapshot, unless each tick has a file of
    its own: of a source that is read as it is now, the earlier ones are gone.
    """
    if table.time is None or (table.snapshots and not table.is_by_tick):
        return TickRange(ticks.schedule, ticks.last, ticks.last)
    first = max(ticks.schedule.shift(ticks.first, -table.refresh_ticks), ticks.schedule.first)
    return TickRange(ticks.schedule, first, ticks.last)


def boundaries(table: Table, ticks: TickRange) -> list[datetime]:
    """Bounds in the table's time column, one more than ticks: partition i is [boundaries[i], boundaries[i + 1]).

    Days of 23 and 25 hours are right, because each bound is the start of a tick.
    """
    schedule, ahead = ticks.schedule, table.ticks_ahead
    bounds = schedule.names(schedule.shift(ticks.first, ahead - 1), schedule.shift(ticks.last, ahead))
    return [schedule.moment(day) - table.known_after for day in bounds]


def places(times: pa.Array, edges: list[datetime]) -> np.ndarray:
    """The index of the partition of each time; -1 before the first, len(edges) - 1 after the last.

    A missing time is put into the first partition, where the audit refuses it.
    """
    moments = pc.fill_null(times, pa.scalar(edges[0], times.type)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    limits = pa.array(edges, pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    positions: np.ndarray = np.searchsorted(limits, moments, side="right") - 1
    return positions
