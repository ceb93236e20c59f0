"""DuckDB for the lake's files: one in-memory database per task."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from mlprod_tasks.platform.failed_values import ALL_PARTS
from mlprod_tasks.platform.sql import literal

if TYPE_CHECKING:
    from mlprod_tasks.platform.lake import Lake

_limit: int | None = None


def threads_here() -> int:
    """How many threads a computation of this process uses: one a core, unless `limit_threads` was called."""
    return _limit or os.cpu_count() or 1


def limit_threads(most: int) -> None:
    """Use at most so many threads from now on: this process has a share of its machine."""
    global _limit
    _limit = most


@contextmanager
def engine(
    threads: int | None = None, memory: str | None = None, spill: Path | None = None, lake: Lake | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB connection in UTC without network access.

    Larger-than-memory work spills to `spill`. lake: whose files are read, if any; in object storage they are opened through it.

    Raises: StorageUnreachable for a query that reads files which cannot be reached.
    """
    connection = duckdb.connect()
    with closing(connection), lake.opened_in(connection) if lake else nullcontext():
        connection.execute("SET TimeZone = 'UTC'")
        # Never download extensions at run time: one that is not in the wheel fails with a clear error.
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET preserve_insertion_order = false")
        _without_progress_bar(connection)
        connection.execute(ALL_PARTS)
        connection.execute(f"SET threads = {threads or threads_here()}")
        if memory:
            connection.execute(f"SET memory_limit = {literal(memory)}")
        if spill:
            connection.execute(f"SET temp_directory = {literal(str(spill))}")
        yield connection


def _without_progress_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Switch it off where it is on: it would go to stdout, between a command's results.

    In a notebook without ipywidgets it is off, and setting it is an error.
    """
    (shown,) = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()[0]
    if shown:
        connection.execute("SET enable_progress_bar = false")
