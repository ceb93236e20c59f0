"""Trailing counts, means and rates: bit for bit the same whatever else is computed in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Count, Mean, Rate, Table, Trailing
from mlprod_tasks.declaration.reads import late_columns, taken_from
from mlprod_tasks.features.keys import KeyCodes
from mlprod_tasks.features.known import MICROSECOND, counts_from, known_at
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.platform.sql import identifier

# A float is summed as two integers, a multiple of 2**-16 and the rest as a multiple of 2**-52. These sums are exact, so they
# do not depend on the order of rows. There is room for magnitudes up to 2**47 / n and for 2**27 rows.
COARSE = 2.0**16
FINE = 2.0**36
ROOM = 2.0**63


class UnusableValue(ValueError):
    """A value in the lake that no mean can be computed from."""


@dataclass(frozen=True)
class EventValues:
    """The integers that events add to the sums of their key, and how a mean is computed from the sums."""

    parts: np.ndarray  # (events, parts)
    measures: np.ndarray  # (measures, 3), see sweep.window_aggregates
    scales: np.ndarray  # (measures, 2)


@dataclass(frozen=True)
class AggregateGroup:
    """The aggregates of a feature whose values become known at the same time."""

    late: tuple[str, ...]  # the columns with this time, in addition to the row's known_at
    aggregates: tuple[Count | Mean | Rate, ...]

    @property
    def means(self) -> tuple[Mean | Rate, ...]:
        """All aggregates but counts: they need a value from each event."""
        return tuple(aggregate for aggregate in self.aggregates if not isinstance(aggregate, Count))


@dataclass(frozen=True)
class _Job:
    """One group of one feature, ready for the sweep."""

    feature: Trailing
    group: AggregateGroup
    codes: KeyCodes
    values: EventValues
    at: np.ndarray  # (events,) microseconds, ascending
    order: np.ndarray | None  # the events' positions in that order; None if they are in it already


def query(table: Table, features: Sequence[Trailing], start: int, end: int) -> Callable[[str], str]:
    """SQL of the events that `features` take from `table`, known in [start, end) (microseconds since 1970).

    Columns: `at_<i>` (microseconds; one for each of `moments_of`), `key_<column>`, `value_<i>`.
    """
    moments, values = moments_of(table, features), values_of(features)
    keys = sorted({theirs for feature in features for theirs in feature.by.values()})

    def sql(relation: str) -> str:
        at = [f"epoch_us({counts_from(late)}) AS at_{i}" for i, late in enumerate(moments)]
        by = [f"{identifier(key)} AS key_{key}" for key in keys]
        what = [f"{value} AS value_{i}" for i, value in enumerate(values)]
        within = " OR ".join(
            f"({moment} >= make_timestamptz({start}) AND {moment} < make_timestamptz({end}))"
            for moment in (counts_from(late) for late in moments)
        )
        calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
        return (
            f"WITH events AS (SELECT *, {known_at(table)} AS known_at FROM {relation}{calendar}) "
            f"SELECT {', '.join(at + by + what)} FROM events WHERE {within}"
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
    columns = {value: events[f"value_{i}"] for i, value in enumerate(values_of(features))}
    orders = {late: order_of(events, i) for i, late in enumerate(moments_of(table, features))}
    computed: dict[tuple[object, ...], EventValues] = {}  # features that aggregate the same values share them
    jobs = []
    for feature in features:
        codes = rows.key(feature.by, key)
        for group in groups_of(table, feature):
            at, order = orders[group.late]
            identity = (group.late, *(value_of(mean) for mean in group.means))
            if identity not in computed:
                computed[identity] = event_values(table, [(columns[value_of(mean)], mean) for mean in group.means], order)
            jobs.append(_Job(feature, group, codes, computed[identity], at, order))
    for named_columns in pool.map(lambda job: _feature_columns(job, rows), jobs):
        yield from named_columns


def _feature_columns(job: _Job, rows: ScoredRows) -> list[tuple[str, pa.Array]]:
    """The name and the column of each aggregate over each window of one job."""
    from mlprod_tasks.features import sweep  # imported here because numba takes a second to load

    lengths = sorted(job.feature.windows)
    counts = np.empty((len(lengths), rows.count), np.int64)
    means = np.empty((len(lengths), len(job.group.means), rows.count), np.float64)
    event_keys = job.codes.events if job.order is None else job.codes.events[job.order]
    microseconds = np.array([length // MICROSECOND for length in lengths], np.int64)
    sweep.window_aggregates(
        job.at, event_keys, job.values.parts, rows.at, job.codes.rows[rows.order], rows.order, microseconds,
        max(job.codes.size, 1), job.values.measures, job.values.scales, counts, means,
    )  # fmt: skip
    columns = []
    for w, length in enumerate(lengths):
        for aggregate in job.group.aggregates:
            name = job.feature.feature(aggregate, length)
            if isinstance(aggregate, Count):
                columns.append((name, pa.array(counts[w])))
            else:
                columns.append((name, pa.array(means[w, job.group.means.index(aggregate)], from_pandas=True)))
    return columns


def groups_of(table: Table, feature: Trailing) -> list[AggregateGroup]:
    """The aggregates of a feature, grouped by the time at which their values become known."""
    groups: dict[tuple[str, ...], list[Count | Mean | Rate]] = {}
    for aggregate in feature.aggregates:
        groups.setdefault(late_columns(table, taken_from(aggregate)), []).append(aggregate)
    return [AggregateGroup(late, tuple(aggregates)) for late, aggregates in groups.items()]


def moments_of(table: Table, features: Sequence[Trailing]) -> list[tuple[str, ...]]:
    """The different times at which values become known, each as the late columns that define it."""
    return sorted({group.late for feature in features for group in groups_of(table, feature)})


def values_of(features: Sequence[Trailing]) -> list[str]:
    """The SQL of every value that means and rates of `features` aggregate."""
    return sorted({value_of(a) for feature in features for a in feature.aggregates if not isinstance(a, Count)})


def value_of(aggregate: Mean | Rate) -> str:
    """SQL of the value that an event adds: a column, or 1 and 0 for a condition."""
    if isinstance(aggregate, Rate):
        return f"CAST(CAST(({aggregate.sql}) AS BOOLEAN) AS TINYINT)"
    return identifier(aggregate.column)


def order_of(events: pa.Table, moment: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The times sorted ascending, and the events' positions in that order (None if they are in it already)."""
    column = events[f"at_{moment}"]
    at = column.to_numpy()
    if column.null_count:
        valid = np.flatnonzero(column.is_valid().to_numpy())
        at = column.drop_null().to_numpy()
        order = np.argsort(at)
        return at[order], valid[order]
    if bool(np.all(at[1:] >= at[:-1])):
        return at, None
    order = np.argsort(at)
    return at[order], order


