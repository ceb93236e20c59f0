"""The type of a column of a warehouse, by the Arrow type that its driver gives: read as the same type of a Parquet file is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pyarrow as pa
from sqlalchemy import extract, literal_column, or_, true

# What drivers write into a column's metadata of types whose values have no time zone, also where Arrow's type has one.
NAIVE = {b"timestamp_ntz", b"datetime"}


@dataclass(frozen=True)
class SqlForms:
    """How a warehouse writes moments, with the fields of `format`, and examples of how a query converts what is not read."""

    naive: str
    aware: str
    as_text: str
    as_moment: str
    day: str = "DATE '{}'"


@dataclass(frozen=True)
class ArrowType:
    """The type of a column. naive: whether it has moments without a time zone: the declaration says in which one they are."""

    arrow: pa.DataType
    naive: bool
    forms: SqlForms
    times: ClassVar[str] = "a timestamp or a date"

    @property
    def shown(self) -> str:
        return str(self.arrow)

    @property
    def is_read(self) -> bool:
        """Whether its values have a meaning here."""
        kind = self.arrow
        nested = pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind)
        return bool(not nested and not isinstance(kind, pa.BaseExtensionType))

    @property
    def is_moment(self) -> bool:
        return bool(pa.types.is_date(self.arrow) or pa.types.is_timestamp(self.arrow))

    @property
    def is_time(self) -> bool:
        """Whether it may be a table's time. A text may not: warehouses share no pattern that finds those which are moments."""
        return self.is_moment

    @property
    def has_hours(self) -> bool:
        return bool(pa.types.is_timestamp(self.arrow))

    @property
    def is_naive(self) -> bool:
        return self.naive

    @property
    def day(self) -> str:
        """How a day is written to compare the column with."""
        return self.forms.day

    def selected(self, column: Any) -> Any:
        """What to select for a column of this type."""
        return column

    def plain(self, array: pa.Array) -> pa.Array:
        """The values of the driver, without the time zone that it adds to moments that have none."""
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
        return array.cast(pa.timestamp(array.type.unit)) if self.naive and zoned else array

    def bound(self, moment: datetime) -> Any:
        """A moment, in UTC or local, to compare the column with."""
        return literal_column((self.forms.naive if self.naive else self.forms.aware).format(f"{moment:%Y-%m-%d %H:%M:%S.%f}"))

    def no_moment(self, column: Any) -> Any:
        """The condition that a value lies outside of Python's years."""
        year = extract("year", column)
        return or_(year < literal_column("1"), year > literal_column("9999"))

    def finite(self, column: Any) -> Any:
        """The condition that a moment is not infinite: none is."""
        return true()

    @property
    def example_as_text(self) -> str:
        return self.forms.as_text

    @property
    def example_as_moment(self) -> str:
        return self.forms.as_moment


def arrow_types(schema: pa.Schema, forms: SqlForms) -> dict[str, ArrowType]:
    """The types of the columns that a query returns."""
    return {field.name: ArrowType(field.type, _is_naive(field), forms) for field in schema}


def _is_naive(field: pa.Field) -> bool:
    if not pa.types.is_timestamp(field.type):
        return False
    told = {value.lower() for value in (field.metadata or {}).values()}
    return field.type.tz is None or bool(told & NAIVE)
