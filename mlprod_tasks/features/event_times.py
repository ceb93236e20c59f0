"""The moments at which events begin to count and cease to, where some arrived late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration.table import NOTHING
from mlprod_tasks.features.known import MICROSECOND


@dataclass(frozen=True)
class EventTimes:
    """When events count, in the order in which scored rows begin to see them. All times are in microseconds.

    at: (events,), ascending: the moment strictly after which a row sees the event: when it became known, or for a row that
    arrived late, when it may be used. order: the events' positions in that order; None if they are in it already.
    known: (events,): when each became known, which decides how long it stays in a window; `at` itself if none is late.
    leaving: (events,): their places in `known`, ascending by it; None if none is late, and they leave as they came.
    """

    at: np.ndarray
    order: np.ndarray | None
    known: np.ndarray
    leaving: np.ndarray | None = None

    def by_known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The moments at which events became known, ascending; those after which they are seen; the events' positions."""
        leaving = np.arange(self.at.size) if self.leaving is None else self.leaving
        return self.known[leaving], self.at[leaving], leaving if self.order is None else self.order[leaving]


def times_of(
    events: pa.Table,
    moment: int,
    kind: Literal["stable"] | None = None,
    skip: timedelta = NOTHING,
    asked_from: int | None = None,
) -> EventTimes:
    """When the events count whose values become known at that one of `moments_of`; events without it are left out.

    kind: 'stable' keeps the order of events with the same time. skip: how long before predict_at windows end: all times are as
    at this end. asked_from: no row is scored before this time (microseconds), so what may be used by then counts as in time.
    """
    column = events[f"at_{moment}"]
    kept = np.flatnonzero(column.is_valid().to_numpy()) if column.null_count else None
    known = column.drop_null().to_numpy() if column.null_count else column.to_numpy()
    at = _seen_after(events, known, kept, skip // MICROSECOND, asked_from)
    late = at is not known
    if kept is None and not late and bool(np.all(at[1:] >= at[:-1])):
        return EventTimes(at, None, at)
    by_time = np.argsort(at, kind=kind)
    at, order = at[by_time], by_time if kept is None else kept[by_time]
    if not late:
        return EventTimes(at, order, at)
    known = known[by_time]
    return EventTimes(at, order, known, np.lexsort((order, known)))


def _seen_after(events: pa.Table, known: np.ndarray, kept: np.ndarray | None, skip: int, asked_from: int | None) -> np.ndarray:
    """The moment strictly after which a row's windows must end to have each event; `known` itself if no event is late."""
    usable = events["usable"] if "usable" in events.column_names else None
    if usable is None or usable.null_count == len(usable):
        return known
    # What may be used from the start of a tick on is seen by a row at this very moment.
    seen = pc.subtract(pc.fill_null(usable, -(2**62)), 1).to_numpy()
    seen = seen if kept is None else seen[kept]
    late = seen - skip > known
    if asked_from is not None:
        late &= seen >= asked_from
    return np.where(late, seen - skip, known) if late.any() else known
