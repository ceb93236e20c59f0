"""Read the rows of a source table from SQLite, PostgreSQL, CSV or Parquet files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import DateTime, Engine, Select, column, func, inspect, literal_column, select
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.types import Date

from mlprod_tasks.declaration import Database, Files, Table
from mlprod_tasks.platform import csv_files
from mlprod_tasks.platform.database import database_url, open_database, reason
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.times import TimesToRead, count_rows, times_to_read
from mlprod_tasks.platform.value_text import written

CHUNK_ROWS = 100_000
# Timestamps stored as text, perhaps with an offset, sort only roughly by time: read a little more.
MARGIN = timedelta(days=1)


class SourceUnreachable(ConnectionError):
    """A database or folder cannot be reached. The message says which, and what to do."""


class TimesUnreadable(ValueError):
    """Rows of a database have no time that can be read, so they belong to no tick."""


class SourceMissing(LookupError):
    """A declared file, table or column is missing in the source."""


@dataclass(frozen=True)
class Source:
    """A source table: its address, its columns that are not declared, and what people should know about its files."""

    table: Table
    address: str
    undeclared: tuple[str, ...]
    notes: tuple[str, ...] = ()


def look(table: Table, settings: Settings, tick: date | None = None) -> Source:
    """Check that the source has the table and all declared columns, without reading rows.

    Columns of the source that are not declared are no error: they are listed in `undeclared`.

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
            columns = _columns_of(table.source, path)
            _require_columns(table, columns, str(path), shown=table.source.format != "csv")
            existing |= dict.fromkeys(columns)
        return Source(table, address, _undeclared(table, existing), _unended(table.source, paths))
    _require_columns(table, list(existing), address)
    return Source(table, address, _undeclared(table, existing))


def _undeclared(table: Table, existing: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(existing) - set(table.names)))


def _unended(source: Files, paths: Sequence[Path]) -> tuple[str, ...]:
    """A note for each CSV file whose last row has no line break."""
    if source.format != "csv":
        return ()
    return tuple(
        f"{path} does not end with a line break: its last value may be cut off. Compare it with what was sent"
        for path in paths
        if not csv_files.ends_in_a_line(path)
    )


