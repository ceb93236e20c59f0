"""SQLite's write-ahead log.

It is a module of its own, so that an online store in SQLite need not import SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
import time


def write_ahead(connection: sqlite3.Connection, patience_seconds: float = 30) -> None:
    """Let the SQLite file use a write-ahead log: readers then see a snapshot while one connection writes.

    Waits while others use a file that does not have one yet.

    Raises:
        sqlite3.OperationalError: the file is still locked after patience_seconds
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        # The busy timeout does not hold for this change: of two connections that want it at once, one is refused immediately.
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
