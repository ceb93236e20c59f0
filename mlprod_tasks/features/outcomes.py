"""Labels that come from later events of the row's key, by the sweep of trailing features, shifted to the future."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Any as AnyRow
from mlprod_tasks.declaration import Before, Count, First, Happens, Last, Outcome, Pipeline, Table, Tick, TickRange, Trailing
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features import rows as scored
from mlprod_tasks.features import trailing
from mlprod_tasks.features.column_moments import column_moments
from mlprod_tasks.features.ending_windows import end_sql, values_until
from mlprod_tasks.features.events import read_events
from mlprod_tasks.features.joined_rows import of_keys
from mlprod_tasks.features.key_ranges import KeyRange
from mlprod_tasks.features.keys import KeyCodes, key_codes
from mlprod_tasks.features.known import MICROSECOND
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.platform.threads import threads_here
from mlprod_tasks.platform.tick_columns import tick_array

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = pa.timestamp("us", "UTC")


ENDS = "_ends_at"  # of the window of each row, in microseconds since 1970


@dataclass(frozen=True)
class _Window:
    """The window of the rows of a tick: its length, which a clock change alters by an hour, and when it is complete."""

    tick: TickName
    length: timedelta
    complete: datetime


def outcome_labels(
    snapshot: Snapshot,
    outcome: Outcome,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    connection: duckdb.DuckDBPyConnection,
    keys: KeyRange | None = None,
) -> pa.Table:
    """The outcomes of rows of `ticks`, those of `keys` if given, that are complete when `as_of` starts.

    outcome: the label, or another outcome of the same rows. Rows whose window is not over yet, or for whose window a partition
    is missing, are left out: without it, no event would count as no.

    Returns: the entity's key, `tick`, `label` (bool, float64 of a number, or the name of a class), `label_known_at`, sorted by
    (tick, key).
    """
    pipeline = snapshot.pipeline
    key = pipeline.entity_table.key
    asked = _asked(snapshot, outcome, ticks, connection, keys)
    covered = _covered(snapshot, outcome, _of_windows(pipeline, asked, ticks), platform)
    windows = [_window(pipeline, outcome, tick) for tick in ticks]
    if isinstance(outcome.of, Happens):
        parts = [_labels_of_moments(snapshot, outcome, asked, windows, covered, as_of, connection)]
    elif outcome.until is not None or isinstance(pipeline.predict_at, Before):
        parts = [_labels_until(snapshot, outcome, asked, windows, covered, as_of, connection)]
    else:
        ready = [one for one in windows if one.complete <= min(covered[one.tick], as_of.start)]
        parts = [
            _labels_within(snapshot, outcome, asked, [one for one in ready if one.length == length], as_of, connection)
            for length in {one.length for one in ready}
        ]
    labels = pa.concat_tables([_no_labels(asked, outcome, key), *parts])
    return labels.sort_by([(name, "ascending") for name in ("tick", *key)])


def _asked(
    snapshot: Snapshot, outcome: Outcome, ticks: TickRange, connection: duckdb.DuckDBPyConnection, keys: KeyRange | None
) -> pa.Table:
    """The rows to score, with what the outcome needs of them."""
    pipeline, until = snapshot.pipeline, outcome.until
    rows = scored.query(pipeline, [_feature(outcome)], () if until is None else (until,))
    rows = keys.of(rows) if keys else rows
    if until is None:
        return snapshot.read(connection, rows, pipeline.entity_name, ticks)
    ends = f"{end_sql(pipeline, until)} AS {ENDS}"
    return snapshot.read(connection, lambda of: f"SELECT *, {ends} FROM ({rows(of)})", pipeline.entity_name, ticks)


def _labels_within(
    snapshot: Snapshot,
    outcome: Outcome,
    asked: pa.Table,
    windows: Sequence[_Window],
    as_of: Tick,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """The labels of the rows of ticks whose windows have the same length."""
    key, days = snapshot.pipeline.entity_table.key, tick_array((window.tick for window in windows), snapshot.pipeline.schedule)
    rows = scored.scored_rows(asked.filter(pc.is_in(asked["tick"], days)), key)
    length = windows[0].length // MICROSECOND
    shifted = replace(rows, at=rows.at + length)
    table, feature = _events_table(snapshot, outcome), replace(_feature(outcome), windows=(windows[0].length,))
    start, end = (int(rows.at[0]), int(shifted.at[-1])) if rows.count else (0, 0)
    events = _events(snapshot, table, feature, start, end, as_of, rows.table, connection)

    @cache
    def codes(mine: str, theirs: str) -> KeyCodes:
        return key_codes(rows.table[mine], events[f"key_{theirs}"])

    with ThreadPoolExecutor(threads_here()) as pool:
        ((_, value),) = trailing.compute(table, [feature], events, shifted, codes, pool)
    known_at = pa.array([window.complete for window in windows], MOMENT).take(pc.index_in(rows.table["tick"], days))
    return _labels(outcome, rows.table, key, pa.chunked_array([value]), known_at)


def _labels_until(
    snapshot: Snapshot,
    outcome: Outcome,
    asked: pa.Table,
    windows: Sequence[_Window],
    covered: Mapping[TickName, datetime],
    as_of: Tick,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """The labels of rows whose windows begin or end at moments of their own."""
    key, table, feature = snapshot.pipeline.entity_table.key, _events_table(snapshot, outcome), _feature(outcome)
    rows, starts, ends, known_at = _complete(snapshot, outcome, asked, windows, covered, as_of)
    ready = rows["tick"]
    span = (int(starts.min()), int(ends.max())) if len(ready) else (0, 0)
    events = _events(snapshot, table, feature, *span, as_of, rows, connection)
    codes = scored.combined(outcome.by, lambda mine, theirs: key_codes(rows[mine], events[f"key_{theirs}"]))
    values = events["value_0"] if "value_0" in events.column_names else None
    value = values_until(events["at_0"], values, codes, starts, ends, feature.aggregates[0])
    return _labels(outcome, rows, key, pa.chunked_array([value]), pa.chunked_array([known_at]).cast(MOMENT))


def _labels_of_moments(
    snapshot: Snapshot,
    outcome: Outcome,
    asked: pa.Table,
    windows: Sequence[_Window],
    covered: Mapping[TickName, datetime],
    as_of: Tick,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """The labels of rows whose outcome is a moment in a column. Those for which it came before have none."""
    rows, starts, ends, known_at = _complete(snapshot, outcome, asked, windows, covered, as_of)
    found = column_moments(snapshot, outcome, rows, as_of, connection)
    inside = (found.begins >= starts) & (found.ends <= ends)
    told = pa.array(inside, mask=~found.told | (found.begins < starts))
    known_at = np.where(inside, np.maximum(known_at, found.entered), known_at)
    known = pa.chunked_array([known_at]).cast(MOMENT)
    columns = {name: rows[name] for name in (*snapshot.pipeline.entity_table.key, "tick")}
    return pa.table(columns | {"label": told, "label_known_at": known}).filter(told.is_valid())


def _complete(
    snapshot: Snapshot,
    outcome: Outcome,
    asked: pa.Table,
    windows: Sequence[_Window],
    covered: Mapping[TickName, datetime],
    as_of: Tick,
) -> tuple[pa.Table, np.ndarray, np.ndarray, np.ndarray]:
    """The rows whose outcomes are complete, where their windows start and end, and when they are complete: microseconds."""
    pipeline = snapshot.pipeline
    place = pc.index_in(asked["tick"], tick_array((one.tick for one in windows), pipeline.schedule)).to_numpy()
    starts = asked["predict_at"].cast(pa.int64()).to_numpy()
    ends = starts + _microseconds(one.length for one in windows)[place]
    follow = [one.tick for one in windows]
    if isinstance(pipeline.predict_at, Before):
        moments, of_row = np.unique(starts, return_inverse=True)
        begun = [EPOCH + int(moment) * MICROSECOND for moment in moments]
        ends = _microseconds(_days_later(pipeline, one, outcome) - EPOCH for one in begun)[of_row]
        if not isinstance(outcome.of, Happens):  # a moment is in its key's row; events are in partitions since predict_at
            place, follow = of_row, [pipeline.schedule.name_at(one) for one in begun]
    if outcome.until is not None:
        ends = np.minimum(pc.fill_null(asked[ENDS], 2**62).to_numpy(), ends)
    known_at = ends + pipeline.table(outcome.table).known_after // MICROSECOND
    seen = _microseconds(min(covered[one], as_of.start) - EPOCH for one in follow)[place]
    ready = np.flatnonzero((known_at <= seen) & (ends > starts))
    return asked.take(ready), starts[ready], ends[ready], known_at[ready]


def _microseconds(lengths: Iterable[timedelta]) -> np.ndarray:
    return np.array([length // MICROSECOND for length in lengths], np.int64)


def _labels(
    outcome: Outcome, rows: pa.Table, key: Sequence[str], value: pa.ChunkedArray, known_at: pa.ChunkedArray
) -> pa.Table:
    label = _label(outcome, value)
    columns = {name: rows[name] for name in (*key, "tick")} | {"label": label, "label_known_at": known_at}
    return pa.table(columns).filter(label.is_valid())


def _label(outcome: Outcome, value: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(outcome.of, First | Last):
        names = value.cast(pa.string())
        return pc.fill_null(names, outcome.otherwise) if outcome.otherwise else names
    return pc.greater(value, 0) if isinstance(outcome.of, AnyRow) else value.cast(pa.float64())


def _feature(outcome: Outcome) -> Trailing:
    """The outcome as a trailing feature; what it is called does not matter."""
    of = outcome.of
    of = Count("outcome", where=of.where) if isinstance(of, AnyRow | Happens) else replace(of, name="outcome")
    return Trailing("label", outcome.table, outcome.by, (outcome.within,), (of,))


def _of_windows(pipeline: Pipeline, asked: pa.Table, ticks: TickRange) -> TickRange:
    """These ticks, and those before them in which the windows of their rows begin."""
    if not isinstance(pipeline.predict_at, Before) or not asked.num_rows:
        return ticks
    earliest = pipeline.schedule.name_at(pc.min(asked["predict_at"]).as_py())
    return TickRange(pipeline.schedule, min(earliest, ticks.first), ticks.last)


def _days_later(pipeline: Pipeline, moment: datetime, outcome: Outcome) -> datetime:
    """Where a window ends that begins at a moment: its whole days later at the same local time, and the rest."""
    local = moment.astimezone(pipeline.schedule.zone) + timedelta(days=outcome.days)
    return local.replace(fold=0).astimezone(UTC) + outcome.rest


def _window(pipeline: Pipeline, outcome: Outcome, tick: Tick) -> _Window:
    """The window that begins with a tick: whole days end at the same local time, and the rest follows."""
    end = pipeline.schedule.days_later(tick.name, outcome.days) + outcome.rest
    return _Window(tick.name, end - tick.start, end + pipeline.table(outcome.table).known_after)


def _no_labels(asked: pa.Table, outcome: Outcome, key: Sequence[str]) -> pa.Table:
    kind = {"yes_no": pa.bool_(), "number": pa.float64(), "class": pa.string()}[outcome.kind]
    fields = [
        *(asked.schema.field(name) for name in (*key, "tick")),
        pa.field("label", kind),
        pa.field("label_known_at", MOMENT),
    ]
    return pa.schema(fields).empty_table()


def _events_table(snapshot: Snapshot, outcome: Outcome) -> Table:
    """The table of events. An event belongs to a window by its own time, not by when it became known."""
    return replace(snapshot.pipeline.table(outcome.table), known_after=timedelta(0))


def _events(
    snapshot: Snapshot,
    table: Table,
    feature: Trailing,
    start: int,
    end: int,
    as_of: Tick,
    rows: pa.Table,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """The events in [start, end), in microseconds since 1970, that were there when `as_of` starts.

    Of a large table only those that have a key of the rows.
    """
    # A row known in [start(t - 1), start(t)) is in partition t; those known by `as_of` are in its partition or an earlier one.
    schedule = snapshot.pipeline.schedule
    first = schedule.name_at(EPOCH + start * MICROSECOND)
    read = TickRange(schedule, first, max(as_of.name, first))
    with of_keys(snapshot, table, read, rows, feature.by, connection) as kept:
        events = read_events(snapshot, table, [feature], start, end, read, connection, kept=kept)
    if "usable" in events.column_names:
        # What matters is whether a late event was there when labels are read, not when a row was scored.
        arrived = pc.less_equal(events["usable"], (as_of.start - EPOCH) // MICROSECOND)
        events = events.filter(pc.fill_null(arrived, True)).drop_columns(["usable"])
    return events


def _covered(snapshot: Snapshot, outcome: Outcome, ticks: TickRange, platform: Platform) -> dict[TickName, datetime]:
    """Up to which moment each tick is followed by partitions without a gap; one may have been published without rows."""
    pipeline = snapshot.pipeline
    table, schedule = outcome.table, pipeline.schedule
    if pipeline.table(table).time is None:  # read as a whole at every tick: what counts is the last time
        read = platform.ledger.all(Publication, pipeline=pipeline.name, table_name=table)
        until = schedule.moment(max((one.tick for one in read), default=ticks.first))
        return dict.fromkeys(ticks.names, until)
    last = schedule.shift(ticks.last, pipeline.outcome_delay_ticks(outcome))
    between = (Publication.tick > ticks.first) & (Publication.tick <= last) & (Publication.rows == 0)
    empty = platform.ledger.all(Publication, between, pipeline=pipeline.name, table_name=table)
    there = snapshot.ticks(table) | {one.tick for one in empty}
    covered, end = {}, last
    for day in reversed(schedule.names(ticks.first, last)):
        covered[day] = schedule.moment(end)
        end = end if day in there else schedule.shift(day, -1)
    return covered
