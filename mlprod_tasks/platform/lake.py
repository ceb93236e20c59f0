"""The lake: versioned Delta tables, partitioned by tick, without a server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from mlprod_tasks.declaration import TickRange

TICK = "tick"
ATTEMPTS = 20


class TableMissing(LookupError):
    """A lake table, or one of its versions, that is not there."""


@dataclass(frozen=True)
class Written:
    """What a write left behind."""

    table: str
    rows: int
    version: int


class Lake:
    """Delta tables below one root folder or object-store URI.

    A table's name is a path such as 'flight_delays/raw/flights'. Only whole ticks are ever replaced, never appended to:
    two appenders would both succeed and so double the rows.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return DeltaTable.is_deltatable(self.uri(name))

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table itself, at a version. Raises: TableMissing."""
        try:
            return DeltaTable(self.uri(name), version=version)
        except TableNotFoundError as error:
            raise TableMissing(f"lake table {name!r} is not there yet (in {self.root}): ingest it first") from error

    def version(self, name: str) -> int:
        return int(self.table(name).version())

    def files(
        self, name: str, ticks: TickRange | None = None, version: int | None = None, since: date | None = None
    ) -> list[str]:
        """Parquet files of the live rows, of certain ticks only or from tick `since` on. An empty list where no row is."""
        table = self.table(name, version)
        filters: list[tuple[str, str, str]] = []
        if ticks is not None:
            filters = [(TICK, ">=", str(ticks.first)), (TICK, "<=", str(ticks.last))]
        if since is not None:
            filters.append((TICK, ">=", str(since)))
        return sorted(table.file_uris(partition_filters=filters or None))

    def ticks(self, name: str) -> set[date]:
        """The ticks that have at least one row."""
        return {date.fromisoformat(str(part[TICK])) for part in self.table(name).partitions()}

    def replace_ticks(self, name: str, ticks: TickRange, rows: pa.Table | pa.RecordBatchReader, note: str = "") -> Written:
        """Replace the rows of `ticks`, all or nothing. `rows` has a date column `tick` within them.

        Writers of different ticks do not wait for each other; a writer of the same tick that lost the race tries again.
        """
        where = f"{TICK} >= '{ticks.first}' AND {TICK} <= '{ticks.last}'"
        return self._commit(name, rows, note, partition_by=[TICK], predicate=where)

    def replace(self, name: str, rows: pa.Table, note: str = "") -> Written:
        """Replace a whole reference table."""
        return self._commit(name, rows, note, partition_by=None, predicate=None)

    def _commit(
        self, name: str, rows: pa.Table | pa.RecordBatchReader, note: str, partition_by: list[str] | None, predicate: str | None
    ) -> Written:
        table = rows if isinstance(rows, pa.Table) else rows.read_all()
        for attempt in range(ATTEMPTS):
            options: dict[str, Any] = {"mode": "error", "partition_by": partition_by}
            if self.exists(name):
                # A column added to the declaration is added to the table; older ticks hold nulls.
                options |= {"mode": "overwrite", "predicate": predicate, "schema_mode": "merge" if predicate else "overwrite"}
            try:
                write_deltalake(
                    self.uri(name), table, commit_properties=CommitProperties(custom_metadata={"mlprod": note}), **options
                )
            except Exception as error:
                if not _lost_a_race(error) or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.02, 0.1) * (attempt + 1))  # noqa: S311
                continue
            return Written(name, table.num_rows, self.version(name))
        raise AssertionError("unreachable")


def _lost_a_race(error: Exception) -> bool:
    return isinstance(error, CommitFailedError) or "already exists" in str(error) or "conflict" in str(error).lower()


def listed(files: Iterable[str]) -> str:
    """File names as a DuckDB list literal."""
    return "[" + ", ".join("'" + file.replace("'", "''") + "'" for file in files) + "]"
