"""Read CSV files as RFC 4180 describes them, with any separator, and refuse those that are cut off or malformed, by line.

A value may be quoted; in quotes, it may hold commas, doubled quotes and line breaks. Blank lines are no rows. Messages never
show what a file contains, because any value may be personal.
"""

from __future__ import annotations

import csv
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv

from mlprod_tasks.platform.text_files import LINE, UTF_8, Malformed, is_compressed, is_utf_8, lines_in_utf_8, opened

CHUNK_LINES = 100_000
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written: the character between values, its encoding, and what stands for a missing value."""

    separator: str = ","
    encoding: str = UTF_8
    missing: tuple[str, ...] = ()


STANDARD = Dialect()


def header(path: Path, dialect: Dialect = STANDARD) -> list[str]:
    """The names in the first line. Raises: Malformed, OSError."""
    with opened(path) as file:
        return _header(_Records(lines_in_utf_8(file, dialect.encoding), dialect.separator))


def ends_in_a_line(path: Path, dialect: Dialect = STANDARD) -> bool:
    """Whether the last row ends with a line break: a file without one may be cut off in its last value.

    True for a file that has a header alone. Raises: Malformed, OSError.
    """
    with opened(path) as file:
        if is_utf_8(dialect.encoding) and not is_compressed(path):
            if file.seek(0, 2) == 0:
                return True
            file.seek(-1, 2)
            if file.read(1) in (b"\n", b"\r"):
                return True
            file.seek(0)
        records = _Records(lines_in_utf_8(file, dialect.encoding), dialect.separator)
        _header(records)
        rows = sum(1 for _ in records.dropping())
        return not rows or records.last.endswith(("\n", "\r"))


def read(
    path: Path, columns: Sequence[str], dialect: Dialect = STANDARD, *, with_lines: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in chunks, each column as text, or as bytes if a value of the chunk is not UTF-8.

    An empty value is null, and so is one of `missing`; a quoted empty value is an empty text. with_lines: adds the column LINE.

    Raises: Malformed, OSError.
    """
    with opened(path) as file:
        records = _Records(lines_in_utf_8(file, dialect.encoding), dialect.separator)
        names = _header(records)
        positions = [names.index(name) for name in columns]
        records.take()
        lines = array("q")
        for record in records:
            if len(record) != len(names):
                raise Malformed(
                    f"line {records.line} has {_fields(len(record))}, but the header has {len(names)}: "
                    f"a value with {dialect.separator!r}, a quote or a line break is not quoted, or the row is cut off"
                )
            lines.append(records.line)
            if records.held_lines >= CHUNK_LINES or records.held_bytes >= CHUNK_BYTES:
                yield _batch(records.take(), lines, len(names), positions, columns, dialect, with_lines)
                lines = array("q")
        if lines:
            yield _batch(records.take(), lines, len(names), positions, columns, dialect, with_lines)


@dataclass
class _Records:
    """Split lines into records, and hold the lines until they are taken. line, end: the newest record's first and last."""

    lines: Iterator[str]
    separator: str
    line: int = 0
    end: int = 0
    held_lines: int = 0
    held_bytes: int = 0
    held: list[str] = field(default_factory=list)
    last: str = ""  # the newest line

    def __iter__(self) -> Iterator[list[str]]:
        csv.field_size_limit(sys.maxsize)  # the standard has no limit
        reader, before, end = csv.reader(self._hold(), delimiter=self.separator, strict=True), self.end, self.end
        try:
            for record in reader:
                self.line, end = end + 1, before + reader.line_num
                self.end = end
                if record:  # else a blank line
                    yield record
        except csv.Error as error:
            raise Malformed(_problem(error, end + 1, before + reader.line_num)) from None

    def _hold(self) -> Iterator[str]:
        for line in self.lines:
            self.last = line
            self.held.append(line)
            self.held_lines += 1
            self.held_bytes += len(line)
            yield line

    def dropping(self) -> Iterator[list[str]]:
        """The records, of which no line is held."""
        for record in self:
            self.take()
            yield record

    def take(self) -> bytes:
        """The bytes of the records since the last call."""
        content = "".join(self.held).encode("latin-1")
        self.held.clear()
        self.held_lines = self.held_bytes = 0
        return content


def _header(records: _Records) -> list[str]:
    for record in records:
        return [name.encode("latin-1").decode("utf-8", "replace") for name in record]
    raise Malformed("it is empty, without a header line")


def _problem(error: csv.Error, begin: int, line: int) -> str:
    if "end of data" in str(error):
        return f"a quote that opens in the row of line {begin} is never closed, up to the end of the file (line {line})"
    return f"line {line}: a closing quote is followed by more text; in a quoted value, a quote is written twice"


def _fields(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _batch(
    content: bytes,
    lines: array[int],
    width: int,
    positions: Sequence[int],
    columns: Sequence[str],
    dialect: Dialect,
    with_lines: bool,
) -> pa.RecordBatch:
    """Parse complete records with Arrow, which tells an empty value from a quoted one."""
    names = [str(position) for position in range(width)]
    wanted = [names[position] for position in positions]
    rows = arrow_csv.read_csv(
        BytesIO(content),
        arrow_csv.ReadOptions(column_names=names, block_size=len(content) + 1),
        arrow_csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
        # All columns as they are: types come from the declaration, not from the first megabyte of the file.
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.binary()),
            include_columns=wanted,
            strings_can_be_null=True,
            null_values=["", *dialect.missing],
            quoted_strings_can_be_null=False,
        ),
    )
    if rows.num_rows != len(lines):
        raise Malformed(f"{len(lines)} rows were found, but {rows.num_rows} read")
    read = pa.RecordBatch.from_arrays([_as_text(rows[name].combine_chunks()) for name in wanted], names=list(columns))
    return read.append_column(LINE, pa.array(lines, pa.int64())) if with_lines else read


def _as_text(values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return values
