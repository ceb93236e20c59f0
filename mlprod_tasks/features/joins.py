"""Look-ups and as-of joins: for each scored row, take columns from one row of another table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import AsOf, Lookup, Table
from mlprod_tasks.features.keys import key_codes
from mlprod_tasks.features.known import KNOWN_AT, MICROSECOND, known_at
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.platform.lake import USABLE
from mlprod_tasks.platform.sql import identifier

SINCE = "_since"


def lookup_query(table: Table, feature: Lookup) -> Callable[[str], str]:
    """SQL of the reference table's key and the columns to take."""
    columns = ", ".join(identifier(name) for name in sorted({*table.key, *feature.columns.values()}))
    return lambda relation: f"SELECT {columns} FROM {relation}"


def lookup(table: Table, feature: Lookup, reference: pa.Table, rows: ScoredRows) -> dict[str, pa.Array]:
    """The looked-up columns; null if the key is null or missing.

    Raises: ValueError if a key occurs twice.
    """
    key = rows.key(feature.on, lambda mine, theirs: key_codes(rows.table[mine], reference[theirs]))
    position = np.full(max(key.size, 1), -1, np.int64)
    valid = key.events >= 0
    position[key.events[valid]] = np.flatnonzero(valid)
    if np.count_nonzero(position >= 0) < np.count_nonzero(valid):
        raise ValueError(f"table {table.name!r} holds a key {table.key} more than once: a look-up would multiply rows")
    # Code -1 would index the last position.
    taken = np.where(key.rows >= 0, position[key.rows], -1)
    return _take(reference, taken, feature.columns)


def as_of_query(
    table: Table, feature: AsOf, start: int, end: int, hides_late: bool = False, needed: str = ""
) -> Callable[[str], str]:
    """SQL of the rows known in [start, end), in the order in which they became known.

    Ties are ordered by the key. needed: SQL of a join that keeps some of the rows, which has their `_known_at`.
    hides_late: whether there may be rows that count from a later moment, `_at`, than the one at which they became known,
    `_known`. Then the order is that of `_at`, without rows that are never the latest.
    """
    late = {column.known_at for column in table.columns if column.name in feature.columns.values() and column.known_at}
    columns = ", ".join(identifier(name) for name in sorted({*feature.on.values(), *feature.columns.values(), *late}))
    order = ", ".join([KNOWN_AT, *(identifier(name) for name in table.key)])
    if hides_late:
        partition = ", ".join(identifier(name) for name in feature.on.values())
        return lambda relation: (
            f"WITH {_events(table, relation)}, "
            f"ranked AS (SELECT {columns}, epoch_us({KNOWN_AT}) AS _known, row_number() OVER (ORDER BY {order}) AS _rank, "
            f"{_seen_after(hides_late)} AS _at FROM events {needed} WHERE {_known_in(start, end)}) "
            f"SELECT * EXCLUDE (_rank) FROM ranked "
            f"QUALIFY _rank = max(_rank) OVER (PARTITION BY {partition} ORDER BY _at, _rank) ORDER BY _at, _rank"
        )
    return lambda relation: (
        f"WITH {_events(table, relation)} SELECT {_seen_after(hides_late)} AS _at, {columns} FROM events {needed} "
        f"WHERE {_known_in(start, end)} ORDER BY {order}"
    )


def newest_query(
    table: Table, feature: AsOf, start: int, end: int, first: int, hides_late: bool, asked: str
) -> Callable[[str], str]:
    """SQL of the moment, for each key, before which no row is the latest for a row scored at `first` or later.

    It is when the latest row became known that is seen at `first`; where there is none, `start`. Columns: `_0`, ..., the key in
    the order of `feature.on`, and `_since`, microseconds. asked: SQL of a join that keeps the rows of some keys.
    """
    keys = ", ".join(f"{identifier(theirs)} AS _{n}" for n, theirs in enumerate(feature.on.values()))
    seen = f"max(epoch_us({KNOWN_AT})) FILTER (WHERE {_seen_after(hides_late)} < {first})"
    return lambda relation: (
        f"WITH {_events(table, relation)} SELECT {keys}, coalesce({seen}, {start}) AS {SINCE} FROM events {asked} "
        f"WHERE {_known_in(start, end)} GROUP BY ALL"
    )


def _events(table: Table, relation: str) -> str:
    calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
    return f"events AS (SELECT *, {known_at(table)} AS {KNOWN_AT} FROM {relation}{calendar})"


def _known_in(start: int, end: int) -> str:
    return f"{KNOWN_AT} >= make_timestamptz({start}) AND {KNOWN_AT} < make_timestamptz({end})"


def _seen_after(hides_late: bool) -> str:
    """SQL of the moment strictly after which rows see an event (microseconds)."""
    # A late row from the very start of a tick on.
    return f"greatest(epoch_us({KNOWN_AT}), epoch_us({USABLE}) - 1)" if hides_late else f"epoch_us({KNOWN_AT})"


def as_of(table: Table, feature: AsOf, events: pa.Table, rows: ScoredRows) -> dict[str, pa.Array]:
    """The columns of the latest row known before predict_at.

    They are null if there is none or it is older than max_age. A late column is null if its own `known_at` is not before
    predict_at.
    """
    from mlprod_tasks.features import sweep

    key = rows.key(feature.on, lambda mine, theirs: key_codes(rows.table[mine], events[theirs]))
    positions = np.empty(rows.count, np.int64)
    at = events["_at"].to_numpy()
    last = np.full(max(key.size, 1), -1, np.int64)
    sweep.latest_event(
        at.size,
        at,
        key.events,
        rows.count,
        rows.at,
        key.rows[rows.order],
        rows.order,
        feature.max_age // MICROSECOND,
        last,
        positions,
    )
    if "_known" in events.column_names and at.size:
        # A late row is as old as what it tells, not as its arrival.
        too_old = events["_known"].to_numpy()[positions] < _predict_at(rows) - feature.max_age // MICROSECOND
        positions[too_old] = -1
    columns = _take(events, positions, feature.columns)
    for name, source in feature.columns.items():
        late = table.column(source).known_at
        if late is not None:
            passed = pc.less(_take(events, positions, {late: late})[late], rows.table["predict_at"].combine_chunks())
            columns[name] = pc.if_else(pc.fill_null(passed, False), columns[name], pa.scalar(None, columns[name].type))
    return columns


def _predict_at(rows: ScoredRows) -> np.ndarray:
    at: np.ndarray = rows.table["predict_at"].cast(pa.int64()).to_numpy()
    return at


def _take(table: pa.Table, positions: np.ndarray, columns: dict[str, str]) -> dict[str, pa.Array]:
    indices = pa.array(positions, mask=positions < 0)
    return {name: table[column].combine_chunks().take(indices) for name, column in columns.items()}
