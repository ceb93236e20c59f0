"""Keys of rows that have none: a hash of the row, and its number among equal rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Table
from mlprod_tasks.declaration.table import ROW_KEY
from mlprod_tasks.ingest.convert import as_text
from mlprod_tasks.ingest.convert_rows import in_declared_types
from mlprod_tasks.platform.engine import engine

FIRST = "-1"  # ends the key of the first of equal rows


def with_row_key(rows: pa.Table, table: Table) -> pa.Table:
    """Rows with their key where `Table.keyed_by_row`, the same in whatever order they come; other tables' rows as they are.

    The key is the MD5 of the values as text, '-', and a number from 1 on that counts equal rows of a tick.
    """
    if not table.keyed_by_row:
        return rows
    names = [column.name for column in table.without_row_key.lake_columns]
    # In their declared types: whether a column is staged as text depends on other rows.
    values = in_declared_types(rows.select(names), table)
    texts = {f"c{i}": as_text(values[name].combine_chunks()) for i, name in enumerate(names)}
    order = pa.array(range(rows.num_rows), pa.int64())
    written = ", ".join(f"coalesce({name}, chr(30))" for name in texts)
    with engine() as connection:
        connection.register("texts", pa.table(texts | {"tick": rows["tick"], "place": order}))
        keys = connection.sql(
            f"SELECT concat(digest, '-', row_number() OVER (PARTITION BY tick, digest ORDER BY place)) AS row_key "
            f"FROM (SELECT tick, place, md5(concat_ws(chr(31), {written})) AS digest FROM texts) ORDER BY place"
        ).to_arrow_table()
    return rows.append_column(ROW_KEY, keys["row_key"].cast(pa.string()))


def repeated_rows(rows: pa.Table, table: Table) -> int:
    """How many rows equal another one of their tick; 0 where rows have a key of their own."""
    if not table.keyed_by_row:
        return 0
    return sum(not first for first in pc.ends_with(rows[ROW_KEY], FIRST).to_pylist())
