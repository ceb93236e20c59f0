"""The columns of a lake table, and which ones new rows of it may have."""

from __future__ import annotations

from typing import Any

from deltalake import DeltaTable, Schema

TICK = "tick"


class RowsRefused(ValueError):
    """Rows that cannot be written to a lake table: of another tick, or with a column of another type."""


def refuse_other_types(name: str, rows: Schema, table: DeltaTable) -> None:
    """Check that rows have the types of the table's columns. name: of the table. Raises: RowsRefused."""
    # Delta would convert the rows to the older type, for example 1.7 to 1.
    existing = {field.name: field.type for field in table.schema().fields}
    for field in rows.fields:
        if _type_name(field.type) != "void" and existing.get(field.name, field.type) != field.type:
            raise RowsRefused(
                f"lake table {name!r}: column {field.name!r} is {_type_name(existing[field.name])} in the lake, but "
                f"{_type_name(field.type)} in the new rows. Declare it under a new name, or move the lake table away "
                "and ingest it again"
            )


def with_new_columns(table: Schema, rows: Schema) -> Schema:
    """The table's columns, then those that only the rows have."""
    there = {field.name for field in table.fields}
    return Schema([*table.fields, *(field for field in rows.fields if field.name not in there)])


def _type_name(kind: Any) -> str:
    return str(getattr(kind, "type", kind))
