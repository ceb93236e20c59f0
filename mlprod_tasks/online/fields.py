"""Check the fields of a request against the declared columns of the entity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from mlprod_tasks.declaration import Column, Pipeline
from mlprod_tasks.declaration.reads import needed_by
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.online.plan import EPOCH, MICROSECOND, serving_of
from mlprod_tasks.platform.pseudonym import pseudonym
from mlprod_tasks.platform.storable_text import NUL, storable

EPOCH_DAY = EPOCH.date().toordinal()
MOST_TEXT = 10_000
EXACT = 2.0**53  # beyond it, a float may not be the integer that was sent
Reader = Callable[[Any], Any]
SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "text": {"type": "string", "maxLength": MOST_TEXT, "pattern": "^[^\\u0000]*$"},
    "bool": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field.

    The reason never repeats the value: it may be personal data.
    """

    field: str
    reason: str


class FieldsRefused(ValueError):
    """The fields of a request do not match the declaration; `problems` names each."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.reason}" for problem in problems))
        self.problems = problems


class RequestFields:
    """Reads the fields of one row: JSON values, or datetime and date objects.

    `needed`: the columns that a request must have (null if declared nullable): the key, the time, and what features read. Other
    columns of the entity are optional; they are checked and not used. Of a population, only the key is given: its time is the
    moment of the request.
    """

    def __init__(self, pipeline: Pipeline, pseudonym_key: str = "") -> None:
        entity = pipeline.entity_table
        self.needed = _needed(pipeline)
        self._unknown_is_null = serving_of(pipeline).unknown_category == "null"
        self._columns = {column.name: column for column in entity.columns}
        self._readers = [
            (column.name, self._reader(column, pseudonym_key), column.name in self.needed, column.nullable)
            for column in entity.columns
            if column.known_at is None and column.personal != "drop" and column.name != _moment_of(pipeline)
        ]
        self._taken = frozenset(name for name, *_ in self._readers)
        if (hashed := hashed_fields(pipeline)) and not pseudonym_key:
            raise ValueError(f"{pipeline.name}: field {hashed[0]!r} is personal and hashed: set MLPROD_PSEUDONYM_KEY")

    def read(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldProblem]]:
        """The needed fields as features read them, and all problems.

        Times are in microseconds and dates in days since 1970.
        """
        row: dict[str, Any] = {}
        problems: list[FieldProblem] = []
        known_fields = 0
        for name, reader, needed, nullable in self._readers:
            value = given.get(name)
            known_fields += name in given
            if value is None:
                if needed:
                    if not nullable:
                        problems.append(FieldProblem(name, "is required" if name not in given else "may not be null"))
                    row[name] = None
                continue
            try:
                read = reader(value)
            except ValueError as error:
                problems.append(FieldProblem(name, str(error)))
                continue
            if needed:
                row[name] = read
        if known_fields != len(given):
            known = self._taken
            problems += [FieldProblem(str(name), "is not a field of this use case") for name in given if name not in known]
        return row, problems

    def json_schema(self) -> dict[str, Any]:
        """The row as JSON Schema, for an OpenAPI document."""
        properties = {name: self._schema(self._columns[name]) for name, *_ in self._readers}
        required = [name for name, _, needed, nullable in self._readers if needed and not nullable]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def _schema(self, column: Column) -> dict[str, Any]:
        schema = dict(SCHEMAS[column.kind], description=column.doc)
        if column.min is not None:
            schema["minimum"] = column.min
        if column.max is not None:
            schema["maximum"] = column.max
        if column.values is not None and not self._unknown_is_null:
            schema["enum"] = [*column.values, *([None] if column.nullable else [])]
        if column.nullable:
            schema["type"] = [schema["type"], "null"]
        return schema

    def _reader(self, column: Column, pseudonym_key: str) -> Reader:
        read = READERS[column.kind]
        if column.min is not None or column.max is not None:
            read = _bounded(read, column.min, column.max)
        if column.values is not None:
            read = _listed(read, column.values, self._unknown_is_null)
        return _hashed(read, pseudonym_key) if column.personal == "hash" else read


def hashed_fields(pipeline: Pipeline) -> tuple[str, ...]:
    """The needed fields that are personal, so that their values are hashed."""
    return tuple(name for name in _needed(pipeline) if pipeline.entity_table.column(name).personal)


def _needed(pipeline: Pipeline) -> tuple[str, ...]:
    entity = pipeline.entity_table
    needed = needed_by(entity, pipeline.features) - {_moment_of(pipeline)}
    return tuple(column.name for column in entity.lake_columns if column.name in needed and column.known_at is None)


def _moment_of(pipeline: Pipeline) -> str | None:
    """The column of a row that is the moment of the request; None if rows have a time of their own."""
    return AS_OF if pipeline.population is not None else pipeline.entity_table.added


def _int(value: Any) -> int:
    if type(value) is float and value.is_integer() and abs(value) <= EXACT:
        value = int(value)  # JSON has one number type, and many programs write 33 as 33.0
    if type(value) is not int:
        raise ValueError("must be an integer")
    if not -(2**63) <= value < 2**63:
        raise ValueError("must be a 64-bit integer")
    return value


def _float(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise ValueError("must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a string")
    if len(value) > MOST_TEXT:
        raise ValueError(f"must be at most {MOST_TEXT:,} characters long")
    if not storable(value):
        # A key with it would be logged here, and could then be stored in no table of PostgreSQL.
        raise ValueError(
            "must not contain the character U+0000, which not every database stores"
            if NUL in value
            else "must be valid Unicode"
        )
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _timestamp(value: Any) -> int:
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time such as 2024-05-01T12:30:00+02:00") from None
    if not isinstance(value, datetime):
        raise ValueError("must be a time such as 2024-05-01T12:30:00+02:00")
    if value.tzinfo is None:
        raise ValueError("must have an offset from UTC, such as 2024-05-01T12:30:00+02:00")
    try:
        return (value - EPOCH) // MICROSECOND
    except OverflowError:
        raise ValueError("must be in the years 1 to 9999, in UTC") from None


def _date(value: Any) -> int:
    if type(value) is str:
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date such as 2024-05-01") from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("must be a date such as 2024-05-01")
    return value.toordinal() - EPOCH_DAY


READERS: dict[str, Reader] = {
    "int": _int, "float": _float, "text": _text, "bool": _bool, "timestamp": _timestamp, "date": _date,
}  # fmt: skip


def _bounded(read: Reader, low: float | None, high: float | None) -> Reader:
    def bounded(value: Any) -> Any:
        number = read(value)
        if low is not None and number < low:
            raise ValueError(f"must be at least {_exact_number(low)}")
        if high is not None and number > high:
            raise ValueError(f"must be at most {_exact_number(high)}")
        return number

    return bounded


def _exact_number(value: float) -> str:
    """Format a bound with all its digits.

    A rounded one, as by `format_number`, would be wrong for values close to it.
    """
    return f"{int(value):,}" if float(value).is_integer() else f"{value:,}"


def _listed(read: Reader, values: tuple[Any, ...], unknown_is_null: bool) -> Reader:
    allowed = frozenset(values)
    reason = f"must be one of {', '.join(map(repr, values[:20]))}{' ...' if len(values) > 20 else ''}"

    def listed(value: Any) -> Any:
        one = read(value)
        if one in allowed:
            return one
        if unknown_is_null:
            return None
        raise ValueError(reason)

    return listed


def _hashed(read: Reader, key: str) -> Reader:
    def hashed(value: Any) -> Any:
        one = read(value)  # an integer or a string: only these may be declared as hashed
        return None if one is None else pseudonym(str(one), key)

    return hashed
