"""Convert rows of a source to the types of their table, and staged rows back to them."""

from __future__ import annotations

import pyarrow as pa

from mlprod_tasks.declaration import Files, Table
from mlprod_tasks.ingest.convert import Converted, as_bytes_unless_text, as_text, convert, lake_type
from mlprod_tasks.ingest.pseudonyms import pseudonyms
from mlprod_tasks.ingest.unread import UNREAD, unread_column
from mlprod_tasks.platform.settings import Settings


def convert_rows(rows: pa.RecordBatch, table: Table, settings: Settings) -> pa.Table:
    """Convert columns to their declared types, or to text if a value does not fit, and hash personal columns."""
    columns: dict[str, pa.Array] = {}
    failed: dict[str, pa.BooleanArray] = {}
    for column in table.lake_columns:
        values = as_bytes_unless_text(rows[column.name])
        # A pseudonym is that of a text, whatever the column's kind.
        converted = _converted(values, "text" if column.personal else column.kind, table)
        if column.personal:
            columns[column.name] = pseudonyms(values, column.kind, settings.pseudonym_key)
        else:
            columns[column.name] = converted.values if converted.lossless else as_text(values)
        if not converted.lossless:
            failed[column.name] = converted.failed
    if failed:
        columns[UNREAD] = unread_column(failed, rows.num_rows)
    return pa.table(columns)


def in_declared_types(rows: pa.Table, table: Table) -> pa.Table:
    """Convert columns that are staged as text back to their kinds, as they were read: local times to moments."""
    for i, field in enumerate(rows.schema):
        column = next((one for one in table.lake_columns if one.name == field.name), None)
        if column is not None and field.type != lake_type(column):
            values = _converted(rows[field.name].combine_chunks(), column.kind, table).values
            rows = rows.set_column(i, field.name, values)
    return rows


def _converted(values: pa.Array, kind: str, table: Table) -> Converted:
    """Convert values as the table's source writes them."""
    decimal = table.source.decimal if isinstance(table.source, Files) else "."
    return convert(values, kind, table.source.zone, decimal)
