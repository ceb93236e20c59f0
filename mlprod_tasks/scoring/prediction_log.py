"""The prediction log of the service: in memory for seconds, then in a new file."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import replacing
from mlprod_tasks.scoring.log_row import LoggedRow, TableBuilder

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 250  # rows per table
COLUMNS_AT_ONCE = 6  # of such a table, in about 50 microseconds
MOST_WAITING = 100_000  # rows, of less than a kB each in memory
MOST_IN_A_FILE = 20_000
LONGEST_REST = 60.0


def log_name(pipeline: Pipeline) -> str:
    """The name among the shared files of the folder to which all replicas log, and from which `collect` reads."""
    return f"online_log/{pipeline.name}"


def log_folder(pipeline: Pipeline, platform: Platform) -> Path:
    """That folder on this machine; if it is shared by several machines, a copy of it."""
    return platform.settings.home / log_name(pipeline)


class PredictionLog:
    """One replica's log of one use case.

    `add` stores the row in memory and converts a few columns of earlier rows: a thread doing that would keep taking the
    interpreter from requests. Every `seconds`, a thread writes the rows to a file with a unique name and moves it into place:
    if the process is killed, at most the last `seconds` are lost, and no file is incomplete. If the folder cannot be written,
    at most `most` rows wait; older ones are dropped and counted in `dropped`. send: brings finished files to where they are
    collected; those that it could not bring wait in the folder.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        *,
        seconds: float = 2.0,
        most: int = MOST_WAITING,
        send: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.schema, self.seconds, self.most = folder, schema, seconds, most
        self.written = self.dropped = 0
        self._send = send
        self._waiting: deque[LoggedRow] = deque()
        self._building = threading.Lock()
        self._builder: TableBuilder | None = None  # of the table in progress
        self._in_table = 0  # rows of the table in progress
        self._tables: deque[pa.Table] = deque()
        self._rows = 0  # rows of all tables, also of those being made or written
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, row: LoggedRow) -> None:
        """Log one scored row."""
        self._waiting.append(row)
        if (self._builder or len(self._waiting) >= ROWS_AT_ONCE) and self._building.acquire(blocking=False):
            try:
                self._step()
            finally:
                self._building.release()

    @property
    def waiting(self) -> int:
        return len(self._waiting) + self._rows

    def close(self) -> None:
        """Write the remaining rows and stop."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.flush()

    def flush(self) -> bool:
        """Write the waiting rows; return whether that succeeded.

        Otherwise they keep waiting, in memory or in the folder.
        """
        with self._building:
            while self._builder or self._waiting:
                self._step()
        while self._tables:
            tables = self._pop_tables()
            rows = sum(one.num_rows for one in tables)
            try:
                self._write(tables)
            except Exception as error:
                log.error("%d predictions wait: the log cannot be written: %s", self.waiting, type(error).__name__)
                with self._building:
                    self._tables.extendleft(reversed(tables))
                return False
            with self._building:
                self._rows -= rows
            self.written += rows
        try:
            self._send()
        except Exception as error:
            log.error("files of logged predictions wait in %s: %s", self.folder, error)
            return False
        return True

    def _run(self) -> None:
        rest = self.seconds
        while not self._ended.wait(rest):
            rest = self.seconds if self.flush() else min(2 * rest, max(LONGEST_REST, self.seconds))

    def _step(self) -> None:
        """Make a few columns of the oldest rows; the last ones finish their table."""
        try:
            if self._builder is None:
                self._builder = self._begin_table()
            self._builder.add_columns(COLUMNS_AT_ONCE)
        except Exception as error:  # an error in the log must not fail the request; its text may quote a row
            log.error("%d predictions cannot be logged: %s", self._in_table, type(error).__name__)
            self._rows -= self._in_table
            self.dropped += self._in_table
            self._builder = None
            return
        if self._builder.table is not None:
            self._tables.append(self._builder.table)
            self._builder = None
            while self._rows > self.most and self._tables:
                self._drop_oldest()

    def _begin_table(self) -> TableBuilder:
        rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), ROWS_AT_ONCE))]
        self._in_table = len(rows)
        self._rows += len(rows)
        return TableBuilder(rows, self.schema)

    def _drop_oldest(self) -> None:
        oldest = self._tables.popleft()
        kept = oldest.slice(min(self._rows - self.most, oldest.num_rows))
        if kept.num_rows:
            self._tables.appendleft(kept)
        self.dropped += oldest.num_rows - kept.num_rows
        self._rows -= oldest.num_rows - kept.num_rows

    def _pop_tables(self) -> list[pa.Table]:
        """Take out the oldest tables, as many as fit into one file."""
        tables: list[pa.Table] = []
        rows = 0
        with self._building:
            while self._tables and (not tables or rows + self._tables[0].num_rows <= MOST_IN_A_FILE):
                tables.append(self._tables.popleft())
                rows += tables[-1].num_rows
        return tables

    def _write(self, tables: Sequence[pa.Table]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{uuid.uuid4().hex}.parquet", clean=False) as part:
            pq.write_table(pa.concat_tables(tables), part)
