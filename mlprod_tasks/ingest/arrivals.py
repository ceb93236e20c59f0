"""Bring new rows of ticks together with those in the lake: when each arrived, which ones moved, which ones are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from mlprod_tasks.declaration import Table
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import ARRIVED, USABLE, Lake, listed
from mlprod_tasks.platform.sql import identifier

MOMENT = pa.timestamp("us", "UTC")
# A key that stands in other ticks for more rows than this, and more than half of the rows, does not identify a row.
FEW_MOVED, MOST_MOVED = 20, 0.5


class KeysRepeated(ValueError):
    """Most keys stand in other ticks of the lake too: the declared key does not identify a row."""


@dataclass(frozen=True)
class Arrivals:
    """All rows to write, and by tick what changed.

    rows: those of the ticks and the remaining ones of `also`, other ticks from which rows moved.
    late: rows that entered their tick after it had been published, now or before; late_now: those that entered now.
    moved: rows that left a tick because a newer row in another tick has their key.
    gone: rows that the source no longer has.
    """

    rows: pa.Table
    also: tuple[TickName, ...]
    late: Counter[TickName] = field(default_factory=Counter)
    late_now: Counter[TickName] = field(default_factory=Counter)
    moved: Counter[TickName] = field(default_factory=Counter)
    gone: Counter[TickName] = field(default_factory=Counter)


def arrivals(
    table: Table,
    replaced: Collection[TickName],
    rows: pa.Table,
    lake: Lake,
    before: DeltaTable | None,
    published: Collection[TickName],
    now: datetime,
    usable_from: datetime,
) -> Arrivals:
    """Compare new rows of the ticks `replaced` with the lake's.

    A row keeps the moment of its first arrival in its tick, also if its values changed since. Keys are unique over the table:
    of rows with the same key, the one that is published last stays; of those published together, the one in the later tick.

    published: ticks that were published before, whether or not they have rows: a row that enters one of them now is late.
    usable_from: the start of the first tick that may use late rows, which no scored tick has seen.
    Raises: KeysRepeated if most rows have a key of another tick.
    """
    files = [] if before is None else lake.files_of(before)
    with engine(lake=lake) as connection:
        connection.register("new", rows)
        inside = [file for tick, file in files if tick in {str(day) for day in replaced}]
        connection.register("known", _read(connection, inside, [*table.key, "tick", ARRIVED, USABLE]))
        key = ", ".join(identifier(name) for name in table.key)
        newest = _newest(connection, rows, key)
        kept = _stamped(connection, newest, key, now, usable_from, {*published, *_days(files)})
        outside = [one for one in files if one[1] not in set(inside)]
        elsewhere = _elsewhere(connection, table, outside, before, rows, key)
        connection.register("kept", kept)
        moved = _counted(
            connection, f"SELECT tick FROM known SEMI JOIN kept USING ({key}) ANTI JOIN kept AS k USING ({key}, tick)"
        )
        moved += Counter(elsewhere["tick"].to_pylist())
        if newest.num_rows < rows.num_rows:
            moved += _counted(connection, f"SELECT tick FROM new ANTI JOIN kept USING ({key}, tick)")
        _refuse_repeated(table, rows.num_rows, moved.total())
        gone = _counted(connection, f"SELECT tick FROM known ANTI JOIN kept USING ({key})")
        also = tuple(sorted(set(elsewhere["tick"].to_pylist())))
        remaining = _remaining(connection, files, also, key)
        together = kept if remaining is None else pa.concat_tables([kept, _like(remaining, kept)], promote_options="default")
        connection.register("together", together)
        late = _counted(connection, f"SELECT tick FROM together WHERE {USABLE} IS NOT NULL")
        late_now = _counted(connection, f"SELECT tick FROM kept WHERE {USABLE} IS NOT NULL AND {ARRIVED} = {_moment(now)}")
    return Arrivals(together, also, late, late_now, moved, gone)


def _newest(connection: duckdb.DuckDBPyConnection, rows: pa.Table, key: str) -> pa.Table:
    """The rows with the newest of each key. Within a tick, the audit has checked that keys are unique."""
    one_tick = len(rows["tick"].unique()) <= 1
    if one_tick or not connection.sql(f"SELECT {key} FROM new GROUP BY {key} HAVING count(*) > 1 LIMIT 1").fetchall():
        return rows
    newest = f"SELECT * FROM new QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY tick DESC) = 1 ORDER BY tick, {key}"
    return connection.sql(newest).to_arrow_table().cast(rows.schema)


def _stamped(
    connection: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    key: str,
    now: datetime,
    usable_from: datetime,
    published: Collection[TickName],
) -> pa.Table:
    """The rows with the moment at which each entered its tick, and if that was late, from when it may be used."""
    days = pa.array(sorted(published), rows.schema.field("tick").type)
    # First, because Delta keeps statistics of the first columns only; by these, readers skip what has no late rows.
    schema = pa.schema([pa.field(ARRIVED, MOMENT), pa.field(USABLE, MOMENT), *rows.schema])
    if not connection.sql("SELECT 1 FROM known LIMIT 1").fetchall():
        at = pa.repeat(pa.scalar(now, MOMENT), rows.num_rows)
        usable = pc.if_else(pc.is_in(rows["tick"], days), pa.scalar(usable_from, MOMENT), pa.scalar(None, MOMENT))
        return pa.table([at, usable, *rows.columns], schema)
    connection.register("newest", rows)
    connection.register("published", pa.table({"tick": days}))
    stamped = (
        f"SELECT CASE WHEN k.tick IS NULL THEN {_moment(now)} ELSE k.{ARRIVED} END AS {ARRIVED}, "
        f"CASE WHEN k.tick IS NOT NULL THEN k.{USABLE} "
        f"WHEN n.tick IN (SELECT tick FROM published) THEN {_moment(usable_from)} END AS {USABLE}, n.* "
        f"FROM newest AS n LEFT JOIN known AS k USING ({key}, tick) ORDER BY n.tick, {key}"
    )
    return connection.sql(stamped).to_arrow_table().cast(schema)


def _elsewhere(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    outside: Sequence[tuple[str, str]],
    before: DeltaTable | None,
    rows: pa.Table,
    key: str,
) -> pa.Table:
    """The keys of new rows that stand in ticks that are not replaced, with these ticks."""
    others = _overlapping(before, rows, table.key[0]) if before is not None and outside else set()
    names = [file for tick, file in outside if tick in others]
    connection.register("others", _read(connection, names, [*table.key, "tick"]))
    return connection.sql(f"SELECT {key}, tick FROM others SEMI JOIN new USING ({key})").to_arrow_table()


def _overlapping(before: DeltaTable, rows: pa.Table, column: str) -> set[str]:
    """The ticks that may hold a key of the rows, by the bounds that the Delta log has of each file; no file is opened."""
    log = pa.table(before.get_add_actions(flatten=True))
    days = [str(day) for day in log["partition.tick"].to_pylist()]
    if not {f"min.{column}", f"max.{column}"} <= set(log.column_names) or not rows.num_rows:
        return set(days) if rows.num_rows else set()
    values = sorted(value for value in rows[column].unique().to_pylist() if value is not None)
    low, high = (values[0], values[-1]) if values else (None, None)
    bounds = zip(days, log[f"min.{column}"].to_pylist(), log[f"max.{column}"].to_pylist(), strict=True)
    return {day for day, first, last in bounds if first is None or last is None or _may_meet(first, last, low, high)}


def _may_meet(first: object, last: object, low: object, high: object) -> bool:
    # Delta cuts long texts off: the maximum of a file may then be too small, so texts are compared by their beginnings.
    if isinstance(first, str) and isinstance(last, str) and isinstance(low, str) and isinstance(high, str):
        n = 16
        return bool(first[:n] <= high[:n] and low[:n] <= last[:n])
    try:
        return bool(first <= high and low <= last)  # type: ignore[operator]
    except TypeError:
        return True


def _remaining(
    connection: duckdb.DuckDBPyConnection, files: Sequence[tuple[str, str]], also: Sequence[TickName], key: str
) -> pa.Table | None:
    """The rows of ticks from which rows moved, without these."""
    if not also:
        return None
    names = {str(day) for day in also}
    inside = listed(file for tick, file in files if tick in names)
    options = f"hive_partitioning=true, hive_types={{'tick': {_tick_type(connection)}}}, union_by_name=true"
    return connection.sql(
        f"SELECT * FROM read_parquet({inside}, {options}) ANTI JOIN new USING ({key}) ORDER BY tick, {key}"
    ).to_arrow_table()


def _tick_type(connection: duckdb.DuckDBPyConnection) -> str:
    """The type of ticks, which that of the new rows is."""
    return str(connection.sql("SELECT tick FROM new LIMIT 0").types[0])


def _like(rows: pa.Table, kept: pa.Table) -> pa.Table:
    """The rows with columns in the types of the new ones. Columns that are no longer declared stay."""
    for i, column in enumerate(rows.schema):
        if column.name in kept.column_names and column.type != kept.schema.field(column.name).type:
            rows = rows.set_column(i, column.name, rows[column.name].cast(kept.schema.field(column.name).type))
    return rows


def _read(connection: duckdb.DuckDBPyConnection, names: Sequence[str], columns: Iterable[str]) -> pa.Table:
    """Some columns of some files; moments of arrival are null where files of release 0.4 have none."""
    wanted = list(columns)
    if not names:
        # The types of the keys do not matter: there are no rows.
        empty = {name: f"CAST(NULL AS TIMESTAMPTZ) AS {name}" for name in (ARRIVED, USABLE)}
        said = [empty.get(name, f"new.{identifier(name)}") for name in wanted]
        return connection.sql(f"SELECT {', '.join(said)} FROM new WHERE false").to_arrow_table()
    options = f"hive_partitioning=true, hive_types={{'tick': {_tick_type(connection)}}}"
    relation = connection.sql(f"SELECT * FROM read_parquet({listed(names)}, {options}, union_by_name=true)")
    missing = {ARRIVED, USABLE} - set(relation.columns)
    said = [f"CAST(NULL AS TIMESTAMPTZ) AS {name}" if name in missing else identifier(name) for name in wanted]
    return relation.project(", ".join(said)).to_arrow_table()


def _days(files: Sequence[tuple[str, str]]) -> set[TickName]:
    return {tick_named(tick) for tick, _ in files}


def _counted(connection: duckdb.DuckDBPyConnection, query: str) -> Counter[TickName]:
    return Counter(dict(connection.sql(f"SELECT tick, count(*) FROM ({query}) GROUP BY tick").fetchall()))


def _moment(now: datetime) -> str:
    return f"TIMESTAMPTZ '{now.isoformat()}'"


def _refuse_repeated(table: Table, rows: int, moved: int) -> None:
    if moved > max(FEW_MOVED, MOST_MOVED * rows):
        raise KeysRepeated(
            f"{moved:,} rows in other ticks have a key of the {rows:,} new rows, more than {MOST_MOVED:.0%}: the key "
            f"{', '.join(table.key)} does not identify a row of table {table.name!r}, and newer rows would remove older ones. "
            f"If each tick has a row of its own for the same thing, add the time to the key: {(*table.key, table.time)}. If so "
            "many rows really moved, ingest the ticks that they left first"
        )
