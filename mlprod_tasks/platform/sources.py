"""Read the rows of a source table: SQLite and PostgreSQL, CSV and Parquet files."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from sqlalchemy import DateTime, Engine, Select, column, func, inspect, literal_column, select
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.types import Date

from mlprod_tasks.declaration import Database, Files, Table
from mlprod_tasks.platform.database import database_url, open_database
from mlprod_tasks.platform.settings import Settings

CHUNK_ROWS = 100_000
# Timestamps stored as text, perhaps with an offset, are only roughly in order: read a little more.
MARGIN = timedelta(days=1)


class SourceUnreachable(ConnectionError):
    """A database or folder that does not answer. Says which, and what to do."""


class SourceMissing(LookupError):
    """A file, table or column that is declared but missing in the source."""


@dataclass(frozen=True)
class Source:
    """A source table as it is: its address, and the columns that are not declared."""

    table: Table
    address: str
    undeclared: tuple[str, ...]


def look(table: Table, settings: Settings, tick: date | None = None) -> Source:
    """Check that the source has the table and every declared column, before a row is read.

    A column that is in the source but not declared is no error: it is listed in `undeclared`.

    Raises: SourceUnreachable, SourceMissing.
    """
    if isinstance(table.source, Database):
        engine = _engine(table, settings)
        address = f"table {table.source.table!r} at {database_url(str(engine.url)).render_as_string()}"
        existing = _reflected(engine, table, address)
    else:
        paths = _paths(table, settings, tick)
        address = f"{paths[0]}" if len(paths) == 1 else f"{len(paths)} files {table.source.path!r}"
        existing = {}
        for path in paths:
            found = _columns_of(table.source, path)
            _require_columns(table, set(found), str(path))
            existing |= dict.fromkeys(found)
    _require_columns(table, set(existing), address)
    return Source(table, address, tuple(sorted(set(existing) - set(table.names))))


def read(
    table: Table,
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    tick: date | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield the lake's columns of the rows whose time lies in [start, end), in chunks, as the source types them.

    A reference table is read as a whole: `start` and `end` are None. The interval is a coarse filter where the
    source cannot compare moments exactly (text, files): rows outside it may be included, and the caller drops them.
    A column with values of several types is given as text.

    Raises: SourceUnreachable, SourceMissing.
    """
    if isinstance(table.source, Files):
        for path in _paths(table, settings, tick):
            yield from _file(table, table.source, path, chunk_rows)
        return
    engine = _engine(table, settings)
    query = _query(engine, table, start, end)
    try:
        if engine.dialect.name == "postgresql":
            yield from _adbc(engine, query)
        else:
            yield from _rows(engine, query, table, chunk_rows)
    except DBAPIError as error:
        raise _unreachable(table, engine, error) from error


def newest(table: Table, settings: Settings) -> str | None:
    """The latest time that a database's table holds, as text: it says how late a source without rows is.

    Raises: SourceUnreachable.
    """
    if not isinstance(table.source, Database) or table.time is None:
        return None
    engine = _engine(table, settings)
    try:
        with engine.connect() as connection:
            return str(connection.execute(select(func.max(_from(table).c[table.time]))).scalar())
    except DBAPIError as error:
        raise _unreachable(table, engine, error) from error


def _engine(table: Table, settings: Settings) -> Engine:
    return open_database(settings.database(table.source.connection))


def _unreachable(table: Table, engine: Engine, error: Exception) -> SourceUnreachable:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return SourceUnreachable(
        f"table {table.name!r}: the database of connection {table.source.connection!r} "
        f"({engine.url.render_as_string(hide_password=True)}) does not answer: {reason}. Check that it runs and that the "
        "connection is right, then run again"
    )


def _reflected(engine: Engine, table: Table, address: str) -> dict[str, Any]:
    assert isinstance(table.source, Database)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and file != ":memory:" and not Path(file).exists():
        # SQLite would create an empty database of that name.
        raise SourceUnreachable(
            f"table {table.name!r}: connection {table.source.connection!r} names the SQLite file {file}, which does not "
            "exist. Set the connection to the right file"
        )
    try:
        columns = inspect(engine).get_columns(table.source.table, schema=table.source.schema)
    except NoSuchTableError as error:
        raise SourceMissing(
            f"table {table.name!r}: {address} does not exist. Create it, or correct `source` in the declaration"
        ) from error
    except SQLAlchemyError as error:
        raise _unreachable(table, engine, error) from error
    return {entry["name"]: entry["type"] for entry in columns}


def _require_columns(table: Table, existing: set[str], address: str) -> None:
    missing = [name for name in table.names if name not in existing]
    if missing:
        raise SourceMissing(
            f"table {table.name!r}: {address} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(sorted(existing))}. Put the column back at the source, or take it out of the declaration"
        )


