"""The online store in PostgreSQL: one transaction per generation, one statement per read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy.pool import QueuePool

from mlprod_tasks.platform.database import database_url
from mlprod_tasks.platform.online_store.protocol import StoredValues, StoreUnavailable

CONNECT_SECONDS = 3
READ_MILLISECONDS = 1000
KEPT_READERS = 4  # connections that stay open: as many as the service has threads for remote reads
PAGE = 200  # values per statement of a writer
# One process at a time: two processes creating a table at the same time would fail.
LOCK_TABLES = "SELECT pg_advisory_xact_lock(hashtext('mlprod online'))"
LOCK_PIPELINE = "SELECT pg_advisory_xact_lock(hashtext('mlprod online'), hashtext(%s))"
TABLES = (
    "CREATE TABLE IF NOT EXISTS online_generations (pipeline TEXT PRIMARY KEY, generation BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS online_entries "
    "(pipeline TEXT NOT NULL, key BYTEA NOT NULL, value BYTEA NOT NULL, PRIMARY KEY (pipeline, key))",
)
# The first column marks the kind of row: a parallel plan returns the rows of UNION ALL in any order.
READ = (
    "SELECT 'generation', generation, NULL::bytea, NULL::bytea FROM online_generations WHERE pipeline = %s UNION ALL "
    "SELECT 'entry', NULL, key, value FROM online_entries WHERE pipeline = %s AND key = ANY(%s)"
)
Row = tuple[str, int | None, Any, Any]


class PostgresStore:
    """Readers share a pool of connections; a writer opens its own."""

    remote = True

    def __init__(self, url: str) -> None:
        parsed = database_url(url)
        self._where = f"{parsed.host or 'socket'}/{parsed.database}"
        self._dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        # No limit, so that readers never wait for a connection; there are at most as many as reading threads.
        self._readers = QueuePool(self._connect, KEPT_READERS, max_overflow=-1, reset_on_return=None, use_lifo=True)

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        with self._as_unavailable():
            try:
                rows = self._query(pipeline, keys)
            except psycopg2.errors.QueryCanceled:
                raise  # it took too long, and would again
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                # The server was restarted, so all connections in the pool are broken: try once more with a new one.
                self._readers.dispose()
                self._readers = self._readers.recreate()
                rows = self._query(pipeline, keys)
        generation = next((number for what, number, _, _ in rows if what == "generation"), None)
        if generation is None:
            return None
        values = {bytes(key): bytes(value) for what, _, key, value in rows if what == "entry"}
        return StoredValues(generation, [values.get(key) for key in keys])

    def _query(self, pipeline: str, keys: Sequence[bytes]) -> Sequence[Row]:
        connection = self._readers.connect()
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute(READ, (pipeline, pipeline, [psycopg2.Binary(key) for key in keys] or "{}"))
                return cursor.fetchall()
        except psycopg2.errors.UndefinedTable:
            return []  # the first writer has not finished
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            connection.invalidate()
            raise
        finally:
            connection.close()  # returns it to the pool

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        with self._as_unavailable():
            connection = psycopg2.connect(self._dsn, connect_timeout=CONNECT_SECONDS)
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(LOCK_TABLES)
                    for table in TABLES:
                        cursor.execute(table)
                with connection, connection.cursor() as cursor:
                    return self._next(cursor, pipeline, base, put, removed)
            finally:
                connection.close()

    def _next(
        self, cursor: Any, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        cursor.execute(LOCK_PIPELINE, (pipeline,))
        cursor.execute("SELECT generation FROM online_generations WHERE pipeline = %s", (pipeline,))
        row = cursor.fetchone()
        if (row[0] if row else None) != base:
            return None
        generation = (base or 0) + 1
        for entries in _pages(put):
            execute_values(
                cursor,
                "INSERT INTO online_entries VALUES %s ON CONFLICT (pipeline, key) DO UPDATE SET value = excluded.value",
                [(pipeline, psycopg2.Binary(key), psycopg2.Binary(value)) for key, value in entries],
                page_size=PAGE,
            )
        for keys in _pages(removed):
            gone = [psycopg2.Binary(key) for key in keys]
            cursor.execute("DELETE FROM online_entries WHERE pipeline = %s AND key = ANY(%s)", (pipeline, gone))
        cursor.execute(
            "INSERT INTO online_generations VALUES (%s, %s) "
            "ON CONFLICT (pipeline) DO UPDATE SET generation = excluded.generation",
            (pipeline, generation),
        )
        return generation

    def close(self) -> None:
        self._readers.dispose()

    def _connect(self) -> Any:
        connection = psycopg2.connect(
            self._dsn,
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={READ_MILLISECONDS}",
            # A host that has vanished sends no error: without these timeouts a read would wait for minutes.
            tcp_user_timeout=2 * READ_MILLISECONDS,
            keepalives_idle=5,
            keepalives_interval=1,
            keepalives_count=3,
        )
        connection.autocommit = True
        return connection

    @contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except psycopg2.Error as error:
            raise StoreUnavailable(f"online store {self._where}: {str(error).strip()}") from error


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while page := list(islice(remaining, PAGE)):
        yield page