def event_values(table: Table, columns: Sequence[tuple[pa.ChunkedArray, Mean | Rate]], order: np.ndarray | None) -> EventValues:
    """The integers that each event adds, one or more for each mean or rate, in order of time."""
    parts: list[np.ndarray] = []
    measures, scales = [], []
    for values, aggregate in columns:
        where = f"table {table.name!r}: {aggregate}"
        fine = count = -1
        filled = pc.fill_null(values, 0).to_numpy() if values.null_count else values.to_numpy()
        whole = len(parts)
        if pa.types.is_floating(values.type):
            coarse, rest = _exact(filled, where)
            parts.append(coarse)
            fine = len(parts)
            parts.append(rest)
        else:
            parts.append(_small(filled.astype(np.int64), where))
        if values.null_count:
            count = len(parts)
            parts.append(values.is_valid().to_numpy().astype(np.int64))
        measures.append((whole, fine, count))
        scales.append((1 / COARSE, 1 / COARSE / FINE) if fine >= 0 else (1.0, 0.0))
    rows = len(columns[0][0]) if columns else (0 if order is None else order.size)
    size = rows if order is None else order.size
    matrix = np.empty((size, len(parts)), np.int64)
    for i, part in enumerate(parts):
        matrix[:, i] = part if order is None else part[order]
    return EventValues(matrix, np.array(measures, np.int64).reshape(-1, 3), np.array(scales, np.float64).reshape(-1, 2))


def _exact(values: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Split floats into multiples of 2**-16 and the rest in multiples of 2**-52."""
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise UnusableValue(
            f"{where}: {bad:,} of {values.size:,} rows in the window have a value that is not finite (nan or infinite). "
            "Declare min and max for the column so that the audit refuses such rows, and ingest their ticks again"
        )
    _fits(float(np.abs(values).max(initial=0.0)) * COARSE, values.size, where)
    scaled = values * COARSE
    whole = np.floor(scaled)
    return whole.astype(np.int64), np.rint((scaled - whole) * FINE).astype(np.int64)


def _small(values: np.ndarray, where: str) -> np.ndarray:
    largest = max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    _fits(float(largest), values.size, where)
    return values


def _fits(largest: float, rows: int, where: str) -> None:
    if largest * max(rows, 1) >= ROOM:
        raise UnusableValue(
            f"{where}: the sum of {rows:,} values of up to {largest:,.0f} (floats: in units of 1/65536) exceeds 64 bits. "
            "Store the column in a larger unit"
        )


def longest(features: Sequence[Trailing]) -> timedelta:
    """The longest window of all features."""
    return max(window for feature in features for window in feature.windows)
