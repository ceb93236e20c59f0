"""Open an SQLite or PostgreSQL database, and insert many rows fast."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from sqlalchemy import URL, Connection, DateTime, Engine, column, create_engine, event, insert, make_url
from sqlalchemy import table as sql_table
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from mlprod_tasks.platform.sql import quoted

CHUNK_ROWS = 50_000
SQLITE_MOMENT = "%Y-%m-%d %H:%M:%S"


class Utc(TypeDecorator[datetime]):
    """A time in UTC. SQLite does not store time zones, so UTC is added on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def database_url(url: str) -> URL:
    """The URL with an explicit driver: psycopg2 for PostgreSQL, whatever SQLAlchemy's default is."""
    if url.startswith("postgres://"):
        url = "postgresql" + url.removeprefix("postgres")
    parsed = make_url(url)
    return parsed.set(drivername="postgresql+psycopg2") if parsed.drivername == "postgresql" else parsed


def open_database(url: str, writes: bool = False) -> Engine:
    """Make an engine that keeps no connection open, so it is safe in a task that is forked or killed.

    writes: also change the settings of an SQLite file; without it a file may be read-only.
    """
    engine = create_engine(database_url(url), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _patient_writer if writes else _patient)
        # In SQLite, a reading transaction that starts to write cannot wait for another writer, so writers lock at the start.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN"))
    return engine


def bulk_insert(connection: Connection, table: str, rows: pa.Table) -> None:
    """Append rows to a table within the connection's transaction.

    Uses COPY on PostgreSQL and executemany on SQLite. Timestamps are stored as UTC: TIMESTAMPTZ takes them as they are, SQLite
    as ISO text 'YYYY-MM-DD HH:MM:SS'.
    """
    if connection.dialect.name == "postgresql":
        # Not quoted by the dialect: it doubles % for statements with parameters, and COPY has none.
        into = f"{quoted(table)} ({', '.join(map(quoted, rows.column_names))})"
        # As CSV, not with ADBC: ADBC is 1.7 times as fast, but needs columns of exactly its types, and a table that somebody
        # else created may have INTEGER, NUMERIC or VARCHAR. In chunks, because the text is many times the size of the rows.
        driver: Any = connection.connection
        with driver.cursor() as cursor:
            for batch in rows.to_batches(max_chunksize=CHUNK_ROWS):
                text = io.BytesIO()
                csv.write_csv(batch, text, csv.WriteOptions(include_header=False))
                text.seek(0)
                cursor.copy_expert(f"COPY {into} FROM STDIN WITH (FORMAT csv)", text)
        return
    # SQLAlchemy's statement, executed by the driver: Core's own executemany needs dicts and is half as fast (89,000 instead of
    # 212,000 rows per second).
    target = sql_table(table, *(column(name) for name in rows.column_names))
    statement = str(insert(target).compile(dialect=connection.dialect))
    plain = pa.table({name: _plain(rows[name]) for name in rows.column_names})
    for batch in plain.to_batches(max_chunksize=CHUNK_ROWS):
        if batch.num_rows:
            values = zip(*(one.to_pylist() for one in batch.columns), strict=True)
            connection.exec_driver_sql(statement, list(values))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        seconds = column.cast(pa.timestamp("s"), safe=False)
        if pc.all(pc.equal(seconds.cast(column.type), column)).as_py() is not False:
            return pc.strftime(seconds, SQLITE_MOMENT)
        return pc.strftime(column.cast(pa.timestamp("us")), SQLITE_MOMENT)
    if pa.types.is_date(column.type):
        return pc.strftime(column.cast(pa.timestamp("s")), "%Y-%m-%d")
    return column


def _patient(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event starts transactions: the driver would start them too late
    connection.execute("PRAGMA busy_timeout=60000")


def _patient_writer(connection: Any, record: Any) -> None:
    _patient(connection, record)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def as_json(value: Any) -> str:
    """JSON in which NaN and infinity are null, because PostgreSQL refuses them."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
