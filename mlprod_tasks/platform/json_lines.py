"""Read JSON Lines: one object a line, its keys the columns. What is no such line is refused by its number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlprod_tasks.platform.arrow_values import as_arrow, by_type
from mlprod_tasks.platform.text_files import LINE, UTF_8, Malformed, lines_in_utf_8, opened
from mlprod_tasks.platform.value_text import written

LONGEST = 400  # digits of a number, and its power of ten; beyond, it is kept as it is written
FIRST_ROWS = 1_000


def keys(path: Path, encoding: str = UTF_8) -> dict[str, None]:
    """The keys of the first rows, in order. Raises: Malformed, OSError."""
    with opened(path) as file:
        return dict.fromkeys(key for _, row in islice(_objects(lines_in_utf_8(file, encoding)), FIRST_ROWS) for key in row)


def read(
    path: Path, columns: Sequence[str], chunk_rows: int, encoding: str = UTF_8, *, with_lines: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in chunks. A key that an object lacks is a missing value.

    In a chunk, the values of each column are of one type, so that they do not change each other.
    with_lines: adds the column LINE.

    Raises: Malformed, OSError.
    """
    with opened(path) as file:
        objects = _objects(lines_in_utf_8(file, encoding))
        while chunk := [(*map(row.get, columns), line) for line, row in islice(objects, chunk_rows)]:
            for rows in by_type(chunk, range(len(columns))):
                *values, lines = zip(*rows, strict=True)
                read = pa.RecordBatch.from_arrays([as_arrow(one) for one in values], names=list(columns))
                yield read.append_column(LINE, pa.array(lines, pa.int64())) if with_lines else read


def _objects(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects, each with the number of its line."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_object, parse_int=_number, parse_float=_number, parse_constant=_refuse, strict=True
    )
    for number, line in enumerate(lines, 1):
        try:
            text = line.strip().encode("latin-1").decode()
            if not text:
                continue
            row = decoder.decode(text)
        except UnicodeDecodeError:
            raise Malformed(f"line {number} is not UTF-8: declare its `encoding`") from None
        except (json.JSONDecodeError, RecursionError):
            raise Malformed(f"line {number} is not JSON, or it is cut off") from None
        except _NamedTwice:
            raise Malformed(f"line {number} names a key twice") from None
        if not isinstance(row, dict):
            raise Malformed(f"line {number} is not an object, as in {{...}}")
        yield number, row


class _NamedTwice(Exception):
    """A key stands twice in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = {key: _value(value) for key, value in pairs}
    if len(row) < len(pairs):
        raise _NamedTwice
    return row


def _value(value: Any) -> Any:
    """A value as Arrow keeps it. No column takes a list or an object; a text with half a character is bytes, as no UTF-8."""
    if isinstance(value, list | dict):
        return [json.dumps(value, default=str)]
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode(errors="surrogatepass")
    return value


def _number(text: str) -> int | str:
    """The number, exactly: 7.0 is 7, and one with a fraction is a text without zeros at its end. -0.0 keeps its sign."""
    number = Decimal(text)
    if max(abs(number.adjusted()), len(text)) > LONGEST:
        return text
    if number == number.to_integral_value() and not (number.is_zero() and number.is_signed()):
        return int(number)
    return written(number)


def _refuse(constant: str) -> Any:
    raise json.JSONDecodeError(f"{constant} is not JSON", constant, 0)
