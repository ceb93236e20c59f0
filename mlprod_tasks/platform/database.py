"""Open an SQLite, PostgreSQL, MariaDB or MySQL database or a warehouse, and store moments and JSON in it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import URL, DateTime, Engine, Text, create_engine, event, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from mlprod_tasks.platform import mysql_session
from mlprod_tasks.platform.storable_text import one_line, storable, visible
from mlprod_tasks.platform.write_ahead import write_ahead

# Classes of SQLSTATE whose messages name connections, transactions, roles, tables, columns, resources or limits, but no values.
WITHOUT_VALUES = ("08", "25", "28", "3D", "42", "53", "54", "55", "57")


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


class Prose(TypeDecorator[str]):
    """Text for people to read, such as a message. What PostgreSQL cannot store of it is stored as an escape: \\x00.

    So no message about a strange value keeps the ledger from recording what happened.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value if value is None or storable(value) else visible(value)


class OneLine(Prose):
    """Text that people wrote about an action, in one line: a line break in a name cannot forge lines of a list or a mail."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else one_line(value)


DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "mssql": "mssql+pymssql",
}
for _warehouse in ("snowflake", "bigquery", "redshift"):  # each is imported when one is opened
    registry.register(_warehouse, f"mlprod_tasks.platform.warehouses.{_warehouse}", "dialect")


def database_url(url: str) -> URL:
    """The URL with an explicit driver: psycopg2 for PostgreSQL, PyMySQL for MariaDB and MySQL, whatever the default is."""
    if url.startswith("postgres://"):
        url = "postgresql" + url.removeprefix("postgres")
    parsed = make_url(url)
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def open_database(url: str, writes: bool = False) -> Engine:
    """Make an engine that keeps no connection open, so it is safe in a task that is forked or killed.

    writes: also change the settings of an SQLite file; without it a file may be read-only, and MariaDB and MySQL refuse to
    change anything.
    """
    engine = create_engine(database_url(url), poolclass=NullPool, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _patient_writer if writes else _patient)
        # In SQLite, a reading transaction that starts to write cannot wait for another writer, so writers lock at the start.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN"))
    if engine.dialect.name == "redshift":
        from mlprod_tasks.platform.warehouses import redshift  # which needs its dialect, and few have it

        event.listen(engine, "connect", redshift.for_reading)
    if engine.dialect.name == "mysql":
        event.listen(engine, "connect", mysql_session.for_writing if writes else mysql_session.for_reading)
    return engine


def reason(error: BaseException) -> str:
    """Why a database refused, in one line and without values of its rows.

    The driver's message is passed on when it is about the connection or the statement. PostgreSQL's messages about values quote
    them ('invalid input syntax for type integer: "Ann"'), so those are told by their code alone.
    """
    original = getattr(error, "orig", None) or error
    if type(original).__module__.startswith("pymysql."):
        return mysql_session.reason(original)
    if (told := _reason_of_warehouse(original)) is not None:
        return told
    code = str(getattr(original, "pgcode", None) or getattr(original, "sqlstate", None) or "").strip("\0")
    if code and code[:2] not in WITHOUT_VALUES:
        return f"{type(original).__name__} with SQLSTATE {code}"
    lines = str(original).strip().splitlines()
    # SQLite's message about text that is not UTF-8 ends with the text.
    return lines[0].partition(" with text ")[0] if lines else type(original).__name__


def _reason_of_warehouse(original: BaseException) -> str | None:
    """The reason in the words of a warehouse that has no SQLSTATE; None for other databases."""
    if "[BigQuery]" in str(original):
        from mlprod_tasks.platform.warehouses import bigquery

        return bigquery.reason(str(original))
    if type(original).__module__.startswith(("pymssql", "mlprod_tasks.platform.warehouses.sql_server")):
        from mlprod_tasks.platform.warehouses import sql_server

        return sql_server.reason(original)
    return None


def _patient(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event starts transactions: the driver would start them too late
    connection.execute("PRAGMA busy_timeout=60000")


def _patient_writer(connection: Any, record: Any) -> None:
    _patient(connection, record)
    write_ahead(connection)


def as_json(value: Any) -> str:
    """JSON in which NaN and infinity are null, because PostgreSQL refuses them."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
