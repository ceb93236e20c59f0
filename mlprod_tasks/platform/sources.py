"""Read the rows of a source table of a database, or of CSV, JSON Lines or Parquet files."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Database, Files, Table
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import csv_files, json_lines
from mlprod_tasks.platform.arrow_values import as_arrow
from mlprod_tasks.platform.csv_files import Dialect
from mlprod_tasks.platform.database_source import IS_TEXT, DatabaseSource
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.source_errors import SourceMissing, SourceUnreachable, TimesUnreadable, TypeNotRead
from mlprod_tasks.platform.source_folders import SourceFolder, source_folder
from mlprod_tasks.platform.text_files import LINE, Malformed
from mlprod_tasks.platform.times import TimesToRead
from mlprod_tasks.platform.written_dates import PATTERNS, with_iso_dates

__all__ = [
    "IS_TEXT",
    "Source",
    "SourceMissing",
    "SourceUnreachable",
    "TimesUnreadable",
    "TypeNotRead",
    "as_arrow",
    "look",
    "naive_times",
    "newest",
    "read",
    "read_with_lines",
    "rows_with_unusual_times",
    "size",
    "ticks_of_files",
    "unusual_times",
]
CHUNK_ROWS = 100_000
SEPARATORS = (",", ";", "\t", "|")
TICK = r"\d{4}-\d\d-\d\d(?:T\d{4}Z)?"  # how ticks are written in the names of files
ENCODINGS = ("utf-8", "utf-16", "cp1252")  # what spreadsheets write


@dataclass(frozen=True)
class Source:
    """A source table: its address, its columns that are not declared, and what people should know about its files."""

    table: Table
    address: str
    undeclared: tuple[str, ...]
    notes: tuple[str, ...] = ()


def look(table: Table, settings: Settings, tick: TickName | None = None) -> Source:
    """Check that the source has the table and all declared columns, without reading rows.

    Columns of the source that are not declared are no error: they are listed in `undeclared`.

    Raises: SourceUnreachable, SourceMissing; TypeNotRead for a type of a database whose values have no meaning here.
    """
    if isinstance(table.source, Database):
        database = DatabaseSource(table, settings)
        types = database.columns()
        _require_columns(table, list(types), database.address)
        database.check_types(types)
        return Source(table, database.address, _undeclared(table, types))
    with _files(table, settings, tick) as paths:
        return _look_at_files(table, table.source, paths)


def _look_at_files(table: Table, source: Files, paths: Sequence[Path]) -> Source:
    address = f"{paths[0]}" if len(paths) == 1 else f"{len(paths)} files {source.path!r}"
    existing: dict[str, None] = {}
    for path in paths:
        columns = _columns_of(table, source, path)
        if source.format != "jsonl":  # a row may lack a key
            _require_columns(table, columns, str(path), shown=source.format != "csv", path=path)
        existing |= dict.fromkeys(columns)
    return Source(table, address, _undeclared(table, existing), (*_unended(table, paths), *_unnamed(table, existing)))


def _undeclared(table: Table, existing: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(existing) - set(_names(table))))


def _names(table: Table) -> list[str]:
    """The names of the declared columns in the source."""
    return [column.name_in_source for column in table.columns]


def _unnamed(table: Table, existing: Collection[str]) -> tuple[str, ...]:
    """A note on declared columns that no row at the beginning of JSON Lines has; none about files without rows."""
    missing = sorted(set(_names(table)) - set(existing))
    if not existing or not missing or not isinstance(table.source, Files) or table.source.format != "jsonl":
        return ()
    return (f"none of the first {json_lines.FIRST_ROWS:,} rows of a file has the key {', '.join(map(repr, missing))}",)


def _dialect(source: Files) -> Dialect:
    return Dialect(source.separator, source.encoding, source.missing)


def _unended(table: Table, paths: Sequence[Path]) -> tuple[str, ...]:
    """A note for each CSV file whose last row has no line break."""
    source = table.source
    if not isinstance(source, Files) or source.format != "csv":
        return ()
    return tuple(
        f"{path} does not end with a line break: its last value may be cut off. Compare it with what was sent"
        for path in paths
        if not _ends_in_a_line(table, source, path)
    )


def _ends_in_a_line(table: Table, source: Files, path: Path) -> bool:
    try:
        return csv_files.ends_in_a_line(path, _dialect(source))
    except (Malformed, OSError) as error:
        raise _unreadable(table, source, path, error) from None


def read(
    table: Table,
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    tick: TickName | None = None,
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
        with _files(table, settings, tick) as paths:
            for path in paths:
                yield from _file(table, table.source, path, chunk_rows)
        return
    yield from DatabaseSource(table, settings).read(start, end, chunk_rows)


def read_with_lines(
    table: Table, settings: Settings, tick: TickName | None = None, chunk_rows: int = CHUNK_ROWS
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield all rows of a table's files in the chunks of `read`, each with the name of its file, and with the column LINE.

    LINE: the line of the file that a row begins at; in Parquet, the number of the row. Both from 1 on.

    Raises: SourceUnreachable, SourceMissing.
    """
    assert isinstance(table.source, Files)
    folder, names = _names_of_files(table, table.source, settings, tick)
    with folder.readable(names) as paths:
        for name, path in zip(names, paths, strict=True):
            for rows in _file(table, table.source, path, chunk_rows, with_lines=True):
                yield name, rows


