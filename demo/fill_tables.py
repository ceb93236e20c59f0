"""Tables of a demo's database, created anew and filled, in SQLite or PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd
import pyarrow as pa

from mlprod_tasks.platform.bulk_insert import bulk_insert
from mlprod_tasks.platform.database import open_database

# What stands in braces in the SQL of columns, by dialect. Moments are UTC: in SQLite 'YYYY-MM-DD HH:MM:SS' text.
TYPES = {
    "sqlite": {"moment": "TEXT", "real": "REAL", "day": "TEXT"},
    "postgresql": {"moment": "TIMESTAMPTZ", "real": "DOUBLE PRECISION", "day": "DATE"},
}


def fill_tables(
    url: str,
    columns: Mapping[str, str],
    indexes: Iterable[tuple[str, str]],
    rows: Mapping[str, pa.Table],
    drop: Iterable[str] = (),
) -> dict[str, int]:
    """Create the tables again and fill them.

    columns: the SQL of each table's columns. indexes: pairs of table and column. drop: further tables to remove.

    Returns: rows per table.
    """
    engine = open_database(url, writes=True)
    types = TYPES[engine.dialect.name]
    with engine.begin() as connection:
        for old in (*drop, *columns):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {old}")
        for name, sql in columns.items():
            connection.exec_driver_sql(f"CREATE TABLE {name} ({sql.format(**types)})")
            bulk_insert(connection, name, rows[name])
        for table, column in indexes:
            connection.exec_driver_sql(f"CREATE INDEX {table}_{column} ON {table} ({column})")
    return {name: rows[name].num_rows for name in columns}


def as_declared(frame: pd.DataFrame, columns: str) -> pa.Table:
    """The rows with the columns that the SQL of a table names, in its order, moments in UTC."""
    named = [part.split()[0] for part in re.split(r",\s+PRIMARY", columns)[0].split(",")]
    table = pa.Table.from_pandas(frame[named], preserve_index=False).replace_schema_metadata(None)
    moments = [pa.field(f.name, pa.timestamp("us", "UTC") if pa.types.is_timestamp(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(moments))
