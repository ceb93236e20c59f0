"""The start of the day of rows whose time is a date."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Schedule, Table
from mlprod_tasks.ingest.convert import convert


def with_start_of_day(rows: pa.RecordBatch, table: Table, schedule: Schedule) -> pa.RecordBatch:
    """Rows of a source with the column that `Table.dated_by` adds; other tables' rows as they are.

    A day that a clock change begins later begins with the change. A value that is a moment but no day, which the audit refuses,
    gets that moment, so that its row is in one tick.
    """
    if table.dated_by is None:
        return rows
    values = rows[table.dated_by]
    days = convert(values, "date").values
    moments = convert(days.cast(pa.string()), "timestamp", schedule.timezone).values
    otherwise = convert(values, "timestamp", schedule.timezone).values
    return rows.append_column(str(table.time), pc.coalesce(moments, otherwise))
