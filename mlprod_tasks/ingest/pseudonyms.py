"""Pseudonyms of personal values: equal values get equal pseudonyms, whatever other values are in the column.

A pseudonym is the HMAC-SHA256, with the installation's key, of the value's text:

| value | its text |
| --- | --- |
| text | itself; in a column of kind int, text that is an integer ('7', '007', ' 7 '): `7` |
| an integer of any width | `7` |
| a float or decimal without a fraction (7.0, Decimal('7.00')) | `7` |
| another float; another decimal | `7.5` as Python writes it; `7.5` without trailing zeros |
| NaN | in a column of kind int null, because pandas writes missing integers as NaN; else `nan` |
| a flag | `True` or `False` |
| a date | `2013-06-01` |
| a moment; one with a time zone | `2013-06-01 10:00:00`; in UTC, `2013-06-01 10:00:00+00:00` |
| bytes | decoded as UTF-8, or as Python writes them if they are not UTF-8 |

A null has no pseudonym. The audit refuses rows with values that have no text (bytes that are not UTF-8, lists, lengths of
time): their pseudonym, that of what Python writes, is only in quarantine. The fields of a request are hashed by the same
function.
"""

from __future__ import annotations

import pyarrow as pa

from mlprod_tasks.ingest.convert import in_microseconds, integer
from mlprod_tasks.platform.pseudonym import pseudonym
from mlprod_tasks.platform.value_text import written


def pseudonyms(values: pa.Array, kind: str, key: str) -> pa.Array:
    """Hash each value of a column of kind 'int' or 'text'. values: in the source's type.

    Returns: texts of the same length, null for missing values.
    """
    distinct, places = _distinct(in_microseconds(values))
    texts = [_text_of(value, kind) for value in distinct]
    return pa.array([None if text is None else pseudonym(text, key) for text in texts], pa.string()).take(places)


def _distinct(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The distinct values (all values for types that Arrow cannot encode), and the position of each row's value in them."""
    try:
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return values, pa.array(range(len(values)))
    return encoded.dictionary, encoded.indices


def _text_of(value: pa.Scalar, kind: str) -> str | None:
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):  # a timestamp outside Python's years
        return str(value.cast(pa.string()).as_py())
    if plain is None:
        return None
    if kind == "int":
        try:
            whole = integer(plain)
        except (ValueError, TypeError, OverflowError):
            return written(plain)
        return None if whole is None else str(whole)
    return written(plain)
