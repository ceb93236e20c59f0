"""Convert the values of a source to the declared types, and mark those that cannot be converted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Column
from mlprod_tasks.platform.value_text import EXACT_INTEGERS, written

ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}
TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
# Texts that only Arrow reads as numbers, such as '0x1f' and 'nan(1)', contain these characters.
ODDITIES = {"int": "x", "float": "("}
# Values that have one text; lists, structs, maps and lengths of time do not.
TEXTS = (str, bool, int, float, Decimal, date, time, UUID)
# Arrow has no clock changes after 2037.
RULES_END = pa.scalar(datetime(2037, 1, 1), pa.timestamp("us"))  # noqa: DTZ001


def lake_type(column: Column) -> pa.DataType:
    """The Arrow type of a column in the lake; a hashed column is always text."""
    return pa.string() if column.personal == "hash" else ARROW[column.kind]


@dataclass(frozen=True)
class Converted:
    """Values in the declared type, null if they could not be converted, and a mask of those."""

    values: pa.Array
    failed: pa.BooleanArray

    @property
    def lossless(self) -> bool:
        return not pc.any(self.failed, min_count=0).as_py()


def convert(array: pa.Array, kind: str, timezone: str = "UTC", decimal: str = ".") -> Converted:
    """Convert values to a kind without loss: '12' is an integer, '12.5' and True are not.

    decimal: the decimal sign of texts that are numbers.

    Timestamps without an offset are local to `timezone`. A local hour that a clock change repeats means the first of the two;
    one that a clock change skips becomes the moment of the change. NaN is a number; in a column of integers or truth
    values it counts as missing, because pandas writes missing ones as NaN. Bytes are read as the text that they are in UTF-8.
    """
    array = _decoded(array)
    if decimal == "," and kind == "float":
        array = _with_point(array)
    try:
        values = _within_the_calendar(_fast(array, kind, timezone))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        # Arrow says that a value does not fit, but not which one. Value by value we find them all, for the quarantine.
        return _slow(array, kind, timezone)
    return Converted(values, pa.repeat(pa.scalar(False), len(values)))


def _decoded(array: pa.Array) -> pa.Array:
    """Bytes as text, if all of them are UTF-8; else the array itself."""
    kind = array.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)):
        return array
    try:
        return array.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return array


def _with_point(array: pa.Array) -> pa.Array:
    """Texts with a point for a comma; a point becomes what no number has, since it may separate thousands."""
    if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        return array
    return pc.replace_substring(pc.replace_substring(array, ".", "?"), ",", ".")


def as_text(array: pa.Array) -> pa.Array:
    """The values as text, each by itself: a number is written the same in every numeric type."""
    numbers = pa.types.is_floating(array.type) or pa.types.is_decimal(array.type)
    try:
        if not numbers:  # Arrow writes 7.0 with its fraction, so that its text is no integer
            return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # bytes that are not UTF-8, lists and the like: quarantine and mails must show something
    return pa.array([None if value is None else written(value) for value in array.to_pylist()], pa.string())


def as_bytes_unless_text(array: pa.Array) -> pa.Array:
    """The array; as bytes if it is declared as text and a value is not UTF-8, which Arrow does not check when it reads Parquet.

    Otherwise one such value would end the conversion of all, with a message that quotes it.
    """
    if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        return array
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return array.cast(pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary())
    return array


def in_microseconds(array: pa.Array) -> pa.Array:
    """The array with nanosecond timestamps cut to microseconds, the precision of Python's datetime."""
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        return array.cast(pa.timestamp("us", array.type.tz), safe=False)
    return array


