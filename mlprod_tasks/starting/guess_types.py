"""Guess the types of columns from their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration.table import Kind
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform.written_dates import PATTERNS, iso_dates

# What stands for a missing value in files, if a column is a number or a time but for it.
MISSING = ("NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "--", "?", ".", "#N/A", "(null)", "\\N")
CODE = re.compile(r"(^|_)(zip|plz|postcode|postal|phone|tel|fax|ssn|ean|isbn|iban|sku)(_|$|code)")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
OTHER_DAY = re.compile(
    r"\d{1,2}[./]\d{1,2}[./](\d{4}|\d{2})(\s.*)?|\d{4}/\d{1,2}/\d{1,2}(\s.*)?|\d{1,2}[- ][A-Za-z]{3}[- ]\d{2,4}"
)
COMMA = re.compile(r"[-+]?\d+,\d+|[-+]?\d+")
TRIED = 1000


@dataclass(frozen=True)
class TypeGuess:
    """kind: of the column. values: in that type. why: what is not plain about it, for a comment. missing: words that stand for
    missing values. comma: whether numbers have a decimal comma. dates: how dates are written, if not as in ISO 8601."""

    kind: Kind
    values: pa.Array
    why: str = ""
    missing: frozenset[str] = frozenset()
    comma: bool = False
    dates: str = ""


def guess_types(rows: pa.Table, names: Mapping[str, str], *, separator: str, is_csv: bool) -> dict[str, TypeGuess]:
    """The type of each column, by its name in the source. names: how they are called in the declaration."""
    guesses = {column: _guess(rows[column].combine_chunks(), names[column], separator, is_csv) for column in rows.column_names}
    words = frozenset[str]().union(*(guess.missing for guess in guesses.values()))
    if not words:
        return guesses
    # In a file, a word means missing in every column or in none.
    for column, guess in guesses.items():
        if guess.kind == "text" and _is_text(rows[column].type):
            guesses[column] = TypeGuess("text", _without(rows[column].combine_chunks(), words), guess.why)
    return guesses


def _guess(array: pa.Array, name: str, separator: str, is_csv: bool) -> TypeGuess:
    if not _is_text(array.type):
        return _of_type(array)
    known = array.drop_null()
    if not len(known):
        return TypeGuess("text", array, "every value is missing")
    words = (
        frozenset(word for word in MISSING if word in set(pc.unique(known).slice(0, 100_000).to_pylist()))
        if is_csv
        else frozenset()
    )
    guess = _of_text(known, array, name, separator)
    if guess.kind != "text" or not words or len(words) == len(pc.unique(known)):
        return guess
    without = _without(array, words)
    better = _of_text(without.drop_null(), without, name, separator) if without.null_count < len(without) else guess
    if better.kind == "text":
        return guess
    return replace(better, missing=words)


def _of_text(known: pa.Array, array: pa.Array, name: str, separator: str) -> TypeGuess:
    first = known.slice(0, TRIED)
    for kind in _kinds(first, name):
        if convert(first, kind).lossless and (done := convert(array, kind)).lossless:
            return TypeGuess(kind, done.values)
    texts = first.to_pylist()
    if separator != "," and all(COMMA.fullmatch(text) for text in texts) and any("," in text for text in texts):
        done = convert(array, "float", decimal=",")
        if done.lossless:
            return TypeGuess("float", done.values, "with a decimal comma", comma=True)
    if all(OTHER_DAY.fullmatch(text) for text in texts) and (dated := _of_dates(array)) is not None:
        return dated
    why = ""
    if all(OTHER_DAY.fullmatch(text) for text in texts):
        why = "looks like a date, but is written in no way that is read: deliver it as 2024-03-31, to use it as a time"
    elif _has_leading_zeros(first):
        why = "digits with zeros in front: a code, no number"
    return TypeGuess("text", array, why)


def _of_dates(array: pa.Array) -> TypeGuess | None:
    """Dates or moments in a way that declarations can name; None if they are written in none."""
    found = []
    for way in PATTERNS:
        written = iso_dates(array, way)
        for kind in ("date", "timestamp"):
            if (done := convert(written, kind)).lossless:
                found.append(TypeGuess(kind, done.values, dates=way))  # type: ignore[arg-type]
                break
    if not found:
        return None
    others = ", ".join(one.dates for one in found[1:])
    return replace(found[0], why=f"dates as in {found[0].dates}{f'; {others} would fit too' if others else ''}")


def _kinds(first: pa.Array, name: str) -> Iterator[Kind]:
    """The types to try, in order."""
    if set(pc.unique(pc.utf8_lower(first)).to_pylist()) <= {"true", "false", "t", "f"}:
        yield "bool"
    if _has_leading_zeros(first) or CODE.search(name):
        return
    yield "int"
    yield "float"
    if all(len(text) >= 8 and text[:4].isdigit() and text[4] == "-" for text in first.to_pylist()):
        if all(DAY.fullmatch(text) for text in first.to_pylist()):
            yield "date"
        yield "timestamp"


def _has_leading_zeros(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, r"^0\d+$")).as_py())


def _of_type(array: pa.Array) -> TypeGuess:
    """The kind of what is no text."""
    kind: Kind
    if pa.types.is_dictionary(array.type):
        return (
            _of_type(array.cast(array.type.value_type))
            if not _is_text(array.type.value_type)
            else TypeGuess("text", array.cast(pa.string()))
        )
    if pa.types.is_boolean(array.type):
        kind = "bool"
    elif pa.types.is_integer(array.type):
        kind = "int"
    elif pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        kind = "int" if _are_whole(array) else "float"
    elif pa.types.is_timestamp(array.type):
        kind = "timestamp"
    elif pa.types.is_date(array.type):
        kind = "date"
    else:
        return TypeGuess("text", pa.nulls(len(array), pa.string()), f"{array.type} is not read as such: left out")
    done = convert(array, kind)
    return TypeGuess(kind, done.values)


def _are_whole(array: pa.Array) -> bool:
    """Whether numbers with missing ones are whole, as pandas writes integers with missing values."""
    if not pa.types.is_floating(array.type) or (not array.null_count and not pc.any(pc.is_nan(array)).as_py()):
        return False
    known = array.filter(pc.invert(pc.is_nan(array))).drop_null()
    return len(known) > 0 and bool(pc.all(pc.equal(known, pc.floor(known))).as_py())


def _without(array: pa.Array, words: Collection[str]) -> pa.Array:
    return pc.if_else(pc.is_in(array, pa.array(sorted(words), array.type)), pa.scalar(None, array.type), array)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
