"""The type of a column of a warehouse, by the Arrow type that its driver gives: read as the same type of a Parquet file is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms, WarehouseType

# What drivers write into a column's metadata of types whose values have no time zone, also where Arrow's type has one.
NAIVE = {b"timestamp_ntz", b"datetime"}


@dataclass(frozen=True)
class ArrowType(WarehouseType):
    """The type of a column. naive: whether it has moments without a time zone: the declaration says in which one they are."""

    arrow: pa.DataType
    naive: bool
    forms: SqlForms

    @property
    def sql_forms(self) -> SqlForms:
        return self.forms

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
    def has_hours(self) -> bool:
        return bool(pa.types.is_timestamp(self.arrow))

    @property
    def is_naive(self) -> bool:
        return self.naive

    def selected(self, column: Any) -> Any:
        """What to select for a column of this type."""
        return column

    def plain(self, array: pa.Array) -> pa.Array:
        """The values of the driver, without the time zone that it adds to moments that have none."""
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
        return array.cast(pa.timestamp(array.type.unit)) if self.naive and zoned else array


def arrow_types(schema: pa.Schema, forms: SqlForms) -> dict[str, ArrowType]:
    """The types of the columns that a query returns."""
    return {field.name: ArrowType(field.type, _is_naive(field), forms) for field in schema}


def _is_naive(field: pa.Field) -> bool:
    if not pa.types.is_timestamp(field.type):
        return False
    told = {value.lower() for value in (field.metadata or {}).values()}
    return field.type.tz is None or bool(told & NAIVE)
