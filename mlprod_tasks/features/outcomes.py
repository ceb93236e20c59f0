"""Labels that come from later events of the row's key, by the sweep of trailing features, shifted to the future."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Any as AnyRow
from mlprod_tasks.declaration import Count, Outcome, Pipeline, Tick, TickRange, Trailing
from mlprod_tasks.features import rows as scored
from mlprod_tasks.features import trailing
from mlprod_tasks.features.events import read_events
from mlprod_tasks.features.keys import KeyCodes, key_codes
from mlprod_tasks.features.known import MICROSECOND
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Publication

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
MOMENT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class _Window:
    """The window of the rows of a tick: its length, which a clock change alters by an hour, and when it is complete."""

    tick: date
    length: timedelta
    complete: datetime


def outcome_labels(
    snapshot: Snapshot, ticks: TickRange, as_of: Tick, platform: Platform, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """The outcomes of rows of `ticks` that are complete when `as_of` starts.

    Rows whose window is not over yet, or for whose window a partition is missing, are left out: without it, no event would
    count as no.

    Returns: the entity's key, `tick`, `label` (bool, or float64 of a number), `label_known_at`, sorted by (tick, key).
    """
    pipeline, outcome = snapshot.pipeline, snapshot.pipeline.label
    assert isinstance(outcome, Outcome)
    key = pipeline.entity_table.key
    asked = snapshot.read(connection, scored.query(pipeline, [_feature(outcome)]), pipeline.entity_name, ticks)
    whole = _whole_ticks(snapshot, ticks, platform)
    windows = [one for tick in ticks if (one := _window(pipeline, outcome, tick)).tick in whole and one.complete <= as_of.start]
    parts = [_no_labels(asked, outcome, key)]
    for length in {window.length for window in windows}:
        of_length = [window for window in windows if window.length == length]
        days = pa.array([window.tick for window in of_length], pa.date32())
        rows = scored.scored_rows(asked.filter(pc.is_in(asked["tick"], days)), key).table
        value = _values(snapshot, replace(_feature(outcome), windows=(length,)), rows, as_of, connection)
        label = pc.greater(value, 0) if isinstance(outcome.of, AnyRow) else value.cast(pa.float64())
        known_at = pa.array([window.complete for window in of_length], MOMENT).take(pc.index_in(rows["tick"], days))
        columns = {name: rows[name] for name in (*key, "tick")} | {"label": label, "label_known_at": known_at}
        parts.append(pa.table(columns).filter(label.is_valid()))
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("tick", *key)])


def _feature(outcome: Outcome) -> Trailing:
    """The outcome as a trailing feature; what it is called does not matter."""
    of = Count("outcome", where=outcome.of.where) if isinstance(outcome.of, AnyRow) else replace(outcome.of, name="outcome")
    return Trailing("label", outcome.table, outcome.by, (outcome.within,), (of,))


def _window(pipeline: Pipeline, outcome: Outcome, tick: Tick) -> _Window:
    """The window that begins with a tick: whole days end at the same local time, and the rest follows."""
    end = pipeline.schedule.moment(tick.date + outcome.days * ONE_DAY) + outcome.rest
    return _Window(tick.date, end - tick.start, end + pipeline.label_delay - outcome.within)


def _no_labels(asked: pa.Table, outcome: Outcome, key: Sequence[str]) -> pa.Table:
    kind = pa.bool_() if isinstance(outcome.of, AnyRow) else pa.float64()
    fields = [
        *(asked.schema.field(name) for name in (*key, "tick")),
        pa.field("label", kind),
        pa.field("label_known_at", MOMENT),
    ]
    return pa.schema(fields).empty_table()


def _values(
    snapshot: Snapshot, feature: Trailing, asked: pa.Table, as_of: Tick, connection: duckdb.DuckDBPyConnection
) -> pa.ChunkedArray:
    """The value of the feature over the window that begins at each row's predict_at, not the one that ends there."""
    pipeline, (length,) = snapshot.pipeline, feature.windows
    # An event belongs to the window by its own time, not by when it became known.
    table = replace(pipeline.table(feature.table), known_after=timedelta(0))
    rows = scored.scored_rows(asked, pipeline.entity_table.key)
    start = int(rows.at[0]) if rows.count else 0
    shifted = replace(rows, at=rows.at + length // MICROSECOND)
    end = int(shifted.at[-1]) if rows.count else 0
    # A row known in [start(t - 1), start(t)) is in partition t; those known by `as_of` are in its partition or an earlier one.
    first = (EPOCH + start * MICROSECOND).date() - ONE_DAY
    events = read_events(
        snapshot, table, [feature], start, end, TickRange(pipeline.schedule, first, max(as_of.date, first)), connection
    )
    if "usable" in events.column_names:
        # What matters is whether a late event was there when labels are read, not when a row was scored.
        arrived = pc.less_equal(events["usable"], (as_of.start - EPOCH) // MICROSECOND)
        events = events.filter(pc.fill_null(arrived, True)).drop_columns(["usable"])

    @cache
    def key(mine: str, theirs: str) -> KeyCodes:
        return key_codes(asked[mine], events[f"key_{theirs}"])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        ((_, value),) = trailing.compute(table, [feature], events, shifted, key, pool)
    return pa.chunked_array([value])


def _whole_ticks(snapshot: Snapshot, ticks: TickRange, platform: Platform) -> set[date]:
    """The ticks whose rows have every partition of their window; a partition may have been published without rows."""
    pipeline = snapshot.pipeline
    table, delay = pipeline.label.table, pipeline.label_delay_ticks
    last = ticks.last + delay * ONE_DAY
    between = (Publication.tick > ticks.first) & (Publication.tick <= last) & (Publication.rows == 0)
    empty = platform.ledger.all(Publication, between, pipeline=pipeline.name, table_name=table)
    there = snapshot.ticks(table) | {one.tick for one in empty}
    whole, run = set(), 0  # partitions in a row up to the one looked at
    for n in range(1, len(ticks) + delay):
        day = ticks.first + n * ONE_DAY
        run = run + 1 if day in there else 0
        if n >= delay and run >= delay:
            whole.add(day - delay * ONE_DAY)
    return whole