def _from(table: Table) -> Any:
    assert isinstance(table.source, Database)
    return sql_table(table.source.table, *(column(name) for name in table.names), schema=table.source.schema)


def _query(engine: Engine, table: Table, start: datetime | None, end: datetime | None) -> Select:
    # Columns without a type, so that values are not converted, also where SQLite holds text in a number's column.
    source = _from(table)
    query = select(*(source.c[name] for name in _wanted(table)))
    if table.time is None or start is None or end is None:
        return query
    kind = _reflected(engine, table, table.name)[table.time]
    when = source.c[table.time]
    if engine.dialect.name != "sqlite" and isinstance(kind, DateTime):
        # A timestamp without a zone holds UTC: say so on both sides, whatever zone the session is in.
        low, high = (f"TIMESTAMP '{m:%Y-%m-%d %H:%M:%S.%f}'" for m in (start, end))
        if kind.timezone:
            low, high = (f"TIMESTAMP WITH TIME ZONE '{m:%Y-%m-%d %H:%M:%S.%f}+00:00'" for m in (start, end))
        return query.where(when >= literal_column(low), when < literal_column(high))
    low, high = (f"{m:%Y-%m-%d}" for m in (start - MARGIN, end + 2 * MARGIN))
    prefix = "DATE " if isinstance(kind, Date) and engine.dialect.name != "sqlite" else ""
    return query.where(when >= literal_column(f"{prefix}'{low}'"), when < literal_column(f"{prefix}'{high}'"))


def _adbc(engine: Engine, query: Select) -> Iterator[pa.RecordBatch]:
    """Arrow batches from PostgreSQL without a Python object per value: some ten times faster than rows."""
    from adbc_driver_manager.dbapi import Error
    from adbc_driver_postgresql import dbapi

    text = str(query.compile(engine, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            yield from cursor.fetch_record_batch()
    except Error as error:
        raise DBAPIError(None, None, error) from error


def _wanted(table: Table) -> list[str]:
    """The columns to read: a personal column to be dropped does not even leave the source."""
    return [column.name for column in table.lake_columns]


def _rows(engine: Engine, query: Select, table: Table, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    hashed = [place for place, column in enumerate(table.lake_columns) if column.personal == "hash"]
    with engine.connect().execution_options(stream_results=True) as connection:
        result = connection.execute(query)
        while chunk := result.fetchmany(chunk_rows):
            for rows in _by_type(chunk, hashed):
                yield pa.RecordBatch.from_arrays([as_arrow(values) for values in zip(*rows, strict=True)], names=_wanted(table))


def _by_type(rows: Sequence[Any], columns: Sequence[int]) -> Iterable[Sequence[Any]]:
    """The rows in groups whose values in `columns` are of one type each.

    Arrow has one type for an array: 7 beside 8.5 would become 7.0, and so get another hash than 7 alone.
    """
    if not columns:
        return [rows]
    groups: dict[tuple[type, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(type(row[place]) for place in columns), []).append(row)
    return groups.values()


def as_arrow(values: Any) -> pa.Array:
    """Python values as Arrow, and as text where they are of several types."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _paths(table: Table, settings: Settings, tick: date | None) -> list[Path]:
    assert isinstance(table.source, Files)
    folder = Path(settings.connection(table.source.connection).removeprefix("file://"))
    if not folder.is_dir():
        raise SourceUnreachable(
            f"table {table.name!r}: connection {table.source.connection!r} names the folder {folder}, which does not exist. "
            "Mount it, or set the connection to the right folder"
        )
    pattern = table.source.path.replace("{tick}", str(tick)) if tick else table.source.path
    paths = sorted(Path(path) for path in glob.glob(str(folder / pattern)))
    if not paths:
        raise SourceMissing(
            f"table {table.name!r}: no file {pattern!r} in {folder}. Deliver it and clear the task, or correct `source.path` "
            "in the declaration"
        )
    return paths


def _columns_of(source: Files, path: Path) -> Mapping[str, None]:
    try:
        if source.format == "parquet":
            return dict.fromkeys(pq.read_schema(path).names)
        with csv.open_csv(path) as reader:
            return dict.fromkeys(reader.schema.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceMissing(f"{path} is no readable {source.format} file: {error}. Deliver it again") from error


def _file(table: Table, source: Files, path: Path, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    if source.format == "parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=chunk_rows, columns=_wanted(table)):
                yield batch.select(_wanted(table))
        return
    # Everything as text: types come from the declaration, not from the first megabyte of the file.
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(_wanted(table), pa.string()),
        include_columns=_wanted(table),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    try:
        with csv.open_csv(path, convert_options=options) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        raise SourceMissing(f"{path} is no readable CSV file: {error}. Deliver it again") from error


def is_by_tick(table: Table) -> bool:
    """Whether the source has one file per tick, so that its name says to which tick a row belongs."""
    return isinstance(table.source, Files) and "{tick}" in table.source.path
