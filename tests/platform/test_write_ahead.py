import sqlite3
import threading
from pathlib import Path

import pytest

from mlprod_tasks.platform.write_ahead import write_ahead


def locked(path: Path) -> sqlite3.Connection:
    """A connection that is about to write to a file which has no write-ahead log yet."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_the_change_to_a_write_ahead_log_waits_for_a_writer(tmp_path: Path) -> None:
    # SQLite refuses this change at once, whatever the timeout: six processes that began together lost one of them.
    writer = locked(tmp_path / "x.db")
    end = threading.Timer(0.2, writer.execute, ("COMMIT",))
    end.start()
    connection = sqlite3.connect(tmp_path / "x.db")
    write_ahead(connection)
    end.join()
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_it_gives_up_when_the_writer_does_not_end(tmp_path: Path) -> None:
    writer = locked(tmp_path / "x.db")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(sqlite3.connect(tmp_path / "x.db"), patience_seconds=0.05)
    writer.close()


def test_another_error_is_raised_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        write_ahead(sqlite3.connect(tmp_path / "x.db"))
