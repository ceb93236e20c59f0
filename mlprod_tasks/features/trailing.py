"""Trailing aggregates: bit for bit the same whatever else is computed in the same run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Count, First, Last, Table, Trailing
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.declaration.aggregate_groups import AggregateGroup, groups_of, is_sum, known_with, series_of, value_of
from mlprod_tasks.features.event_series import series_columns
from mlprod_tasks.features.event_times import EventTimes, times_of
from mlprod_tasks.features.keys import KeyCodes
from mlprod_tasks.features.known import KNOWN_AT, MICROSECOND, counts_from, known_at
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.platform.lake import USABLE
from mlprod_tasks.platform.sql import identifier

# A float is summed as two integers, a multiple of 2**-16 and the rest as a multiple of 2**-52. These sums are exact, so they
# do not depend on the order of rows. There is room for magnitudes below 2**52 and for 2**27 rows: where sums may leave 64
# bits, the high halves of the integers (from bit 32 on) are summed too.
COARSE = 2.0**16
FINE = 2.0**36
HALF = 2.0**32
ROOM = 2.0**63
LARGEST = 2.0**52
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EventValues:
    """The integers that events add to the sums of their key, and how a mean or a sum is computed from them.

    measures: for each mean or sum the parts with its sum, its finer digits, its count, its high halves, and the count of values
    that no sum can hold (not finite, or 2**52 and more), -1 for none; last 1 for a sum, 0 for a mean. Without a count, all
    events count. If the sum may leave 64 bits it wraps, and the high halves tell the exact sum. A mean or a sum over a value
    that no sum can hold is infinite.
    """

    parts: np.ndarray  # (events, parts)
    measures: np.ndarray  # (measures, 6)
    scales: np.ndarray  # (measures, 2)


@dataclass(frozen=True)
class GroupJob:
    """One group of one feature, ready for the sweep."""

    feature: Trailing
    group: AggregateGroup
    codes: KeyCodes
    values: EventValues
    times: EventTimes


def query(
    table: Table,
    features: Sequence[Trailing],
    start: int,
    end: int,
    hides_late: bool = False,
    alone: bool = False,
    ties: bool = False,
) -> Callable[[str], str]:
    """SQL of the events that `features` take from `table`, known in [start, end) (microseconds since 1970).

    Columns: `at_<i>` (microseconds; one for each of `moments_of`), `key_<column>`, `value_<i>`.
    ties: if the order of events of the same moment matters, also `tie_<i>`, the columns of the table's key that decide it, for
    who puts the events of several queries together.
    hides_late: whether there may be rows that count from a later moment. These have it in a further column `usable`.
    alone: a value is a struct with the field `v`, and no struct if it cannot be computed, where else the query fails. That is
    slower.
    """
    moments, values = moments_of(table, features), values_of(features)
    keys = sorted({theirs for feature in features for theirs in feature.by.values()})
    in_order = _takes_a_row(features)
    order = f" ORDER BY {', '.join(map(identifier, table.key))}" if in_order else ""
    tied = [f"{identifier(name)} AS tie_{i}" for i, name in enumerate(table.key)] if ties and in_order else []

    def sql(relation: str) -> str:
        at = [f"epoch_us({counts_from(late)}) AS at_{i}" for i, late in enumerate(moments)]
        by = [f"{identifier(key)} AS key_{key}" for key in keys]
        tried = [f"TRY(struct_pack(v := {value}))" if alone else value for value in values]
        what = [f"{value} AS value_{i}" for i, value in enumerate(tried)]
        what += [f"epoch_us({USABLE}) AS usable"] if hides_late else []
        within = " OR ".join(
            f"({moment} >= make_timestamptz({start}) AND {moment} < make_timestamptz({end}))"
            for moment in (counts_from(late) for late in moments)
        )
        calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
        return (
            f"WITH events AS (SELECT *, {known_at(table)} AS {KNOWN_AT} FROM {relation}{calendar}) "
            f"SELECT {', '.join(at + by + what + tied)} FROM events WHERE {within}{order}"
        )

    return sql


def reads_late(table: Table, features: Sequence[Trailing]) -> bool:
    """Whether a value may become known much later than its row, so that all partitions must be read."""
    return any(moments_of(table, features))


def compute(
    table: Table,
    features: Sequence[Trailing],
    events: pa.Table,
    rows: ScoredRows,
    key: Callable[[str, str], KeyCodes],
    pool: Executor,
) -> Iterator[tuple[str, pa.Array]]:
    """Compute every feature column that `features` add.

    `key(mine, theirs)` gives the codes of a pair of key columns.
    """
    columns = columns_of(features, events)
    times_by = times_of_moments(table, features, events)
    codes = {feature.name: rows.key(feature.by, key) for feature in features}
    jobs: list[Callable[[], list[tuple[str, pa.Array]]]] = [
        partial(_feature_columns, job, rows) for job in group_jobs(table, features, events, codes, times_by)
    ]
    for feature in features:
        for (late, value), aggregates in series_of(table, feature).items():
            times, named = times_by[late, feature.skip], codes[feature.name]
            jobs.append(partial(series_columns, feature, aggregates, times, named, columns.get(value), rows))
    for named_columns in pool.map(lambda job: job(), jobs):
        yield from named_columns


def columns_of(features: Sequence[Trailing], events: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The column of each value that `features` aggregate, by its SQL."""
    return {value: events[f"value_{i}"] for i, value in enumerate(values_of(features))}


