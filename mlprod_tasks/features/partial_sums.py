"""Exact sums over some of the events of a window, and the aggregates of those sums added up.

Sums are integers, so whichever parts the events are in, the aggregates are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Table, Trailing
from mlprod_tasks.declaration.aggregate import Summed
from mlprod_tasks.declaration.aggregate_groups import AggregateGroup, groups_of, value_of
from mlprod_tasks.features import trailing
from mlprod_tasks.features.event_times import EventTimes
from mlprod_tasks.features.keys import KeyCodes
from mlprod_tasks.features.rows import ScoredRows

# Of one measure that is a count: see `trailing.EventValues`.
COUNTED = (0, -1, 0, -1, -1, 1)


def partial_sums(
    table: Table,
    features: Sequence[Trailing],
    events: pa.Table,
    rows: ScoredRows,
    key: Callable[[str, str], KeyCodes],
    pool: Executor,
) -> pa.Table:
    """The sums that the aggregates of `features`, all of them sums, need of these events: a column of integers each.

    Columns: `sum_<i>`, the same ones for all events of the same types.
    """
    times = trailing.times_of_moments(table, features, events)
    codes = {feature.name: rows.key(feature.by, key) for feature in features}
    jobs = trailing.group_jobs(table, features, events, codes, times, every_part=True)
    without, none = np.empty((0, 6), np.int64), np.empty((0, 2), np.float64)
    kept = list(pool.map(lambda job: trailing.swept(job, rows, without, none, keep=True)[2], jobs))
    columns = [column for one in kept for window in one for column in window]
    return pa.table({f"sum_{i}": pa.array(column) for i, column in enumerate(columns)})


def merged(
    table: Table, features: Sequence[Trailing], types: pa.Table, sums: pa.Table, of: np.ndarray, asked: int
) -> Iterator[tuple[str, pa.Array]]:
    """The columns that `features` add, of `asked` rows, from the sums of all parts of their events.

    types: events, of which only the types matter. sums: of `partial_sums`; of: for each row of these the row that it is of. A
    row may have sums of any number of parts.
    """
    first = 0
    for feature, group, values in _layout(table, features, types):
        width = 1 + values.parts.shape[1]
        for length in sorted(feature.windows):
            parts = np.empty((sums.num_rows, width), np.int64)
            for p in range(width):
                parts[:, p] = sums[f"sum_{first + p}"].to_numpy()
            first += width
            counts, measured = _added(feature, group, values, parts, of, asked)
            yield from trailing.group_columns(feature, group, length, counts, measured)


def _layout(
    table: Table, features: Sequence[Trailing], types: pa.Table
) -> Iterator[tuple[Trailing, AggregateGroup, trailing.EventValues]]:
    """Each group of each feature, with the parts of its measures and no events."""
    columns = trailing.columns_of(features, types.slice(0, 0))
    for feature in features:
        for group in groups_of(table, feature):
            values = [(columns[value_of(one)], one) for one in group.measures]
            yield feature, group, trailing.event_values(table, values, None, every_part=True)


def _added(
    feature: Trailing, group: AggregateGroup, values: trailing.EventValues, parts: np.ndarray, of: np.ndarray, asked: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and measures of one window, computed as those of events: each part adds its sums, at a moment before all rows."""
    before, after = np.zeros(of.size, np.int64), np.ones(asked, np.int64)
    job = trailing.GroupJob(
        feature=replace(feature, windows=(timedelta(microseconds=2),), skip=timedelta(0)),
        group=group,
        codes=KeyCodes(np.arange(asked), of, asked),
        values=trailing.EventValues(parts, values.measures, values.scales),
        times=EventTimes(before, None, before),
    )
    # In a part, its count of events is the first sum, so all others have moved by one.
    measures = values.measures.copy()
    measures[:, :5] += measures[:, :5] >= 0
    measures[:, 2] = np.maximum(measures[:, 2], 0)
    measures = np.vstack([np.array(COUNTED, np.int64), measures])
    scales = np.vstack([np.array((1.0, 0.0)), values.scales])
    rows = ScoredRows(pa.table({"at": after}), after, np.arange(asked))
    _, measured, _ = trailing.swept(job, rows, measures, scales)
    return measured[0, 0].astype(np.int64), measured[0, 1:]


def only(features: Sequence[Trailing], *, sums: bool) -> list[Trailing]:
    """The features with those aggregates alone that are sums, or with the others; none that would have no aggregate."""
    kept = {feature.name: tuple(one for one in feature.aggregates if isinstance(one, Summed) == sums) for feature in features}
    return [replace(feature, aggregates=kept[feature.name]) for feature in features if kept[feature.name]]
