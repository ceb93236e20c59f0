"""The online store in one SQLite file (WAL): snapshots for readers, one writer at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlprod_tasks.platform.online_store.protocol import StoredValues, StoreUnavailable
from mlprod_tasks.platform.write_ahead import write_ahead

READ_WAIT_SECONDS = 1.0
WRITE_WAIT_SECONDS = 60.0
MOST_MARKS = 500  # keys per statement
TABLES = (
    "CREATE TABLE IF NOT EXISTS generations (pipeline TEXT PRIMARY KEY, generation INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (pipeline TEXT, key BLOB, value BLOB NOT NULL, PRIMARY KEY (pipeline, key))",
)


class SqliteStore:
    """A store in an SQLite file.

    Each generation is written in one transaction; each thread has its own connection.
    """

    remote = False

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///"))
        self._mine = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        with self._as_unavailable():
            if not self.path.exists():
                return None  # connecting would create the file
            connection = self._reader()
            if len(keys) <= MOST_MARKS:
                return self._values(connection, pipeline, keys)
            connection.execute("BEGIN")  # one snapshot for all statements
            try:
                parts = [self._values(connection, pipeline, keys[i : i + MOST_MARKS]) for i in range(0, len(keys), MOST_MARKS)]
            finally:
                connection.execute("COMMIT")
            if parts[0] is None:
                return None
            return StoredValues(parts[0].generation, [value for part in parts if part for value in part.values])

    def _values(self, connection: sqlite3.Connection, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        marks = ",".join("?" * len(keys))
        try:
            rows = connection.execute(
                # The first column marks the kind of row: the order of UNION ALL is not defined.
                "SELECT 'generation', NULL, generation FROM generations WHERE pipeline = ? UNION ALL "
                f"SELECT 'entry', key, value FROM entries WHERE pipeline = ? AND key IN ({marks})",
                (pipeline, pipeline, *keys),
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None  # the first writer has not finished
            raise
        generation = next((value for what, _, value in rows if what == "generation"), None)
        if generation is None:
            return None
        values = {key: value for what, key, value in rows if what == "entry"}
        return StoredValues(generation, [values.get(key) for key in keys])

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        with self._as_unavailable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=WRITE_WAIT_SECONDS, isolation_level=None)
            try:
                write_ahead(connection, WRITE_WAIT_SECONDS)
                for table in TABLES:
                    connection.execute(table)
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("SELECT generation FROM generations WHERE pipeline = ?", (pipeline,)).fetchone()
                if (row[0] if row else None) != base:
                    return None
                generation = (base or 0) + 1
                if base is None:
                    connection.execute("DELETE FROM entries WHERE pipeline = ?", (pipeline,))
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", ((pipeline, k, v) for k, v in put))
                connection.executemany("DELETE FROM entries WHERE pipeline = ? AND key = ?", ((pipeline, k) for k in removed))
                connection.execute("INSERT OR REPLACE INTO generations VALUES (?, ?)", (pipeline, generation))
                connection.execute("COMMIT")
                return generation
            finally:
                connection.close()  # rolls back if not committed

    def close(self) -> None:
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._mine = threading.local()

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path, timeout=READ_WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._mine.connection = connection
            with self._lock:
                self._opened.append(connection)
        return connection

    @contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"online store {self.path}: {error}") from error
