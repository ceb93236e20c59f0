"""Read of the tables of look-ups, as-of joins and outcomes what the scored rows can match.

A large table is scanned for the keys of the rows, and of each key only from its latest row on that all of them see: what is
held grows with the rows, not with the table. A small table is read as it is, in one scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from mlprod_tasks.declaration import AsOf, Lookup, Table, TickRange
from mlprod_tasks.features import joins
from mlprod_tasks.features.known import KNOWN_AT
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform.sql import identifier

# To hold and encode more rows than this takes longer than to scan them for keys.
LARGE_ROWS = 1_000_000
ASKED, NEWEST = "asked_keys", "newest_rows"


def looked_up(snapshot: Snapshot, feature: Lookup, rows: ScoredRows, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The rows of a reference table that `joins.lookup` needs for these rows. Raises: TableMissing."""
    table = snapshot.pipeline.table(feature.table)
    query = joins.lookup_query(table, feature)
    with of_keys(snapshot, table, None, rows.table, feature.on, connection) as kept:
        return snapshot.read(connection, lambda relation: query(kept(relation)), table.name)


def observed(
    snapshot: Snapshot,
    feature: AsOf,
    rows: ScoredRows,
    start: int,
    end: int,
    ticks: TickRange,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """The rows known in [start, end) (microseconds), from the partitions of `ticks`, that `joins.as_of` needs for these rows.

    Raises: TableMissing.
    """
    table = snapshot.pipeline.table(feature.table)
    hides_late = snapshot.hides_late(table.name, ticks)
    if not rows.count or snapshot.rows(table.name, ticks) <= LARGE_ROWS or not _exact(table, feature.on):
        return snapshot.read(connection, joins.as_of_query(table, feature, start, end, hides_late), table.name, ticks)
    asked = f"SEMI JOIN {ASKED} ON {_matched(feature.on, ASKED)}"
    newest = joins.newest_query(table, feature, start, end, int(rows.at[0]), hides_late, asked)
    with _registered(connection, ASKED, _keys(rows.table, feature.on)):
        found = snapshot.read(connection, newest, table.name, ticks)
    needed = f"JOIN {NEWEST} ON {_matched(feature.on, NEWEST)} AND epoch_us({KNOWN_AT}) >= {NEWEST}.{joins.SINCE}"
    query = joins.as_of_query(table, feature, start, end, hides_late, needed)
    with _registered(connection, NEWEST, found):
        return snapshot.read(connection, query, table.name, ticks)


@contextmanager
def of_keys(
    snapshot: Snapshot,
    table: Table,
    ticks: TickRange | None,
    rows: pa.Table,
    on: Mapping[str, str],
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[Callable[[str], str]]:
    """Yield what turns SQL of a table's rows into that of the rows that have a key of `rows`; of a small table it leaves all.

    ticks: the partitions that are read, None for all. on: pairs columns of `rows` with columns of the table.
    """
    if snapshot.rows(table.name, ticks) <= LARGE_ROWS or not _exact(table, on):
        yield lambda relation: relation
        return
    with _registered(connection, ASKED, _keys(rows, on)):
        yield lambda relation: f"(SELECT * FROM {relation} SEMI JOIN {ASKED} ON {_matched(on, ASKED)})"


def _exact(table: Table, on: Mapping[str, str]) -> bool:
    """Whether equal in SQL is equal: 0.0 and -0.0 are different keys."""
    return all(table.column(theirs).kind != "float" for theirs in on.values())


def _keys(rows: pa.Table, on: Mapping[str, str]) -> pa.Table:
    """The different keys of the rows, `_0`, ..., in the order of `on`."""
    keys = rows.select(list(on)).rename_columns([f"_{n}" for n in range(len(on))])
    return keys.group_by(keys.column_names).aggregate([])


def _matched(on: Mapping[str, str], relation: str) -> str:
    return " AND ".join(f"{identifier(theirs)} = {relation}._{n}" for n, theirs in enumerate(on.values()))


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)
