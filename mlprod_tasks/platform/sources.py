"""Read the rows of a source table from SQLite, PostgreSQL, CSV or Parquet files."""

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
# Timestamps stored as text, perhaps with an offset, sort only roughly by time: read a little more.
MARGIN = timedelta(days=1)


class SourceUnreachable(ConnectionError):
    """A database or folder cannot be reached. The message says which, and what to do."""


class SourceMissing(LookupError):
    """A declared file, table or column is missing in the source."""


@dataclass(frozen=True)
class Source:
    """A source table: its address, and its columns that are not declared."""

    table: Table
    address: str
    undeclared: tuple[str, ...]


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
            _require_columns(table, set(columns), str(path))
            existing |= dict.fromkeys(columns)
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
        raise _unreachable(table, engine, error) from error


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
        raise _unreachable(table, engine, error) from error


def _engine(table: Table, settings: Settings) -> Engine:
    return open_database(settings.database(table.source.connection))


def _unreachable(table: Table, engine: Engine, error: Exception) -> SourceUnreachable:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return SourceUnreachable(
        f"table {table.name!r}: the database of connection {table.source.connection!r} "
        f"({engine.url.render_as_string(hide_password=True)}) does not answer: {reason}. Check that it is running and that the "
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
        raise _unreachable(table, engine, error) from error
    return {entry["name"]: entry["type"] for entry in columns}


def _require_columns(table: Table, existing: set[str], address: str) -> None:
    missing = [name for name in table.names if name not in existing]
    if missing:
        raise SourceMissing(
            f"table {table.name!r}: {address} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(sorted(existing))}. Add the column to the source, or remove it from the declaration"
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
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(text)
            yield from cursor.fetch_record_batch()
    except Error as error:
        raise DBAPIError(None, None, error) from error


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
        raise SourceMissing(f"{path} cannot be read as a {source.format} file: {error}. Deliver it again") from error


def _file(table: Table, source: Files, path: Path, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    if source.format == "parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=chunk_rows, columns=_wanted(table)):
                yield batch.select(_wanted(table))
        return
    # All columns as text: types come from the declaration, not from the first megabyte of the file.
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
        raise SourceMissing(f"{path} cannot be read as a CSV file: {error}. Deliver it again") from error


def is_by_tick(table: Table) -> bool:
    """Whether the source has one file per tick, so that the file name gives the tick of its rows."""
    return isinstance(table.source, Files) and "{tick}" in table.source.path
