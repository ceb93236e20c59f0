"""Outcomes that a column tells: the moment at which it happened to the row's key, if it has happened."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Happens, Outcome, Table, Tick, TickRange
from mlprod_tasks.features.known import KNOWN_AT, known_at, usable_at
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.platform.tick_columns import tick_array

NEVER = 2**62  # microseconds, of what has not happened
ASKED = "asked_moments"


@dataclass(frozen=True)
class ColumnMoments:
    """When it happened to each row's key, in microseconds since 1970, (rows,); NEVER: not yet.

    begins, ends: the moment, or its whole day if the column is a date; `ends` is not part of it.
    entered: when that became known.
    told: False for a row whose key was last read before its window was over, so that nothing tells what happened since.
    """

    begins: np.ndarray
    ends: np.ndarray
    entered: np.ndarray
    told: np.ndarray


def column_moments(
    snapshot: Snapshot, outcome: Outcome, rows: pa.Table, as_of: Tick, connection: duckdb.DuckDBPyConnection
) -> ColumnMoments:
    """What the column tells of each of `rows` when `as_of` starts."""
    assert isinstance(outcome.of, Happens)
    table = snapshot.pipeline.table(outcome.table)
    asked = pa.table(
        {f"_own_{n}": rows[mine] for n, mine in enumerate(outcome.by)}
        | {"_place": np.arange(rows.num_rows), "_oldest": _oldest(snapshot, outcome, table, rows)}
    )
    connection.register(ASKED, asked)
    ticks = _ticks(snapshot, table, as_of)
    found = snapshot.read(connection, lambda of: _moments_sql(snapshot, outcome, table, of, as_of), table.name, ticks)
    place = found["_place"].to_numpy()
    told = np.ones(rows.num_rows, bool)
    told[place] = found["_told"].to_numpy()
    moments = {}
    for name in ("begins", "ends", "entered"):
        values = np.full(rows.num_rows, NEVER)
        values[place] = found[f"_{name}"].to_numpy()
        moments[name] = values
    return ColumnMoments(**moments, told=told)


def _ticks(snapshot: Snapshot, table: Table, as_of: Tick) -> TickRange | None:
    """The partitions with all rows known before `as_of`."""
    if table.time is None:
        return None
    schedule = snapshot.pipeline.schedule
    return TickRange(schedule, min(snapshot.oldest(table.name) or as_of.name, as_of.name), as_of.name)


def _oldest(snapshot: Snapshot, outcome: Outcome, table: Table, rows: pa.Table) -> pa.Array:
    """For each row the oldest partition that was still read again when its window was over."""
    schedule = snapshot.pipeline.schedule
    if table.time is None:
        return pa.nulls(rows.num_rows, pa.bool_())
    later = snapshot.pipeline.outcome_delay_ticks(outcome) - table.refresh_ticks
    ticks = rows["tick"].combine_chunks().dictionary_encode()
    oldest = tick_array((schedule.shift(name, later) for name in ticks.dictionary.to_pylist()), schedule)
    return oldest.take(ticks.indices)


def _moments_sql(snapshot: Snapshot, outcome: Outcome, table: Table, relation: str, as_of: Tick) -> str:
    """SQL of what the column tells; a row of which nothing is known yet is left out."""
    assert isinstance(outcome.of, Happens)
    column = table.column(outcome.of.column)
    name, start = identifier(column.name), f"TIMESTAMPTZ '{as_of.start.isoformat()}'"
    if column.kind == "date":
        zone = literal(snapshot.pipeline.schedule.timezone)
        begins, ends = (f"epoch_us(timezone({zone}, CAST({day} AS TIMESTAMP)))" for day in (name, f"({name} + 1)"))
    else:
        begins, ends = f"epoch_us(CAST({name} AS TIMESTAMPTZ))", f"epoch_us(CAST({name} AS TIMESTAMPTZ)) + 1"
    entered = begins if column.known_at is None else f"epoch_us(CAST({identifier(column.known_at)} AS TIMESTAMPTZ))"
    here = f"{name} IS NOT NULL AND {entered} < epoch_us({start})"
    told = f"CASE WHEN {here} THEN {{}} ELSE {NEVER} END"
    keys = " AND ".join(f"_own_{n} = {identifier(theirs)}" for n, theirs in enumerate(outcome.by.values()))
    there, fresh, newest = "true", "true", ""
    if table.time is not None:
        calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
        relation = f"(SELECT *, {known_at(table)} AS {KNOWN_AT} FROM {relation}{calendar})"
        # The scored rows count even if they came late.
        if table.name != snapshot.pipeline.entity_name:
            ticks = _ticks(snapshot, table, as_of)
            late = ticks is not None and snapshot.hides_late(table.name, ticks)
            there = f"{KNOWN_AT} < {start}{f' AND {usable_at(start)}' if late else ''}"
        fresh, newest = "tick >= _oldest", "tick DESC, "
    return (
        f"SELECT _place, {fresh} AS _told, {told.format(begins)} AS _begins, {told.format(ends)} AS _ends, "
        f"{told.format(entered)} AS _entered FROM {ASKED} JOIN {relation} ON {keys} WHERE {there} "
        f"QUALIFY row_number() OVER (PARTITION BY _place ORDER BY {newest}_begins) = 1"
    )