def unusual_times(table: Table, settings: Settings) -> TimesToRead | None:
    """The times of a database table that a query by time may not find; None for other sources.

    Raises: SourceUnreachable.
    """
    if not isinstance(table.source, Database) or table.time is None:
        return None
    return DatabaseSource(table, settings).unusual_times()


def rows_with_unusual_times(table: Table, settings: Settings) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a database table whose times `unusual_times` lists or counts, with a column IS_TEXT.

    It tells whether the time is a text. Raises: SourceUnreachable.
    """
    yield from DatabaseSource(table, settings).rows_with_unusual_times(CHUNK_ROWS)


def naive_times(table: Table, settings: Settings) -> list[str]:
    """The timestamp columns of a database table with times without an offset. Raises: SourceMissing, SourceUnreachable."""
    return DatabaseSource(table, settings).naive_times()


def size(table: Table, settings: Settings) -> int:
    """The number of rows of a database table. Raises: SourceUnreachable."""
    return DatabaseSource(table, settings).size()


def ticks_of_files(table: Table, settings: Settings) -> list[str]:
    """What stands for `{tick}` in the paths of a table's files, ascending; none where there is no file.

    Raises: SourceUnreachable.
    """
    assert isinstance(table.source, Files)
    folder, path = source_folder(table.name, table.source, settings), table.source.path
    before, *after = fnmatch.translate(os.path.normpath(path)).split(re.escape("{tick}"))
    named = re.compile(f"{before}(?P<tick>{TICK}){'(?P=tick)'.join(after)}")
    files = folder.names_like(path.replace("{tick}", "*"))
    return sorted({found["tick"] for file in files if (found := named.match(file))})


def newest(table: Table, settings: Settings) -> str | None:
    """The latest time in a database table, as text; None for other sources.

    It tells how late a source without new rows is.

    Raises: SourceUnreachable.
    """
    if not isinstance(table.source, Database) or table.time is None:
        return None
    return DatabaseSource(table, settings).newest()


def _require_columns(table: Table, existing: Sequence[str], address: str, shown: bool = True, path: Path | None = None) -> None:
    """Require each declared column once. shown: whether the names may be shown; in a file without header, they are values."""
    declared = _names(table)
    twice = [name for name in declared if existing.count(name) > 1]
    if twice:
        raise SourceMissing(
            f"table {table.name!r}: the header of {address} has the column {', '.join(map(repr, twice))} more than once, so it "
            "is not clear which one is meant. Deliver it with one of them"
        )
    missing = [name for name in declared if name not in existing]
    if not missing:
        return
    known = sorted(name for name in set(existing) if shown or name in declared)
    others = len(existing) - len(known) if not shown else 0
    has = ", ".join([*known, *([f"{others} that are not declared"] if others else [])])
    raise SourceMissing(
        f"table {table.name!r}: {address} has no column {', '.join(map(repr, missing))}; it has "
        f"{has}. {_remedy(table, declared, path)}"
    )


def _other_dialects(source: Files) -> Iterator[Dialect]:
    """What a CSV file may be written in that has not the declared columns: with another separator first, then encodings too."""
    encodings = dict.fromkeys((source.encoding, *ENCODINGS))
    dialects = (Dialect(separator, encoding) for encoding in encodings for separator in (source.separator, *SEPARATORS))
    return (dialect for dialect in dialects if dialect != _dialect(source))


def _remedy(table: Table, declared: Sequence[str], path: Path | None) -> str:
    """What to do about missing columns: a CSV file may have another separator or encoding than is declared."""
    if path is not None and isinstance(table.source, Files) and table.source.format == "csv":
        for dialect in _other_dialects(table.source):
            try:
                names = csv_files.header(path, dialect)
            except (Malformed, OSError):
                continue
            if set(declared) <= set(names):
                return (
                    f"It has them all with Files(separator={dialect.separator!r}, encoding={dialect.encoding!r}): look whether "
                    "its texts are right with that, and declare it; if only this file is written so, deliver it like the others"
                )
    return "Add the column to the source, remove it from the declaration, or give its name there as Column(source=...)"


def _files(table: Table, settings: Settings, tick: TickName | None) -> AbstractContextManager[list[Path]]:
    """The table's files, readable while the block runs. Raises: SourceMissing, SourceUnreachable."""
    assert isinstance(table.source, Files)
    folder, names = _names_of_files(table, table.source, settings, tick)
    return folder.readable(names)


