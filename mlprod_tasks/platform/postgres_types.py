"""How the types of PostgreSQL are read: each as a value that the lake has too, or refused by name.

The driver gives types that Arrow does not have as the bytes of PostgreSQL's protocol (inet, ranges), in other units (money in
cents), or padded (char(n)). Those are converted by the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, Connection, Engine, Numeric, Text, cast, func, literal_column, or_, text

AS_THEY_ARE = {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "name", "bytea", "date", "time"}
AS_THEY_ARE |= {"timestamp", "timestamptz"}
AS_TEXT = {"bpchar", "char", "citext", "uuid", "json", "jsonb", "xml", "jsonpath", "inet", "cidr", "macaddr", "macaddr8", "bit"}
AS_TEXT |= {"varbit", "timetz", "interval", "tsvector", "tsquery", "point", "line", "lseg", "box", "path", "polygon", "circle"}
AS_TEXT |= {"pg_lsn"}
TEXT_BY_CLASS = ("e", "r", "m")  # enums, ranges, multiranges
TIMES = {"timestamptz", "timestamp", "date", "text", "varchar", "bpchar", "citext", "name"}
# What the text of intervals, and of ranges of moments, depends on.
SESSION = {"TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres"}
# The driver adds the difference of two epochs to PostgreSQL's largest and smallest number, which mean infinity.
DAYS, MICROSECONDS = 10_957, 946_684_800_000_000
INFINITY = {
    "date": (2**31 - 1 + DAYS - 2**32, -(2**31) + DAYS),
    "timestamp": (2**63 - 1 + MICROSECONDS - 2**64, -(2**63) + MICROSECONDS),
}
FIRST, END = "'0001-01-01'", "'10000-01-01'"  # Python's years; infinity lies outside
CATALOG = """
WITH RECURSIVE chain AS (
    SELECT a.attname, a.attnum, format_type(a.atttypid, a.atttypmod) AS shown, a.atttypid AS type
    FROM pg_attribute a WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT c.attname, c.attnum, c.shown, t.typbasetype FROM chain c JOIN pg_type t ON t.oid = c.type WHERE t.typtype = 'd'
)
SELECT c.attname, c.shown, t.typname, t.typtype::text FROM chain c JOIN pg_type t ON t.oid = c.type
WHERE t.typtype <> 'd' ORDER BY c.attnum
"""

# The same of types by number, as a query's result names them.
NUMBERED = """
WITH RECURSIVE chain AS (
    SELECT oid AS asked, format_type(oid, NULL) AS shown, oid AS type FROM pg_type WHERE oid = ANY(:numbers)
    UNION ALL
    SELECT c.asked, c.shown, t.typbasetype FROM chain c JOIN pg_type t ON t.oid = c.type WHERE t.typtype = 'd'
)
SELECT c.asked, c.shown, t.typname, t.typtype::text FROM chain c JOIN pg_type t ON t.oid = c.type WHERE t.typtype <> 'd'
"""


@dataclass(frozen=True)
class PostgresType:
    """The type of a column. shown: as PostgreSQL writes it; base: its name below all domains; of_class: pg_type.typtype."""

    shown: str
    base: str
    of_class: str
    times: ClassVar[str] = "a timestamp, a date, or text of ISO 8601"
    day: ClassVar[str] = "DATE '{}'"  # how a day is written to compare the column with

    @property
    def is_read(self) -> bool:
        """Whether its values have a meaning here."""
        return self.base in AS_THEY_ARE | AS_TEXT | {"numeric", "money", "oid"} or self.of_class in TEXT_BY_CLASS

    @property
    def is_moment(self) -> bool:
        return self.base in ("date", "timestamp", "timestamptz")

    @property
    def is_time(self) -> bool:
        """Whether it may be a table's time: a moment, or a text that may hold one."""
        return self.base in TIMES

    @property
    def has_hours(self) -> bool:
        return self.base in ("timestamp", "timestamptz")

    @property
    def is_naive(self) -> bool:
        """Whether its moments have no time zone, so that the declaration must say in which one they are."""
        return self.base == "timestamp"

    def selected(self, column: Any) -> Any:
        """What to select for a column of this type: an expression whose values the driver returns as they are."""
        if self.base == "numeric":
            return func.trim_scale(column)  # 7.00 is the same number as 7, so it has the same text
        if self.base == "money":
            return func.trim_scale(cast(column, Numeric()))
        if self.base == "inet":
            return func.abbrev(column)  # as text, a host has the suffix /32
        if self.base == "oid":
            return cast(column, BigInteger())
        return column if self.base in AS_THEY_ARE else cast(column, Text())

    def bound(self, moment: datetime) -> Any:
        """A moment, in UTC or local, of the same type as the column, whatever the session's time zone is."""
        word, offset = ("TIMESTAMP", "") if self.is_naive else ("TIMESTAMP WITH TIME ZONE", "+00:00")
        return literal_column(f"{word} '{moment:%Y-%m-%d %H:%M:%S.%f}{offset}'")

    def no_moment(self, column: Any) -> Any:
        """The condition that a value lies outside of Python's years."""
        return or_(column < literal_column(FIRST), column >= literal_column(END))

    def finite(self, column: Any) -> Any:
        """The condition that a moment is not infinite."""
        return column < literal_column("'infinity'")

    def pattern(self, regular: str) -> str:
        """A regular expression as the server takes it in a text."""
        return regular

    @property
    def example_as_text(self) -> str:
        return "to_json({name})::text"

    @property
    def example_as_moment(self) -> str:
        return "to_timestamp({name})"


def column_types(engine: Engine, table: str, schema: str | None) -> dict[str, PostgresType] | None:
    """The types of a table's or view's columns, in their order; None if there is no such table."""
    quote = engine.dialect.identifier_preparer.quote
    name = ".".join(quote(part) for part in (schema, table) if part)
    with engine.connect() as connection:
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None:
            return None
        return {row[0]: PostgresType(*row[1:]) for row in connection.execute(text(CATALOG), {"name": name})}


def types_of(connection: Connection, numbers: Mapping[str, int]) -> dict[str, PostgresType]:
    """The types of a query's columns, given their numbers."""
    found = connection.execute(text(NUMBERED), {"numbers": list(numbers.values())})
    by_number = {row[0]: PostgresType(*row[1:]) for row in found}
    return {name: by_number[number] for name, number in numbers.items()}


def session_settings() -> str:
    """A query that fixes what the text of a value depends on."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SESSION.items())


def as_plain(array: pa.Array) -> pa.Array:
    """A column of the driver without Arrow extension types; if it has an infinite moment, as text: 'infinity', '-infinity'."""
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    kind = "date" if pa.types.is_date32(array.type) else "timestamp" if pa.types.is_timestamp(array.type) else None
    if kind is None:
        return array
    numbers = array.cast(pa.int32() if kind == "date" else pa.int64())
    above, below = (pc.equal(numbers, pa.scalar(number, numbers.type)) for number in INFINITY[kind])
    infinite = pc.or_(above, below)
    if not pc.any(infinite).as_py():
        return array
    shown = pc.if_else(infinite, pa.scalar(None, array.type), array).cast(pa.string())
    return pc.if_else(above, "infinity", pc.if_else(below, "-infinity", shown))