def read(
    table: Table,
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    tick: date | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows with a time in [start, end), in chunks.

    They have the lake's columns in the source's types.

    For a reference table `start` and `end` are None: all rows are read. If the source cannot compare times exactly (text,
    files), rows outside of the interval may be included, and the caller must drop them. A column with values of several types
    is returned as text.

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
        raise _unreachable(table, engine, error) from None


def unusual_times(table: Table, settings: Settings) -> TimesToRead | None:
    """The times of a database table that a query by time may not find; None for other sources.

    Raises: SourceUnreachable.
    """
    if not isinstance(table.source, Database) or table.time is None:
        return None
    engine = _engine(table, settings)
    kind = _reflected(engine, table, table.name)[table.time]
    try:
        return times_to_read(engine, _from(table), table.time, kind)
    except DBAPIError as error:
        raise _unreachable(table, engine, error) from None


def size(table: Table, settings: Settings) -> int:
    """The number of rows of a database table. Raises: SourceUnreachable."""
    engine = _engine(table, settings)
    try:
        return count_rows(engine, _from(table))
    except DBAPIError as error:
        raise _unreachable(table, engine, error) from None


def newest(table: Table, settings: Settings) -> str | None:
    """The latest time in a database table, as text; None for other sources.

    It tells how late a source without new rows is.

    Raises: SourceUnreachable.
    """
    if not isinstance(table.source, Database) or table.time is None:
        return None
    engine = _engine(table, settings)
    try:
        with engine.connect() as connection:
            return str(connection.execute(select(func.max(_from(table).c[table.time]))).scalar())
    except DBAPIError as error:
        raise _unreachable(table, engine, error) from None


def _engine(table: Table, settings: Settings) -> Engine:
    return open_database(settings.database(table.source.connection))


def _unreachable(table: Table, engine: Engine, error: SQLAlchemyError) -> SourceUnreachable:
    where = f"table {table.name!r}: the database of connection {table.source.connection!r}"
    address = engine.url.render_as_string(hide_password=True)
    if getattr(error, "statement", None):
        return SourceUnreachable(
            f"{where} ({address}) answers, but its rows cannot be read: {reason(error)}. Correct the source or the "
            "declaration, then run again"
        )
    return SourceUnreachable(
        f"{where} ({address}) does not answer: {reason(error)}. Check that it is running and that the "
        "connection is right, then run again"
    )


def _reflected(engine: Engine, table: Table, address: str) -> dict[str, Any]:
    assert isinstance(table.source, Database)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and file != ":memory:" and not Path(file).exists():
        # SQLite would create an empty database with this name.
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
        raise _unreachable(table, engine, error) from None
    return {entry["name"]: entry["type"] for entry in columns}


def _require_columns(table: Table, existing: Sequence[str], address: str, shown: bool = True) -> None:
    """Require each declared column once. shown: whether the names may be shown; in a file without header, they are values."""
    twice = [name for name in table.names if existing.count(name) > 1]
    if twice:
        raise SourceMissing(
            f"table {table.name!r}: the header of {address} has the column {', '.join(map(repr, twice))} more than once, so it "
            "is not clear which one is meant. Deliver it with one of them"
        )
    missing = [name for name in table.names if name not in existing]
    if not missing:
        return
    known = sorted(name for name in set(existing) if shown or name in table.names)
    others = len(existing) - len(known) if not shown else 0
    has = ", ".join([*known, *([f"{others} that are not declared"] if others else [])])
    raise SourceMissing(
        f"table {table.name!r}: {address} has no column {', '.join(map(repr, missing))}; it has "
        f"{has}. Add the column to the source, or remove it from the declaration"
    )


def _from(table: Table) -> Any:
    assert isinstance(table.source, Database)
    return sql_table(table.source.table, *(column(name) for name in table.names), schema=table.source.schema)


def _query(engine: Engine, table: Table, start: datetime | None, end: datetime | None) -> Select:
    # Columns without a type, so that values are not converted: SQLite may have text in a numeric column.
    source = _from(table)
    query = select(*(source.c[name] for name in _wanted(table)))
    if table.time is None or start is None or end is None:
        return query
    kind = _reflected(engine, table, table.name)[table.time]
    when = source.c[table.time]
    if engine.dialect.name != "sqlite" and isinstance(kind, DateTime):
        # A timestamp without a time zone is in UTC: use the same type on both sides, whatever the session's time zone is.
        low, high = (f"TIMESTAMP '{m:%Y-%m-%d %H:%M:%S.%f}'" for m in (start, end))
        if kind.timezone:
            low, high = (f"TIMESTAMP WITH TIME ZONE '{m:%Y-%m-%d %H:%M:%S.%f}+00:00'" for m in (start, end))
        return query.where(when >= literal_column(low), when < literal_column(high))
    low, high = (f"{m:%Y-%m-%d}" for m in (start - MARGIN, end + 2 * MARGIN))
    prefix = "DATE " if isinstance(kind, Date) and engine.dialect.name != "sqlite" else ""
    return query.where(when >= literal_column(f"{prefix}'{low}'"), when < literal_column(f"{prefix}'{high}'"))


def _adbc(engine: Engine, query: Select) -> Iterator[pa.RecordBatch]:
    """Read Arrow batches from PostgreSQL, about ten times faster than Python rows."""
    from adbc_driver_manager.dbapi import Error
    from adbc_driver_postgresql import dbapi

    text = str(query.compile(engine, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    statement = None
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            statement = text
            cursor.execute(text)
            yield from cursor.fetch_record_batch()
    except Error as error:
        raise DBAPIError(statement, None, error) from None
    except (OSError, pa.ArrowException):
        # A query that fails after its first rows ends the stream with the server's message as bare text, values included.
        raise DBAPIError(statement, None, OSError("the database stopped in the middle: see its log")) from None


def _wanted(table: Table) -> list[str]:
    """The columns to read: a personal column that is dropped is not even read from the source."""
    return [column.name for column in table.lake_columns]


def _rows(engine: Engine, query: Select, table: Table, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    hashed = [position for position, column in enumerate(table.lake_columns) if column.personal == "hash"]
    with engine.connect().execution_options(stream_results=True) as connection:
        result = connection.execute(query)
        while chunk := result.fetchmany(chunk_rows):
            for rows in _by_type(chunk, hashed):
                yield pa.RecordBatch.from_arrays([as_arrow(values) for values in zip(*rows, strict=True)], names=_wanted(table))


def _by_type(rows: Sequence[Any], columns: Sequence[int]) -> Iterable[Sequence[Any]]:
    """Group the rows so that in each group, each of `columns` has values of one type.

    Arrow arrays have one type: 7 in an array with 8.5 would become 7.0, and so get a different hash than 7 alone.
    """
    if not columns:
        return [rows]
    groups: dict[tuple[type, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(type(row[position]) for position in columns), []).append(row)
    return groups.values()


def as_arrow(values: Any) -> pa.Array:
    """Convert Python values to Arrow; values of several types become text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else written(value) for value in values], pa.string())


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


def _columns_of(source: Files, path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names) if source.format == "parquet" else csv_files.header(path)
    except (pa.ArrowException, csv_files.Malformed, OSError) as error:
        raise _unreadable(source, path, error) from None


def _file(table: Table, source: Files, path: Path, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    try:
        if source.format == "csv":
            yield from csv_files.read(path, _wanted(table))
            return
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=chunk_rows, columns=_wanted(table)):
                yield batch.select(_wanted(table))
    except (pa.ArrowException, csv_files.Malformed, OSError) as error:
        raise _unreadable(source, path, error) from None


def _unreadable(source: Files, path: Path, error: Exception) -> SourceMissing:
    """Say what is wrong with a file. Arrow's own message may show values, and so is not passed on."""
    if isinstance(error, csv_files.Malformed):
        reason = str(error)
    else:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is damaged or cut off"
    return SourceMissing(f"{path} cannot be read as a {source.format} file: {reason}. Deliver it again")


def is_by_tick(table: Table) -> bool:
    """Whether the source has one file per tick, so that the file name gives the tick of its rows."""
    return isinstance(table.source, Files) and "{tick}" in table.source.path