def _names_of_files(table: Table, source: Files, settings: Settings, tick: TickName | None) -> tuple[SourceFolder, list[str]]:
    folder = source_folder(table.name, source, settings)
    pattern = source.path.replace("{tick}", str(tick)) if tick else source.path
    names = folder.names_like(pattern)
    if not names:
        raise SourceMissing(
            f"table {table.name!r}: no file {pattern!r} in {folder}. Deliver it and clear the task, or correct `source.path` "
            "in the declaration"
        )
    return folder, names


def _columns_of(table: Table, source: Files, path: Path) -> list[str]:
    try:
        match source.format:
            case "parquet":
                return list(pq.read_schema(path).names)
            case "jsonl":
                return list(json_lines.keys(path, source.encoding))
            case "csv":
                return csv_files.header(path, _dialect(source))
    except (pa.ArrowException, Malformed, OSError) as error:
        raise _unreadable(table, source, path, error) from None


def _file(table: Table, source: Files, path: Path, chunk_rows: int, *, with_lines: bool = False) -> Iterator[pa.RecordBatch]:
    # A personal column that is dropped is not even read from the source.
    wanted = [column.name_in_source for column in table.lake_columns]
    names = [column.name for column in table.lake_columns]
    more = [LINE] if with_lines else []
    dated = {column.name for column in table.lake_columns if column.kind in ("date", "timestamp")}
    try:
        for rows in _rows_of_file(source, path, wanted, chunk_rows, with_lines):
            named = rows.select([*wanted, *more]).rename_columns([*names, *more])
            yield with_iso_dates(named, dated, source.dates) if source.dates in PATTERNS else named
    except (pa.ArrowException, Malformed, OSError) as error:
        raise _unreadable(table, source, path, error) from None


def _rows_of_file(source: Files, path: Path, wanted: list[str], chunk_rows: int, with_lines: bool) -> Iterator[pa.RecordBatch]:
    match source.format:
        case "csv":
            yield from csv_files.read(path, wanted, _dialect(source), with_lines=with_lines)
        case "jsonl":
            yield from json_lines.read(path, wanted, chunk_rows, source.encoding, with_lines=with_lines)
        case "parquet":
            with pq.ParquetFile(path) as file:
                first = 1
                for rows in file.iter_batches(batch_size=chunk_rows, columns=wanted):
                    numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
                    yield rows.append_column(LINE, numbers) if with_lines else rows
                    first += rows.num_rows


def _unreadable(table: Table, source: Files, path: Path, error: Exception) -> SourceMissing:
    """Say what is wrong with a file. Arrow's own message may show values, and so is not passed on."""
    if isinstance(error, Malformed):
        reason = str(error)
    else:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is damaged or cut off"
    return SourceMissing(f"table {table.name!r}: {path} cannot be read as a {source.format} file: {reason}. Deliver it again")
