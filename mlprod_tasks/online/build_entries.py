"""Build the entries of the online store, with the queries and sums of batch features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import AsOf, Lookup, Table, TickRange, Trailing
from mlprod_tasks.declaration.aggregate_groups import groups_of, series_of, value_of
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features import joins, trailing
from mlprod_tasks.features.event_series import EventSeries, event_series
from mlprod_tasks.features.event_times import times_of
from mlprod_tasks.features.events import partitions_of, read_events
from mlprod_tasks.features.keys import KeyCodes, combined_codes
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.online.entries import Running, write_observations, write_row, write_windows
from mlprod_tasks.online.plan import EPOCH, MICROSECOND, EntryGroup

# Planned rows, and values with a time of their own, may become known after the store's tick.
AHEAD = timedelta(days=3660)
Entries = Iterator[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Horizon:
    """The times that the store covers.

    They begin `look_back` before `start`, the start of `tick` in microseconds.
    """

    tick: TickName
    start: int
    look_back: timedelta

    @property
    def exact_from(self) -> int:
        return self.start - self.look_back // MICROSECOND

    def since(self, back: timedelta) -> int:
        """The oldest time that a feature looking `back` may need."""
        return self.exact_from - back // MICROSECOND

    @property
    def end(self) -> int:
        return self.start + AHEAD // MICROSECOND

    def partitions(self, snapshot: Snapshot, since: int) -> TickRange:
        """The ticks whose partitions hold what became known since."""
        schedule = snapshot.pipeline.schedule
        return TickRange(schedule, min(schedule.name_at(EPOCH + since * MICROSECOND), self.tick), self.tick)

    def first(self, snapshot: Snapshot, groups: Sequence[EntryGroup]) -> TickName:
        """The first tick that any of the groups may read."""
        lengths = [
            feature.max_age if isinstance(feature, AsOf) else feature.look_back
            for feature in (group.feature for group in groups)
            if isinstance(feature, AsOf | Trailing)
        ]
        return snapshot.pipeline.schedule.name_at(EPOCH + self.since(max(lengths, default=timedelta(0))) * MICROSECOND)


def written(
    snapshot: Snapshot, groups: Sequence[EntryGroup], horizon: Horizon, connection: duckdb.DuckDBPyConnection
) -> Iterator[tuple[EntryGroup, Entries]]:
    """Yield every group with its entries.

    Keeps the events of one table in memory at a time.

    Raises: ValueError if a reference table has a key twice.
    """
    pipeline = snapshot.pipeline
    for table in pipeline.tables:
        mine = [group for group in groups if group.feature.table == table.name]
        windows = [group.feature for group in mine if isinstance(group.feature, Trailing)]
        events = _events(snapshot, table, windows, horizon, connection) if windows else None
        for group in mine:
            match group.feature:
                case Lookup() as feature:
                    rows = snapshot.read(connection, joins.lookup_query(table, feature), table.name)
                    yield group, _rows(group, feature, table, rows)
                case AsOf() as feature:
                    since = horizon.since(feature.max_age)
                    read = horizon.partitions(snapshot, since)
                    hides_late = snapshot.hides_late(table.name, read)
                    query = joins.as_of_query(table, feature, since, horizon.end, hides_late)
                    yield group, _observations(group, feature, table, snapshot.read(connection, query, table.name, read))
                case Trailing() as feature:
                    assert events is not None
                    yield group, _windows(group, feature, table, windows, events, horizon)


def _events(
    snapshot: Snapshot, table: Table, features: Sequence[Trailing], horizon: Horizon, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    since = horizon.since(trailing.longest(features))
    read = horizon.partitions(snapshot, since)
    read = partitions_of(snapshot, table, features, read)
    return read_events(snapshot, table, features, since, horizon.end, read, connection)


def _rows(group: EntryGroup, feature: Lookup, table: Table, rows: pa.Table) -> Entries:
    codes, keys = _keys(group, [rows[theirs] for theirs in group.theirs])
    if len(keys) < np.count_nonzero(codes >= 0):
        raise ValueError(f"table {table.name!r} holds a key {table.key} more than once: a look-up would multiply rows")
    columns = [plain(rows[column]) for column in feature.columns.values()]
    for code, *values in zip(codes.tolist(), *columns, strict=True):
        if code >= 0:
            yield keys[code], write_row(values)


def _observations(group: EntryGroup, feature: AsOf, table: Table, events: pa.Table) -> Entries:
    codes, keys = _keys(group, [events[theirs] for theirs in group.theirs])
    order, edges = _grouped(codes, len(keys))
    at = events["_at"].to_numpy()[order]
    told = events["_known"].to_numpy()[order] if "_known" in events.column_names else at
    columns, late = [], []
    for column in feature.columns.values():
        columns.append(plain(events[column].take(pa.array(order))))
        moment = table.column(column).known_at
        late.append([] if moment is None else plain(events[moment].take(pa.array(order))))
    any_late = any(late)
    for k, key in enumerate(keys):
        of = slice(edges[k], edges[k + 1])
        known = [one[of] if one else [-(2**63)] * (of.stop - of.start) for one in late] if any_late else []
        since = None if np.array_equal(told[of], at[of]) else _bytes(told[of])
        yield key, write_observations(_bytes(at[of]), [column[of] for column in columns], known, since)


def _windows(
    group: EntryGroup, feature: Trailing, table: Table, features: Sequence[Trailing], events: pa.Table, horizon: Horizon
) -> Entries:
    since = horizon.since(feature.look_back)
    moments, values = trailing.moments_of(table, features), trailing.values_of(features)
    codes, keys = _keys(group, [events[f"key_{theirs}"] for theirs in group.theirs])
    sections = []
    for same in groups_of(table, feature):
        times = times_of(events, moments.index(same.late), None, feature.skip, horizon.exact_from)
        columns = [(events[f"value_{values.index(value_of(a))}"], a) for a in same.measures]
        measured = trailing.event_values(table, columns, times.order)
        code = codes if times.order is None else codes[times.order]
        kept = np.where(times.known >= since, code, -1)
        by_key, edges = _grouped(kept, len(keys))
        layout = [
            (*map(int, measure[:3]), *map(float, units), *map(int, measure[3:5] if (measure[3:5] >= 0).any() else ()))
            for measure, units in zip(measured.measures, measured.scales, strict=True)
        ]
        parts = measured.parts[by_key] if measured.parts.shape[1] else np.empty((by_key.size, 0), np.int64)
        sections.append((times.at[by_key], times.known[by_key], parts, edges, layout))
    series = _series(feature, table, features, events, codes, len(keys), horizon)
    lengths = [window // MICROSECOND for window in feature.windows]
    for k, key in enumerate(keys):
        entry: list[Any] = []
        for at, known, parts, edges, layout in sections:
            of = slice(edges[k], edges[k + 1])
            if np.array_equal(at[of], known[of]):
                entry.append((*_running(at[of], parts[of]), layout))
            else:
                windows = _late_windows(at[of], known[of], parts[of], lengths)
                entry.append((*_running(at[:0], parts[:0]), layout, windows))
        taken = [one.part(k) for one in series]
        if any(part[0] or len(part) > 3 for part in (*entry, *taken)):
            yield key, write_windows(entry, taken)


@dataclass(frozen=True)
class _Series:
    """A series of events as it is written. code: the type of its values as bytes; '' for a list."""

    series: EventSeries
    code: str
    values: Any

    def part(self, key: int) -> tuple[Any, ...]:
        """The times, the type and the values of one key; if events are late, the moments after which they are seen."""
        of = slice(*self.series.starts[key : key + 2])
        at, values = self.series.at[of], self.values[of]
        part = (_bytes(at), self.code, values.astype(f"<{self.code}8").tobytes() if self.code else values)
        assert self.series.seen is not None
        seen = self.series.seen[of]
        return part if np.array_equal(seen, at) else (*part, _bytes(seen))


def _series(
    feature: Trailing,
    table: Table,
    features: Sequence[Trailing],
    events: pa.Table,
    codes: np.ndarray,
    keys: int,
    horizon: Horizon,
) -> list[_Series]:
    """The events of the aggregates that are no sums."""
    moments, values = trailing.moments_of(table, features), trailing.values_of(features)
    written = []
    for late, value in series_of(table, feature):
        kind = trailing.stable_if_needed(features)
        known, seen, order = times_of(events, moments.index(late), kind, feature.skip, horizon.exact_from).by_known()
        first = int(np.searchsorted(known, horizon.since(feature.look_back)))
        column = events[f"value_{values.index(value)}"] if value else None
        series = event_series(known[first:], order[first:], codes, keys, column, seen[first:])
        written.append(_written(series))
    return written


def _written(series: EventSeries) -> _Series:
    values = series.values
    if values is None:
        return _Series(series, "", [])
    if pa.types.is_int64(values.type) or pa.types.is_float64(values.type):
        return _Series(series, "i" if pa.types.is_int64(values.type) else "f", values.to_numpy(zero_copy_only=False))
    return _Series(series, "", values.to_pylist())


def _running(at: np.ndarray, parts: np.ndarray) -> Running:
    """The times of events, and the running sums of their parts."""
    sums = np.zeros((parts.shape[1], at.size + 1), np.int64)
    np.cumsum(parts.T, axis=1, out=sums[:, 1:])
    return _bytes(at), [_bytes(part) for part in sums]


def _late_windows(
    at: np.ndarray, known: np.ndarray, parts: np.ndarray, lengths: Sequence[int]
) -> list[tuple[Running, Running]]:
    """For each window the events as they enter it and as they leave it: late ones leave in another order.

    An event that is older than the window when it can be seen is in neither.
    """
    windows = []
    for length in lengths:
        inside = np.flatnonzero(at - known < length)
        leaving = inside[np.argsort(known[inside])]
        windows.append((_running(at[inside], parts[inside]), _running(known[leaving], parts[leaving])))
    return windows


def _keys(group: EntryGroup, columns: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, list[bytes]]:
    """The number of each row's key, -1 if any part of it is null.

    Also returns the keys by number.
    """
    nothing = np.empty(0, np.int64)
    coded: KeyCodes | None = None
    for column in columns:
        encoded = column.combine_chunks().dictionary_encode()
        one = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        this = KeyCodes(nothing, one, len(encoded.dictionary))
        coded = this if coded is None else combined_codes(coded, this)
    assert coded is not None
    complete = coded.events >= 0
    _, first, number = np.unique(coded.events[complete], return_index=True, return_inverse=True)
    codes = np.full(coded.events.size, -1, np.int64)
    codes[complete] = number
    example = pa.array(np.flatnonzero(complete)[first])
    values = [plain(column.take(example)) for column in columns]
    return codes, [group.key(list(key)) for key in zip(*values, strict=True)]


def _grouped(codes: np.ndarray, keys: int) -> tuple[np.ndarray, list[int]]:
    """The positions of rows that have a key, sorted by key and then in order.

    Also returns the position where each key begins.
    """
    with_key = np.flatnonzero(codes >= 0)
    order = with_key[np.argsort(codes[with_key], kind="stable")]
    edges: list[int] = np.searchsorted(codes[order], np.arange(keys + 1)).tolist()
    return order, edges


def plain(column: pa.ChunkedArray) -> list[Any]:
    """The values as in a request: times as microseconds and dates as days since 1970."""
    if pa.types.is_timestamp(column.type):
        return list(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist())
    if pa.types.is_date(column.type):
        return list(column.cast(pa.int32()).to_pylist())
    return list(column.to_pylist())


def _bytes(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, "<i8").tobytes()
