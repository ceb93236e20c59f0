"""The lake: versioned Delta tables, partitioned by tick; no server needed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import retry, retry_if_exception, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from mlprod_tasks.declaration import TickRange
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.platform.finished_files import Finished, finished
from mlprod_tasks.platform.lake_columns import TICK, RowsRefused, refuse_other_types, with_new_columns
from mlprod_tasks.platform.lake_storage import Folder, LakeStorage
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.sql import literal

if TYPE_CHECKING:
    import duckdb

# Columns of every partitioned raw table, beside the declared ones, which never begin with _: the moment at which a row entered
# the lake, and for a late one, whose tick had been published before, the start of the first tick that may use it. That is null
# in a row that came in time; both are null in rows of release 0.4, which count as in time.
ARRIVED, USABLE = "_arrived_at", "_usable_from"
OF_TICK = re.compile(r"/tick=(\d{4}-\d{2}-\d{2}(?:T\d{4}Z)?)/")
# A writer that lost a race tries again after a random time, so that two writers do not collide again.
MOST_ATTEMPTS = stop_after_attempt(20)
UNTIL_NEXT = wait_random_exponential(multiplier=0.05, max=2)
SEARCHED_COMMITS = 500  # newest commits to search for the last vacuum
WRITE = "mlprod_write"  # in the log: which try to commit it was
# Keep all versions readable, so that any training can be reproduced: by default Delta drops them after thirty days.
KEEP_VERSIONS = {"delta.enableExpiredLogCleanup": "false"}


class TableMissing(LookupError):
    """A lake table or one of its versions does not exist."""


@dataclass(frozen=True)
class Written:
    """The result of a write."""

    table: str
    rows: int
    version: int


def _lost_a_race(error: BaseException) -> bool:
    return isinstance(error, CommitFailedError) or "already exists" in str(error) or "conflict" in str(error).lower()


class Lake:
    """Delta tables below one root, a folder or a bucket, that all processes of the installation can access.

    A table's name is a path such as 'returns/raw/orders'. Writers always replace whole ticks and never append: two appending
    writers would both succeed and duplicate rows.
    """

    def __init__(self, root: str | LakeStorage) -> None:
        self._storage: LakeStorage = Folder(root) if isinstance(root, str) else root
        self.root = self._storage.root

    def check(self) -> None:
        """Check that tables can be created. Raises: StorageUnreachable, NoConditionalPuts."""
        self._storage.before_first_write()

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the table has been written.

        A table that is only created does not count: its first write did not finish.
        """
        try:
            self.table(name)
        except TableMissing:
            return False
        return True

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table at a version (default: the newest). Raises: TableMissing."""
        try:
            opened = self._open(name, version)
        except TableNotFoundError as error:
            raise self._table_missing(name) from error
        except DeltaError as error:
            if version is None or 0 <= version <= self.version(name):
                raise
            raise self._version_missing(name, version) from error
        if _only_created(opened):
            raise self._table_missing(name) if version is None else self._version_missing(name, version)
        return opened

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        with self._storage.telling(self.uri(name)):
            return DeltaTable(self.uri(name), version=version, storage_options=self._storage.options)

    @property
    def is_local(self) -> bool:
        """Whether its files are in a folder of this machine."""
        return isinstance(self._storage, Folder)

    def opened_in(self, connection: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        """Let an engine read files of the lake."""
        return self._storage.opened_in(connection)

    def _table_missing(self, name: str) -> TableMissing:
        return TableMissing(f"lake table {name!r} does not exist yet (in {self.root}): ingest it first")

    def _version_missing(self, name: str, version: int) -> TableMissing:
        return TableMissing(f"lake table {name!r} has no version {version}: its newest is {self.version(name)}")

    def version(self, name: str) -> int:
        return int(self.table(name).version())

    def files(
        self, name: str, ticks: TickRange | None = None, version: int | None = None, since: TickName | None = None
    ) -> list[str]:
        """The Parquet files of a table, if given only of `ticks` or from tick `since` on.

        The list is empty if there are no rows. Raises: TableMissing.
        """
        first = max(str(ticks.first) if ticks else "", str(since) if since else "")
        last = str(ticks.last) if ticks else "9999"
        return [file for tick, file in self.files_of(self.table(name, version)) if first <= tick <= last]

    def files_if_any(self, name: str, ticks: TickRange) -> list[str]:
        """The Parquet files of the ticks; an empty list also if the table does not exist."""
        try:
            return self.files(name, ticks)
        except TableMissing:
            return []

    def files_of(self, table: DeltaTable) -> list[tuple[str, str]]:
        """The files of an opened table, each with its tick ('' in a reference table), in the order of ticks."""
        files = map(self._storage.file, table.file_uris())
        return sorted(((found[1] if (found := OF_TICK.search(file)) else ""), file) for file in files)

    def ticks(self, name: str) -> set[TickName]:
        """The ticks that have at least one row."""
        return {tick_named(str(part[TICK])) for part in self.table(name).partitions()}

    def rows(self, name: str, ticks: Iterable[TickName] | None = None, columns: list[str] | None = None) -> pa.Table:
        """Read the rows of a table, if given only of `ticks` and only `columns`.

        Raises: TableMissing.
        """
        listed = None if ticks is None else list(ticks)
        return self._read(name, self.table(name), columns, listed)

    @retry(retry=retry_if_exception_type(FileNotFoundError), stop=stop_after_attempt(3), reraise=True)
    def _read(
        self, name: str, table: DeltaTable, columns: list[str] | None = None, ticks: list[TickName] | None = None
    ) -> pa.Table:
        # Dates, or texts for ticks within a day.
        wanted = None if ticks is None else pc.field(TICK).isin(pa.array(ticks) if ticks else pa.array(ticks, pa.date32()))
        read = {str(tick) for tick in ticks or ()}
        files = [file for tick, file in self.files_of(table) if ticks is None or tick in read]
        system = self._storage.file_system(self.uri(name), files)
        return pa.table(table.to_pyarrow_table(columns=columns, filesystem=system, filters=wanted))

    def rows_of_ticks(self, name: str) -> dict[TickName, int]:
        """The number of rows of each tick, from the Delta log; opens no data file."""
        files = pa.table(self.table(name).get_add_actions(flatten=True))
        counts = files.group_by(f"partition.{TICK}").aggregate([("num_records", "sum")]).to_pylist()
        return {row[f"partition.{TICK}"]: row["num_records_sum"] for row in counts}

    def forget(self, name: str, older_than: timedelta, *, every: timedelta = timedelta(0)) -> None:
        """Delete files that the newest version has not used for `older_than`.

        Does nothing if this was done within `every`. Also deletes leftovers of killed writers, and log entries older than 30
        days. A process that listed the files less than `older_than` ago can still read them.

        DANGER: older versions become unreadable, so use it only for tables that trainings do not read.
        """
        table, now = self.table(name), datetime.now(UTC)
        if any(one["operation"] == "VACUUM END" and _at(one) > now - every for one in table.history(SEARCHED_COMMITS)):
            return
        hours = int(older_than / timedelta(hours=1))
        # By default Delta refuses less than a week, to protect slow readers.
        with self._storage.telling(self.uri(name)):
            table.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True)
            table.cleanup_metadata()

    def replace_ticks(self, name: str, ticks: TickRange, rows: pa.Table | RowFiles, note: str = "") -> Written:
        """Replace the rows of `ticks`, all or nothing.

        rows: has a date column `tick` with values in `ticks`. Files, each with rows of one tick, become files of the table as
        they are, in their order. Writers of different ticks do not wait for each other; a writer that lost a race for the same
        tick tries again.

        Raises: RowsRefused.
        """
        if isinstance(rows, RowFiles):
            return self._replace_by_files(name, ticks, rows, note)
        span = pc.min_max(rows[TICK]).as_py()
        if rows[TICK].null_count or (rows.num_rows and not ticks.first <= span["min"] <= span["max"] <= ticks.last):
            raise RowsRefused(
                f"lake table {name!r}: cannot write rows of tick {span['min']} to {span['max']} as {ticks}; nothing was written"
            )
        return self._commit(name, rows, note, partition_by=[TICK], predicate=_of_ticks(ticks))

    def _replace_by_files(self, name: str, ticks: TickRange, rows: RowFiles, note: str) -> Written:
        new = finished(name, rows, ticks)
        with self._storage.telling(self.uri(name)):
            refuse_other_types(name, new.schema, self._create(name, new.schema, [TICK]))
            self._storage.place(rows.folder, [(file, f"{self.uri(name)}/{added.path}") for file, added in new.files])
            version = self._commit_files(name, ticks, new, note)
        return Written(name, rows.num_rows, version)

    @retry(retry=retry_if_exception(_lost_a_race), stop=MOST_ATTEMPTS, wait=UNTIL_NEXT, reraise=True)
    def _commit_files(self, name: str, ticks: TickRange, new: Finished, note: str) -> int:
        """Let files that lie below the table be the rows of `ticks`; the version."""
        before = self._open(name)
        refuse_other_types(name, new.schema, before)
        commit, next_version = _Commit(note), int(before.version()) + 1
        try:
            before.create_write_transaction(
                [added for _, added in new.files],
                "overwrite",
                with_new_columns(before.schema(), new.schema),
                [TICK],
                [(TICK, ">=", str(ticks.first)), (TICK, "<=", str(ticks.last))],
                # Delta would see no conflict with another first write of a tick, so any commit in between is one.
                commit_properties=commit.properties(most_retries=0),
            )
        except (DeltaError, OSError) as error:
            return self._version_of(name, commit, error)
        return next_version

    @retry(retry=retry_if_exception(_lost_a_race), stop=MOST_ATTEMPTS, wait=UNTIL_NEXT, reraise=True)
    def revise_ticks(
        self,
        name: str,
        ticks: TickRange,
        revise: Callable[[DeltaTable | None], tuple[pa.Table, Collection[TickName]]],
        note: str = "",
        except_for: Collection[TickName] = (),
    ) -> Written:
        """Replace the rows of `ticks` by what `revise` makes of the table as it is, all or nothing.

        `revise` gets the table (None if there is none), and returns all rows to write and the other ticks that they replace. If
        another writer commits in between, it is called again with the newer table. except_for: ticks that stay as they are.

        Raises: RowsRefused; what `revise` raises.
        """
        with self._storage.telling(self.uri(name)):
            if not self._is_table(name):
                self._create(name, Schema.from_arrow(revise(None)[0].schema), [TICK])
            before = self._open(name)
            rows, also = revise(before)
            days = set(rows[TICK].unique().to_pylist()) - set(also)
            if stray := [day for day in days if not ticks.first <= day <= ticks.last or day in except_for]:
                raise RowsRefused(
                    f"lake table {name!r}: cannot write rows of tick {min(stray)} as {ticks}; nothing was written"
                )
            refuse_other_types(name, Schema.from_arrow(rows.schema), before)
            where = " OR ".join([f"({_of_ticks(ticks, except_for)})", *(f"{TICK} = '{day}'" for day in sorted(set(also)))])
            commit = _Commit(note)
            try:
                write_deltalake(
                    before,  # at the version that was read, so that Delta finds conflicts with later ones
                    rows,
                    mode="overwrite",
                    predicate=where,
                    schema_mode="merge",
                    commit_properties=commit.properties(),
                )
            except (DeltaError, OSError) as error:
                return Written(name, rows.num_rows, self._version_of(name, commit, error))
        return Written(name, rows.num_rows, int(before.version()))  # the one that was just written

    def holds(self, name: str, rows: pa.Table) -> bool:
        """Whether a reference table has exactly these rows, in any order, with these columns and types."""
        try:
            table = self.table(name)
        except TableMissing:
            return False
        wanted = [(field.name, field.type) for field in Schema.from_arrow(rows.schema).fields]
        if [(field.name, field.type) for field in table.schema().fields] != wanted:
            return False
        order = [(column, "ascending") for column in rows.column_names]
        existing = self._read(name, table).cast(rows.schema)
        return bool(existing.sort_by(order).equals(rows.sort_by(order)))

    def replace(self, name: str, rows: pa.Table, note: str = "") -> Written:
        """Replace a whole reference table."""
        return self._commit(name, rows, note, partition_by=None, predicate=None)

    @retry(retry=retry_if_exception(_lost_a_race), stop=MOST_ATTEMPTS, wait=UNTIL_NEXT, reraise=True)
    def _commit(self, name: str, table: pa.Table, note: str, partition_by: list[str] | None, predicate: str | None) -> Written:
        with self._storage.telling(self.uri(name)):
            return self._write(name, table, note, partition_by, predicate)

    def _write(self, name: str, table: pa.Table, note: str, partition_by: list[str] | None, predicate: str | None) -> Written:
        # Two writers that create a table with rows would both succeed and duplicate them, so it is created empty first.
        existing = self._create(name, Schema.from_arrow(table.schema), partition_by)
        if predicate:
            refuse_other_types(name, Schema.from_arrow(table.schema), existing)
        commit = _Commit(note)
        try:
            write_deltalake(
                self.uri(name),
                table,
                partition_by=partition_by,
                mode="overwrite",
                predicate=predicate,
                # A column added to the declaration is added to the table; it is null in older ticks.
                schema_mode="merge" if predicate else "overwrite",
                storage_options=self._storage.options,
                # Without a predicate, Delta sees no conflict between two first writes unless they name the same transaction.
                commit_properties=commit.properties(None if predicate else [Transaction("mlprod", 0)]),
            )
        except (DeltaError, OSError) as error:
            return Written(name, table.num_rows, self._version_of(name, commit, error))
        return Written(name, table.num_rows, self.version(name))

    def _is_table(self, name: str) -> bool:
        # DeltaTable.is_deltatable keeps Python's lock while it waits for the storage.
        try:
            self._open(name)
        except TableNotFoundError:
            return False
        return True

    def _create(self, name: str, schema: Schema, partition_by: list[str] | None) -> DeltaTable:
        """Create a table without rows, if it does not exist."""
        if not self._is_table(name):
            self._storage.before_first_write()
        return DeltaTable.create(
            self.uri(name),
            schema=schema,
            mode="ignore",
            partition_by=partition_by,
            configuration=KEEP_VERSIONS,
            storage_options=self._storage.options,
        )

    def _version_of(self, name: str, commit: _Commit, error: DeltaError | OSError) -> int:
        """The version that a commit made although it failed: an answer that got lost says nothing of the commit.

        Raises: the error if there is none.
        """
        try:
            table = self._open(name)
            newest = table.history(SEARCHED_COMMITS)
        except (DeltaError, OSError):
            raise error from None
        for version, one in zip(range(table.version(), -1, -1), newest, strict=False):
            if one.get(WRITE) == commit.id:
                return version
        raise error


class _Commit:
    """One try to commit, which can be found again in the table's history."""

    def __init__(self, note: str) -> None:
        self.id, self._note = uuid.uuid4().hex, note

    def properties(self, transactions: list[Transaction] | None = None, most_retries: int | None = None) -> CommitProperties:
        return CommitProperties({"mlprod": self._note, WRITE: self.id}, most_retries, transactions)


def _only_created(table: DeltaTable) -> bool:
    if table.file_uris():
        return False
    # A process that lost the race for version 0 creates the table again, as version 1, so all commits must be checked.
    # history() returns all commits even for an earlier version: keep only those up to this version.
    commits = table.history()[-(table.version() + 1) :]
    return all(commit["operation"] == "CREATE TABLE" for commit in commits)


def _of_ticks(ticks: TickRange, except_for: Collection[TickName] = ()) -> str:
    where = f"{TICK} >= '{ticks.first}' AND {TICK} <= '{ticks.last}'"
    return where + (f" AND {TICK} NOT IN ({', '.join(literal(str(day)) for day in sorted(except_for))})" if except_for else "")


def _at(commit: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


def listed(files: Iterable[str]) -> str:
    """File names as a list literal in DuckDB's SQL."""
    return "[" + ", ".join(map(literal, files)) + "]"