def group_jobs(
    table: Table,
    features: Sequence[Trailing],
    events: pa.Table,
    codes: Mapping[str, KeyCodes],
    times_by: Mapping[tuple[tuple[str, ...], timedelta], EventTimes],
    every_part: bool = False,
) -> Iterator[GroupJob]:
    """What is to be summed: each group of each feature. codes: by the feature's name. every_part: see `event_values`."""
    columns = columns_of(features, events)
    computed: dict[tuple[object, ...], EventValues] = {}  # features that aggregate the same values share them
    for feature in features:
        for group in groups_of(table, feature):
            times = times_by[group.late, feature.skip]
            identity = (id(times), *((value_of(one), is_sum(one)) for one in group.measures))
            if identity not in computed:
                values = [(columns[value_of(one)], one) for one in group.measures]
                computed[identity] = event_values(table, values, times.order, every_part)
            yield GroupJob(feature, group, codes[feature.name], computed[identity], times)


def swept(
    job: GroupJob, rows: ScoredRows, measures: np.ndarray, scales: np.ndarray, keep: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (windows, rows), means and sums (windows, measures, rows), and if they are to be kept, the sums of all parts
    (windows, 1 + parts, rows), the count of events first. Windows are in ascending order.
    """
    from mlprod_tasks.features import sweep  # imported here because the compiler's library takes time to load

    lengths = sorted(job.feature.windows)
    counts = np.empty((len(lengths), rows.count), np.int64)
    measured = np.empty((len(lengths), len(measures), rows.count), np.float64)
    times = job.times
    event_keys = job.codes.events if times.order is None else job.codes.events[times.order]
    leaving = np.empty(0, np.int64) if times.leaving is None else times.leaving
    microseconds = np.array([length // MICROSECOND for length in lengths], np.int64)
    windows, width = len(lengths), job.values.parts.shape[1]
    kept = np.empty((windows, 1 + width, rows.count) if keep else (0, 0, 0), np.int64)
    ends = rows.at - job.feature.skip // MICROSECOND
    sums = np.zeros((max(job.codes.size, 1), windows, 1 + width), np.int64)
    sweep.window_aggregates(
        event_keys.size, times.at, event_keys, times.known, int(times.leaving is not None), leaving, width, job.values.parts,
        rows.count, ends, job.codes.rows[rows.order], rows.order, windows, microseconds, np.zeros(windows, np.int64), sums,
        len(measures), measures, scales, counts, measured, int(keep), kept,
    )  # fmt: skip
    return counts, measured, kept


def _feature_columns(job: GroupJob, rows: ScoredRows) -> list[tuple[str, pa.Array]]:
    """The name and the column of each aggregate over each window of one job."""
    counts, measured, _ = swept(job, rows, job.values.measures, job.values.scales)
    return [
        named
        for w, length in enumerate(sorted(job.feature.windows))
        for named in group_columns(job.feature, job.group, length, counts[w], measured[w])
    ]


def group_columns(
    feature: Trailing, group: AggregateGroup, length: timedelta, counts: np.ndarray, measured: np.ndarray
) -> Iterator[tuple[str, pa.Array]]:
    """The name and the column of each aggregate over one window. counts: (rows,) events; measured: (measures, rows)."""
    for aggregate in group.aggregates:
        name = feature.feature(aggregate, length)
        if not value_of(aggregate):
            yield name, pa.array(counts)
            continue
        values = measured[group.measures.index(aggregate)]
        counted = isinstance(aggregate, Count)
        yield name, pa.array(values.astype(np.int64)) if counted else pa.array(values, from_pandas=True)


def moments_of(table: Table, features: Sequence[Trailing]) -> list[tuple[str, ...]]:
    """The different times at which values become known, each as the late columns that define it."""
    return sorted({known_with(table, aggregate) for feature in features for aggregate in feature.aggregates})


def values_of(features: Sequence[Trailing]) -> list[str]:
    """The SQL of every value that `features` aggregate."""
    return sorted({value_of(a) for feature in features for a in feature.aggregates} - {""})


def stable_if_needed(features: Sequence[Trailing]) -> Literal["stable"] | None:
    """How to sort events by time."""
    return "stable" if _takes_a_row(features) else None


def _takes_a_row(features: Sequence[Trailing]) -> bool:
    """Whether the order of events that are known at the same moment matters: then it is that of the table's key."""
    return any(isinstance(a, First | Last) for feature in features for a in feature.aggregates)


def times_of_moments(
    table: Table, features: Sequence[Trailing], events: pa.Table
) -> dict[tuple[tuple[str, ...], timedelta], EventTimes]:
    """When events count, for each of `moments_of` and each skip of features."""
    kind = stable_if_needed(features)
    moments = enumerate(moments_of(table, features))
    return {(late, skip): times for i, late in moments for skip, times in _times(events, i, features, kind)}


def _times(
    events: pa.Table, moment: int, features: Sequence[Trailing], kind: Literal["stable"] | None
) -> Iterator[tuple[timedelta, EventTimes]]:
    """The times of events for each skip of features: the same ones, if none is late."""
    in_time = "usable" not in events.column_names or events["usable"].null_count == events.num_rows
    same = times_of(events, moment, kind) if in_time else None
    for skip in sorted({feature.skip for feature in features}):
        yield skip, same or times_of(events, moment, kind, skip)


def event_values(
    table: Table,
    columns: Sequence[tuple[pa.ChunkedArray, Aggregate]],
    order: np.ndarray | None,
    every_part: bool = False,
) -> EventValues:
    """The integers that each event adds, one or more for each measure, in order of time.

    every_part: have all parts that some events may need, so that the parts depend on the types of the columns alone, and sums
    of the parts of some events can be added to those of others.
    """
    parts: list[np.ndarray] = []
    measures, scales = [], []
    for values, aggregate in columns:
        fine = count = -1
        filled = pc.fill_null(values, 0).to_numpy() if values.null_count else values.to_numpy()
        whole = len(parts)
        if pa.types.is_floating(values.type):
            filled, largest, refused = _finite(filled, table, aggregate)
            coarse, rest, halves = _exact(filled, largest)
            parts += [coarse, rest]
            fine = whole + 1
        else:
            coarse, halves = _halves(filled.astype(np.int64))
            parts.append(coarse)
            refused = None
        if every_part:
            halves = coarse >> 32 if halves is None else halves
            refused = np.zeros(coarse.size, np.int64) if refused is None and fine >= 0 else refused
        high, bad = (_added(parts, one) for one in (halves, refused))
        if values.null_count or every_part:
            count = len(parts)
            parts.append(values.is_valid().to_numpy().astype(np.int64))
        measures.append((whole, fine, count, high, bad, int(is_sum(aggregate))))
        scales.append((1 / COARSE, 1 / COARSE / FINE) if fine >= 0 else (1.0, 0.0))
    rows = len(columns[0][0]) if columns else (0 if order is None else order.size)
    size = rows if order is None else order.size
    matrix = np.empty((size, len(parts)), np.int64)
    for i, part in enumerate(parts):
        matrix[:, i] = part if order is None else part[order]
    return EventValues(matrix, np.array(measures, np.int64).reshape(-1, 6), np.array(scales, np.float64).reshape(-1, 2))


def _added(parts: list[np.ndarray], part: np.ndarray | None) -> int:
    """Add a part if there is one. Returns its number, or -1."""
    if part is None:
        return -1
    parts.append(part)
    return len(parts) - 1


def _finite(values: np.ndarray, table: Table, aggregate: Aggregate) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Set values that no sum can hold to 0, and mark them with 1 (None if there are none).

    Also returns the largest magnitude.
    """
    largest = float(np.abs(values).max(initial=0.0))  # nan if any is nan
    if largest < LARGEST:
        return values, largest, None
    refused = ~(np.abs(values) < LARGEST)
    bad = int(np.count_nonzero(refused))
    log.warning(
        "table %r: %s: %d of %d rows in the window have a value that is not finite or not below %g: what is computed "
        "over them is infinite. Declare min and max for the column so that the audit refuses such rows, and ingest their ticks "
        "again",
        table.name, aggregate, bad, values.size, LARGEST,
    )  # fmt: skip
    kept = np.where(refused, 0.0, values)
    return kept, float(np.abs(kept).max(initial=0.0)), refused.astype(np.int64)


def _exact(values: np.ndarray, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Split floats below 2**52 into multiples of 2**-16, which may wrap, the rest in multiples of 2**-52, and high halves.

    High halves are None if no sum can leave 64 bits.
    """
    scaled = values * COARSE
    whole = np.floor(scaled)
    rest = np.rint((scaled - whole) * FINE).astype(np.int64)
    if largest * COARSE * max(values.size, 1) < ROOM:
        return whole.astype(np.int64), rest, None
    high = np.floor(whole / HALF)  # both are exact, as is the difference: an integer below 2**32
    halves = high.astype(np.int64)
    return (halves << 32) + (whole - high * HALF).astype(np.int64), rest, halves


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Integers with their high halves; None if no sum can leave 64 bits."""
    largest = max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    return values, None if largest * max(values.size, 1) < ROOM else values >> 32


def longest(features: Sequence[Trailing]) -> timedelta:
    """How long before predict_at the longest window of all features begins."""
    return max(feature.look_back for feature in features)
