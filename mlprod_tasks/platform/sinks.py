"""Write rows to a table of a business database, one tick at a time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Dialect,
    Double,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.types import TypeEngine
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_incrementing

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.bulk_insert import bulk_insert
from mlprod_tasks.platform.database import database_url, open_database, reason
from mlprod_tasks.platform.row_files import Parts
from mlprod_tasks.platform.storable_text import NUL

LOCK_SECONDS = 600
WITHOUT_TRANSACTIONS = ("MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE")
KEY_CHARACTERS = 255  # of a text in a key of MariaDB or MySQL, which holds at most 3072 bytes


class SinkUnreachable(ConnectionError):
    """The database to write to does not answer, or does not take the rows.

    The message says which, and what to do.
    """


def replace_rows(url: str, table: str, tick_column: str, tick: TickName, rows: pa.Table | Parts, key: tuple[str, ...]) -> int:
    """Replace the rows of one tick by `rows`, all or nothing.

    The table is created if missing. Its primary key is the tick and `key`. Columns that the table lacks are added. Writers of
    different ticks do not affect each other; if two processes write the same tick, the later one wins.

    Returns: the number of rows written.
    Raises: SinkUnreachable; ValueError for rows of another tick, and for text that PostgreSQL cannot store.
    """
    parts = (lambda: iter([rows])) if isinstance(rows, pa.Table) else rows
    engine = open_database(url, writes=True)
    for part in parts():
        other_ticks = set(part[tick_column].unique().to_pylist()) - {tick} if tick_column in part.column_names else ()
        if other_ticks:
            raise ValueError(f"{table}: cannot replace tick {tick} by rows of tick {min(other_ticks)}")
        if engine.dialect.name == "postgresql":
            _refuse_nul(table, tick, part)
    written = 0
    try:
        with engine.connect() as connection:
            schema = _of_tick(next(parts()), tick_column, tick).schema
            _prepare(connection, table, schema, (tick_column, *(name for name in key if name != tick_column)))
        with engine.connect() as connection, connection.begin():
            _lock(connection, table, tick)
            target = Table(table, MetaData(), Column(tick_column, Text if isinstance(tick, str) else Date))
            connection.execute(target.delete().where(target.c[tick_column] == tick))
            for part in parts():
                bulk_insert(connection, table, _of_tick(part, tick_column, tick))
                written += part.num_rows
    except DBAPIError as error:
        where = database_url(url).render_as_string(hide_password=True)
        raise SinkUnreachable(
            f"cannot write table {table!r} of {where}: {reason(error)}. Check that the database is running and that the "
            "connection's address and permissions are right; then clear the task: it replaces the whole tick"
        ) from None  # the driver's own message may show values
    return written


def _of_tick(rows: pa.Table, tick_column: str, tick: TickName) -> pa.Table:
    """The rows with their tick."""
    if tick_column in rows.column_names:
        return rows
    kind = pa.string() if isinstance(tick, str) else pa.date32()
    return rows.append_column(tick_column, pa.array([tick] * rows.num_rows, kind))


def _lock(connection: Connection, table: str, tick: TickName) -> None:
    """Wait for other writers of a tick: they would both delete the old rows and then collide on the primary key.

    PostgreSQL's lock ends with the transaction, that of MariaDB and MySQL with the connection, which is not kept. There it is
    of all ticks of the table, since deleting a tick also locks the gaps beside it. In SQLite, a writer has the file alone.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{table} {tick}",))
    elif connection.dialect.name == "mysql":
        asked = text("SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), ' ', :table)), :seconds)")
        if not connection.execute(asked, {"table": table, "seconds": LOCK_SECONDS}).scalar():
            raise SinkUnreachable(
                f"another process has been writing table {table!r} for more than {LOCK_SECONDS} seconds: look what it does, "
                "then clear the task"
            )


def _refuse_nul(table: str, tick: TickName, rows: pa.Table) -> None:
    for field in rows.schema:
        if pa.types.is_string(field.type) and (count := pc.sum(pc.match_substring(rows[field.name], NUL)).as_py()):
            raise ValueError(
                f"cannot write tick {tick} to table {table!r}: {count:,} of {rows.num_rows:,} values of column {field.name!r} "
                f"hold the character U+0000, which PostgreSQL does not store. Ingest tick {tick} again, then clear the task: "
                "the audit refuses such rows"
            )


def _raced(error: BaseException) -> bool:
    """Whether another process created the table or added the column since the schema was read."""
    if not isinstance(error, DBAPIError):
        return False
    said = str(error.orig).lower()
    return isinstance(error, ProgrammingError) or "already exists" in said or "duplicate" in said or "locked" in said


@retry(retry=retry_if_exception(_raced), stop=stop_after_attempt(5), wait=wait_incrementing(0.05, 0.05), reraise=True)
def _prepare(connection: Connection, table: str, schema: pa.Schema, key: tuple[str, ...]) -> None:
    """Create the table, or add missing columns."""
    # Reading the schema opens a transaction too, which must not stay open: on SQLite it would block the next writer.
    with connection.begin():
        _create_or_extend(connection, table, schema, key)


def _create_or_extend(connection: Connection, table: str, schema: pa.Schema, key: tuple[str, ...]) -> None:
    if not inspect(connection).has_table(table):
        dialect = connection.dialect
        columns = [
            Column(f.name, _sql_type(f.type, dialect, f.name in key), primary_key=f.name in key, autoincrement=False)
            for f in schema
        ]
        columns.sort(key=lambda column: key.index(column.name) if column.name in key else len(key))
        # In MariaDB and MySQL: transactions, and every character, whatever the server's defaults are.
        Table(table, MetaData(), *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4").create(connection)
        return
    _require_transactions(connection, table)
    existing = {column["name"] for column in inspect(connection).get_columns(table)}
    quote = connection.dialect.identifier_preparer.quote
    for field in schema:
        if field.name not in existing:
            kind = _sql_type(field.type, connection.dialect).compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(field.name)} {kind}")


def _require_transactions(connection: Connection, table: str) -> None:
    if connection.dialect.name != "mysql":
        return
    asked = text("SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :table")
    engine = connection.execute(asked, {"table": table}).scalar()
    if engine in WITHOUT_TRANSACTIONS:
        raise SinkUnreachable(
            f"table {table!r} is of the engine {engine}, which has no transactions: a tick could not be replaced as a whole. "
            f"Run ALTER TABLE {table} ENGINE=InnoDB, then clear the task"
        )


def _sql_type(kind: pa.DataType, dialect: Dialect, in_key: bool = False) -> TypeEngine:
    """The type of a column. In MariaDB and MySQL, moments have microseconds, and texts in keys differ by any character."""
    if dialect.name == "mysql":
        if pa.types.is_timestamp(kind):
            return mysql.DATETIME(fsp=6)
        if pa.types.is_string(kind):
            # Collations of both that do not take 'a ' for 'a'.
            exact = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            return String(KEY_CHARACTERS, collation=exact) if in_key else mysql.LONGTEXT()
    if pa.types.is_boolean(kind):
        return Boolean()
    if pa.types.is_integer(kind):
        return BigInteger()
    if pa.types.is_floating(kind):
        return Double()
    if pa.types.is_timestamp(kind):
        return DateTime(timezone=True)
    return Date() if pa.types.is_date(kind) else Text()
