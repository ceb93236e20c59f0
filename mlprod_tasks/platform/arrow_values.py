"""Python values as Arrow arrays, so that no value is changed by its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from mlprod_tasks.platform.value_text import written


def by_type(rows: Sequence[Any], columns: Sequence[int]) -> Iterable[Sequence[Any]]:
    """Group the rows so that in each group, each of `columns` has values of one type.

    Arrow arrays have one type: 7 in an array with 8.5 would become 7.0, and so get a different hash than 7 alone; the number
    20240314 in an array with texts would become a text, which is a day.
    """
    if not columns:
        return [rows]
    groups: dict[tuple[type, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(type(row[position]) for position in columns), []).append(row)
    return groups.values()


def as_arrow(values: Sequence[Any]) -> pa.Array:
    """Convert Python values to Arrow; values of several types become text, or bytes if one of them is not UTF-8."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        # An undecodable text of SQLite holds its bytes as surrogates, which Arrow refuses.
        contents = [_bytes(value) for value in values]
    try:
        return pa.array([None if content is None else content.decode() for content in contents], pa.string())
    except UnicodeDecodeError:
        return pa.array(contents, pa.binary())


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return written(value).encode(errors="surrogateescape")
