"""DuckDB for the lake's files: an in-memory database for each computation.

To make a database takes DuckDB longer than many a query on a small tick, and the steps of a tick ask for dozens. So a process
keeps one that was used, empties it, and gives it to the next that asks.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import duckdb

from mlprod_tasks.platform.failed_values import ALL_PARTS
from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.platform.threads import threads_here

if TYPE_CHECKING:
    from mlprod_tasks.platform.lake import Lake

# What users of a database leave in it: temporary ones go with their connection.
MADE = (
    "SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary "
    "UNION ALL SELECT 'TABLE', table_name FROM duckdb_tables() WHERE NOT temporary "
    "UNION ALL SELECT 'TYPE', type_name FROM duckdb_types() WHERE NOT internal AND database_name = 'memory'"
)
MOST_IDLE = 2  # of a task: one that may spill and one that may not
_idle: dict[tuple[str | None, Path | None], duckdb.DuckDBPyConnection] = {}  # by limit of memory and folder for what exceeds it
_keeping = Lock()


@contextmanager
def engine(
    threads: int | None = None, memory: str | None = None, spill: Path | None = None, lake: Lake | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB connection in UTC without network access.

    Larger-than-memory work spills to `spill`. lake: whose files are read, if any; in object storage they are opened through it.

    Raises: StorageUnreachable for a query that reads files which cannot be reached.
    """
    keep = lake is None or lake.is_local  # what opens files in object storage stays in a database
    with _database(memory, spill, keep) as connection, lake.opened_in(connection) if lake else nullcontext():
        connection.execute("SET TimeZone = 'UTC'")
        # Never download extensions at run time: one that is not in the wheel fails with a clear error.
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET preserve_insertion_order = false")
        _without_progress_bar(connection)
        connection.execute(ALL_PARTS)
        connection.execute(f"SET threads = {threads or threads_here()}")
        yield connection


def _without_progress_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Switch it off where it is on: it would go to stdout, between a command's results.

    In a notebook without ipywidgets it is off, and setting it is an error.
    """
    (shown,) = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()[0]
    if shown:
        connection.execute("SET enable_progress_bar = false")


@contextmanager
def _database(memory: str | None, spill: Path | None, keep: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection to a database that nobody else uses meanwhile. keep: another may use it afterwards."""
    with _keeping:
        database = _idle.pop((memory, spill), None) if keep else None
    if database is None:
        database = duckdb.connect()
        if memory:
            database.execute(f"SET memory_limit = {literal(memory)}")
        if spill:
            database.execute(f"SET temp_directory = {literal(str(spill))}")
    emptied = False
    try:
        with closing(database.cursor()) as connection:
            yield connection
        emptied = keep and _empty(database)
    finally:
        if emptied:
            _keep((memory, spill), database)
        else:
            database.close()


def _empty(database: duckdb.DuckDBPyConnection) -> bool:
    """Drop its views, tables and types, and what it remembers of files that were read. Whether that could be done."""
    try:
        for kind, name in database.execute(MADE).fetchall():
            database.execute(f"DROP {kind} {identifier(name)}")
        database.execute("SET enable_external_file_cache = false")
        database.execute("SET enable_external_file_cache = true")
    except duckdb.Error:  # another connection still has a transaction: what was computed is good, but not the database
        return False
    return True


def _keep(wanted: tuple[str | None, Path | None], database: duckdb.DuckDBPyConnection) -> None:
    """Keep a database for who wants such a one, and close the one that waits longest if they are too many."""
    with _keeping:
        too_many = [_idle.pop(wanted)] if wanted in _idle else [_idle.pop(next(iter(_idle)))] if len(_idle) == MOST_IDLE else []
        _idle[wanted] = database
    for other in too_many:
        other.close()


def _leave_to_parent() -> None:
    """Forget the databases in a forked process, which has none of their threads: to close one would wait for them for ever."""
    global _keeping
    for database in _idle.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(database))
    _idle.clear()
    _keeping = Lock()


os.register_at_fork(after_in_child=_leave_to_parent)
