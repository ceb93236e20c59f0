"""Insert many rows into a table of a database, fast."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from mlprod_tasks.platform.sql import quoted

CHUNK_ROWS = 50_000
SQLITE_MOMENT = "%Y-%m-%d %H:%M:%S"


def bulk_insert(connection: Connection, table: str, rows: pa.Table) -> None:
    """Append rows to a table within the connection's transaction.

    Uses COPY on PostgreSQL, else executemany. Timestamps are stored as UTC: TIMESTAMPTZ takes them as they are, SQLite, MariaDB
    and MySQL as ISO text 'YYYY-MM-DD HH:MM:SS'.

    Raises: DBAPIError.
    """
    if connection.dialect.name == "postgresql":
        # Not quoted by the dialect: it doubles % for statements with parameters, and COPY has none.
        into = f"{quoted(table)} ({', '.join(map(quoted, rows.column_names))})"
        _copy(connection, f"COPY {into} FROM STDIN WITH (FORMAT csv)", rows)
        return
    # Executed by the driver: Core's executemany needs dicts and is half as fast (89,000 instead of 212,000 rows per second).
    quote = connection.dialect.identifier_preparer.quote_identifier
    place = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    names, places = ", ".join(map(quote, rows.column_names)), ", ".join([place] * rows.num_columns)
    statement = f"INSERT INTO {quote(table)} ({names}) VALUES ({places})"
    plain = pa.table({name: _plain(rows[name]) for name in rows.column_names})
    for batch in plain.to_batches(max_chunksize=CHUNK_ROWS):
        if batch.num_rows:
            values = zip(*(one.to_pylist() for one in batch.columns), strict=True)
            connection.exec_driver_sql(statement, list(values))


def _copy(connection: Connection, statement: str, rows: pa.Table) -> None:
    # As CSV, not with ADBC: ADBC is 1.7 times as fast, but needs columns of exactly its types, and a table that somebody
    # else created may have INTEGER, NUMERIC or VARCHAR. In chunks, because the text is many times the size of the rows.
    driver: Any = connection.connection
    try:
        with driver.cursor() as cursor:
            for batch in rows.to_batches(max_chunksize=CHUNK_ROWS):
                text = io.BytesIO()
                csv.write_csv(batch, text, csv.WriteOptions(include_header=False))
                text.seek(0)
                cursor.copy_expert(statement, text)
    except connection.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy has not seen the statement, so its error is not one of SQLAlchemy's yet.
        raise DBAPIError(statement, None, error) from None


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        seconds = column.cast(pa.timestamp("s"), safe=False)
        if pc.all(pc.equal(seconds.cast(column.type), column)).as_py() is not False:
            return pc.strftime(seconds, SQLITE_MOMENT)
        return pc.strftime(column.cast(pa.timestamp("us")), SQLITE_MOMENT)
    if pa.types.is_date(column.type):
        return pc.strftime(column.cast(pa.timestamp("s")), "%Y-%m-%d")
    return column