def _fast(array: pa.Array, kind: str, timezone: str) -> pa.Array:
    """Convert the whole array at once. Raises an Arrow error if a value does not fit, or `_slow` might read it differently."""
    source, target = array.type, ARROW[kind]
    if pa.types.is_null(source) or source == target:
        return array.cast(target)
    if pa.types.is_dictionary(source):
        return _fast(array.cast(source.value_type), kind, timezone)
    text = pa.types.is_string(source) or pa.types.is_large_string(source)
    fits = {
        "int": pa.types.is_integer(source) or text,
        "float": pa.types.is_integer(source) or pa.types.is_floating(source) or pa.types.is_decimal(source) or text,
        "text": pa.types.is_integer(source) or text,
        "bool": False,
        "timestamp": pa.types.is_timestamp(source) or text,
        "date": text,
    }[kind]
    if not fits:
        raise pa.ArrowTypeError(f"{source} is not {kind}")
    if text and kind in ODDITIES and pc.any(pc.match_substring(array, ODDITIES[kind], ignore_case=True)).as_py():
        raise pa.ArrowInvalid(f"text with {ODDITIES[kind]!r}")
    if kind == "timestamp":
        local = array.cast(pa.timestamp("us")) if text or source.tz is None else None
        if local is None:
            return array.cast(target)
        if timezone != "UTC" and pc.any(pc.greater_equal(local, RULES_END)).as_py():
            raise pa.ArrowInvalid(f"a local time after {RULES_END}")
        return pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="latest").cast(target)
    return array.cast(target)


def _within_the_calendar(values: pa.Array) -> pa.Array:
    """Return the values. Raises ArrowInvalid if a date or timestamp is outside the years 1 to 9999, Python's limits."""
    if pa.types.is_temporal(values.type):
        first, last = (pa.scalar(day, pa.date32()).cast(values.type) for day in (date.min, date.max))
        if pc.any(pc.or_(pc.less(values, first), pc.greater(values, last))).as_py():
            raise pa.ArrowInvalid("beyond the calendar")
    return values


def _slow(array: pa.Array, kind: str, timezone: str) -> Converted:
    """Convert value by value, if some values do not fit or are in a format that Arrow does not read."""
    parse, zone = PARSERS[kind], ZoneInfo(timezone)
    values: list[Any] = []
    failed: list[bool] = []
    for one in in_microseconds(array):
        try:
            value = one.as_py()  # a timestamp outside Python's years fails here
            value = value.decode() if isinstance(value, bytes) else value
            values.append(None if value is None else parse(value, zone))
            failed.append(False)
        except (ValueError, TypeError, OverflowError):
            values.append(None)
            failed.append(True)
    return Converted(pa.array(values, ARROW[kind]), pa.array(failed, pa.bool_()))


def integer(value: Any) -> int | None:
    """Read a value, possibly text or a float, as an integer; None for NaN. Raises: ValueError, TypeError, OverflowError."""
    if isinstance(value, bool):
        raise TypeError(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if not value.is_integer() or abs(value) > EXACT_INTEGERS:
            raise ValueError(value)
    number = int(_without_underscores(value))
    if not isinstance(value, str) and number != value:  # a Decimal with a fraction
        raise ValueError(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(value)
    return number


def _float(value: Any, _: ZoneInfo) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(_without_underscores(value))


def _without_underscores(value: Any) -> Any:
    if isinstance(value, str) and "_" in value:
        raise ValueError(value)  # only Python reads '1_000' as a number
    return value


def _text(value: Any, _: ZoneInfo) -> str:
    if not isinstance(value, TEXTS):
        raise TypeError(type(value))
    return written(value)


def _bool(value: Any, _: ZoneInfo) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None
    text = written(value).lower()
    if text not in TRUTH:
        raise ValueError(value)
    return TRUTH[text]


def _timestamp(value: Any, zone: ZoneInfo) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
        if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment.replace(tzinfo=None):
            # A clock change skips this hour. Convert as `_fast` does, so that the result does not depend on other values.
            local = pa.scalar(moment.replace(tzinfo=None), pa.timestamp("us"))
            moment = pc.assume_timezone(local, zone.key, nonexistent="latest").as_py()
    return moment.astimezone(UTC)


def _date(value: Any, _: ZoneInfo) -> date:
    if isinstance(value, datetime):
        if value.time().isoformat() != "00:00:00":
            raise ValueError(value)
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(value)


PARSERS: dict[str, Callable[[Any, ZoneInfo], Any]] = {
    "int": lambda value, _: integer(value),
    "float": _float,
    "text": _text,
    "bool": _bool,
    "timestamp": _timestamp,
    "date": _date,
}
