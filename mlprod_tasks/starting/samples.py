"""Read the beginning of files and database tables of which nothing is declared yet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.platform import csv_files, json_lines
from mlprod_tasks.platform.csv_files import Dialect
from mlprod_tasks.platform.text_files import Malformed

SAMPLED_ROWS = 300_000
SEPARATORS, ENCODINGS = (",", ";", "\t", "|"), ("utf-8", "utf-16", "cp1252")
FIRST_BYTES = 65_536
NOT_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: save each sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save each sheet as CSV",
    b"SQLite format 3\x00": "an SQLite database: give it as sqlite:///PATH",
    b"%PDF": "a PDF",
}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


class CannotStart(ValueError):
    """Nothing can be declared from what was given. The message says why, and what to do."""


@dataclass(frozen=True)
class Sample:
    """The first rows of a source.

    source: Python that declares it, without what is only found later (`missing`, `decimal`). rows: columns by their name in the
    source. whole: whether these are all rows. left_out: names of columns that cannot be told apart. key, references: what the
    database itself says: the primary key, and for columns the table and column that they refer to.
    """

    name: str
    shown: str
    source: str
    rows: pa.Table
    whole: bool
    separator: str = ","
    is_csv: bool = False
    left_out: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    references: dict[str, tuple[str, str]] = field(default_factory=dict)


def from_file(path: Path, connection: str) -> Sample:
    """Read the beginning of a CSV, JSON Lines or Parquet file, in any dialect that sources are read in.

    Raises: CannotStart.
    """
    if not path.is_file():
        raise CannotStart(f"{path}: no such file")
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    made = f'ml.Files("{connection}", "{path.name}"'
    try:
        match FORMATS.get(plain.suffix.lower(), "csv"):
            case "parquet":
                rows, whole = _parquet(path)
                sample = Sample(name_of(plain.stem), path.name, f'{made}, "parquet"', rows, whole)
            case "jsonl":
                rows, whole = _json_lines(path)
                sample = Sample(name_of(plain.stem), path.name, f'{made}, "jsonl"', rows, whole)
            case _:
                sample = _csv(path, name_of(plain.stem), made)
    except (Malformed, pa.ArrowException, OSError) as error:
        raise CannotStart(f"{path}: {error}") from None
    return sample


def name_of(text: str) -> str:
    """A name as declarations allow it: lower-case letters, digits and _, first a letter."""
    for umlaut, letters in {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}.items():
        text = text.replace(umlaut, letters).replace(umlaut.upper(), letters.capitalize())
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", text)
    name = re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
    return (name if name[:1].isalpha() else f"c_{name}".rstrip("_"))[:60]


def _parquet(path: Path) -> tuple[pa.Table, bool]:
    file = pq.ParquetFile(path)
    batches = list(islice(file.iter_batches(batch_size=50_000), SAMPLED_ROWS // 50_000))
    rows = pa.Table.from_batches(batches, file.schema_arrow)
    return rows, rows.num_rows == file.metadata.num_rows


def _json_lines(path: Path) -> tuple[pa.Table, bool]:
    names = list(json_lines.keys(path))
    if not names:
        raise CannotStart(f"{path}: it has no rows")
    return _first(json_lines.read(path, names, 50_000), names)


def _csv(path: Path, name: str, made: str) -> Sample:
    """Read in the first dialect that splits the header most and reads all rows."""
    _require_text(path)
    dialects = [Dialect(separator, encoding) for encoding in ENCODINGS for separator in SEPARATORS]
    problems: list[Malformed] = []
    for dialect, header in sorted(_headers(path, dialects), key=lambda one: -len(one[1])):
        repeated = tuple(column for column, n in Counter(header).items() if n > 1 or not column.strip())
        columns = [column for column in header if column not in repeated]
        if not columns:
            continue
        try:
            rows, whole = _first(csv_files.read(path, columns, dialect), columns)
        except Malformed as error:
            problems.append(error)
            continue
        if any(pa.types.is_binary(column.type) for column in rows.schema):
            problems.append(Malformed(f"it is no text in {dialect.encoding}"))
            continue
        said = "".join(
            f', {field}="{value}"' for field, value, usual in (
                ("separator", dialect.separator.replace("\t", "\\t"), ","), ("encoding", dialect.encoding, "utf-8")
            ) if value != usual
        )  # fmt: skip
        return Sample(name, path.name, f'{made}, "csv"{said}', rows, whole, dialect.separator, True, repeated)
    raise problems[0] if problems else CannotStart(f"{path}: it is empty, or no text with a header line")


def _headers(path: Path, dialects: list[Dialect]) -> Iterator[tuple[Dialect, list[str]]]:
    for dialect in dialects:
        try:
            header = csv_files.header(path, dialect)
        except Malformed:
            continue
        if dialect.encoding != "utf-8" or not any("\ufffd" in column for column in header):
            yield dialect, header


def _require_text(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    if not start:
        raise CannotStart(f"{path}: it is empty")
    for mark, what in NOT_TEXT.items():
        if start.startswith(mark):
            raise CannotStart(f"{path}: it is {what}")
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")) and path.suffix != ".gz":
        raise CannotStart(f"{path}: it is binary, neither CSV, JSON Lines (.jsonl) nor Parquet (.parquet)")


def _first(batches: Iterator[pa.RecordBatch], names: list[str]) -> tuple[pa.Table, bool]:
    """The first rows as one table, and whether there are no others."""
    taken, count = [], 0
    for batch in batches:
        taken.append(batch)
        count += batch.num_rows
        if count >= SAMPLED_ROWS:
            break
    whole = next(iter(batches), None) is None
    if not taken:
        return pa.table({name: pa.array([], pa.string()) for name in names}), True
    columns = {name: pa.chunked_array(_alike([batch.column(name) for batch in taken])) for name in names}
    return pa.table(columns), whole


def _alike(arrays: list[pa.Array]) -> list[pa.Array]:
    """The chunks of a column in one type; as text where they are of several."""
    types = {array.type for array in arrays if not pa.types.is_null(array.type)}
    if len(types) <= 1:
        return [array.cast(next(iter(types), pa.string())) for array in arrays]
    if all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in types):
        return [array.cast(pa.float64()) for array in arrays]
    return [array if pa.types.is_binary(array.type) else array.cast(pa.string()) for array in arrays]


def rows_in_words(sample: Sample) -> str:
    return format_count(sample.rows.num_rows, "row") if sample.whole else f"the first {sample.rows.num_rows:,} rows"
