"""How the types of MariaDB and MySQL are read: each as a value that the lake has too, or refused by name.

The session is in UTC, so that a `timestamp` is read as the moment that it is; a `datetime` has no time zone. A zero date
('0000-00-00') is no date: the driver gives it as that text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import Engine, Text, cast, func, literal_column, or_, text, true

WHOLE = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json"}
BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
AS_THEY_ARE = WHOLE | TEXTS | BYTES | {"decimal", "double", "date", "datetime", "timestamp", "uuid", "inet4", "inet6"}
CONVERTED = {"bit", "float", "time"}
# The numbers by which the protocol names the types of a query's columns. It has one each for all blobs and texts.
NUMBERED = {
    0: "decimal", 1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 7: "timestamp", 8: "bigint", 9: "mediumint",
    10: "date", 11: "time", 12: "datetime", 13: "year", 15: "varchar", 16: "bit", 245: "json", 246: "decimal", 247: "enum",
    248: "set", 249: "text", 250: "text", 251: "text", 252: "text", 253: "varchar", 254: "char", 255: "geometry",
}  # fmt: skip
CATALOG = """
SELECT column_name, column_type, data_type FROM information_schema.columns
WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table ORDER BY ordinal_position
"""
FIRST = "'0001-01-01'"  # Python's first year; the zero date is before it


@dataclass(frozen=True)
class MysqlType:
    """The type of a column. shown: as the server writes it; base: its name without size and sign."""

    shown: str
    base: str
    times: ClassVar[str] = "a timestamp, a date, or text of ISO 8601"
    day: ClassVar[str] = "DATE '{}'"  # how a day is written to compare the column with

    @property
    def is_read(self) -> bool:
        """Whether its values have a meaning here."""
        return self.base in AS_THEY_ARE | CONVERTED

    @property
    def is_moment(self) -> bool:
        return self.base in ("date", "datetime", "timestamp")

    @property
    def is_time(self) -> bool:
        """Whether it may be a table's time: a moment, or a text that may hold one."""
        return self.is_moment or self.base in TEXTS - {"json", "set"}

    @property
    def has_hours(self) -> bool:
        return self.base in ("datetime", "timestamp")

    @property
    def is_naive(self) -> bool:
        """Whether its moments have no time zone, so that the declaration must say in which one they are."""
        return self.base == "datetime"

    def selected(self, column: Any) -> Any:
        """What to select for a column of this type: an expression whose values the driver returns as they are."""
        if self.base == "bit":
            return column + literal_column("0")
        if self.base == "float":  # as text, which the server sends, it has six digits only
            return column + literal_column("0e0")
        return cast(column, Text()) if self.base == "time" else column

    def plain(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values of the driver, with UTC where they are moments of it."""
        if self.base != "timestamp":
            return values
        return [one.replace(tzinfo=UTC) if isinstance(one, datetime) else one for one in values]

    def bound(self, moment: datetime) -> Any:
        """A moment, in UTC or local, to compare a `datetime` or `timestamp` with."""
        return literal_column(f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}'")

    def no_moment(self, column: Any) -> Any:
        """The condition that a value is no date: zero, or with a month or day of zero."""
        zero: Any = literal_column("0")
        return or_(column < literal_column(FIRST), func.month(column) == zero, func.dayofmonth(column) == zero)

    def finite(self, column: Any) -> Any:
        """The condition that a moment is not infinite: none is."""
        return true()

    def pattern(self, regular: str) -> str:
        """A regular expression as the server takes it in a text, where a backslash stands for itself only if it is doubled."""
        return regular.replace(r"\d", "[0-9]")

    @property
    def example_as_text(self) -> str:
        return "ST_AsText({name})"

    @property
    def example_as_moment(self) -> str:
        return "FROM_UNIXTIME({name})"


def column_types(engine: Engine, table: str, schema: str | None) -> dict[str, MysqlType] | None:
    """The types of a table's or view's columns, in their order; None if there is no such table."""
    with engine.connect() as connection:
        found = connection.execute(text(CATALOG), {"table": table, "schema": schema}).all()
    return {row[0]: MysqlType(row[1], row[2].lower()) for row in found} or None


def types_of(description: Sequence[Any]) -> dict[str, MysqlType]:
    """The types of a query's columns, of which the driver tells names and numbers."""
    names = ((one[0], NUMBERED.get(one[1], f"type {one[1]}")) for one in description)
    return {column: MysqlType(name, name) for column, name in names}
