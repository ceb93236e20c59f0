"""The prediction log of the service: kept in memory for some seconds, then written as a file of its own."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import replacing
from mlprod_tasks.scoring.log_row import LoggedRow, TableBuilder

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 250  # become a table
COLUMNS_AT_ONCE = 6  # of such a table: they take some 50 microseconds
MOST_WAITING = 100_000  # rows, of less than a kB each in memory
MOST_IN_A_FILE = 20_000
LONGEST_REST = 60.0


def log_folder(pipeline: Pipeline, platform: Platform) -> Path:
    """Where every replica of an installation writes its log, and from where it is collected into the lake."""
    return platform.settings.home / "online_log" / pipeline.name


class PredictionLog:
    """One replica's log of one use case.

    `add` only keeps in memory, and makes a few columns of what was added before: a thread that made them would take the
    interpreter from those who answer, again and again. A thread writes what has gathered every `seconds` to a file whose name
    nobody else has, and moves it into place whole: killed at any moment, at most the last `seconds` are lost, and no file is
    half there. Where the folder cannot be written, entries wait, at most `most`; the oldest then give way, counted in
    `dropped`.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, seconds: float = 2.0, most: int = MOST_WAITING) -> None:
        self.folder, self.schema, self.seconds, self.most = folder, schema, seconds, most
        self.written = self.dropped = 0
        self._waiting: deque[LoggedRow] = deque()
        self._building = threading.Lock()
        self._builder: TableBuilder | None = None  # of the table that is being made
        self._in_table = 0  # rows of it
        self._tables: deque[pa.Table] = deque()
        self._rows = 0  # of the tables, also while they are being made or written
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
        """Write what is left, and stop."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.flush()

    def flush(self) -> bool:
        """Write the waiting rows. Returns whether that succeeded; rows that cannot be written keep waiting."""
        with self._building:
            while self._builder or self._waiting:
                self._step()
        while self._tables:
            taken = self._taken()
            rows = sum(one.num_rows for one in taken)
            try:
                self._write(taken)
            except Exception as error:
                log.error("%d predictions wait, the log cannot be written: %s", self.waiting, type(error).__name__)
                with self._building:
                    self._tables.extendleft(reversed(taken))
                return False
            with self._building:
                self._rows -= rows
            self.written += rows
        return True

    def _run(self) -> None:
        rest = self.seconds
        while not self._ended.wait(rest):
            rest = self.seconds if self.flush() else min(2 * rest, max(LONGEST_REST, self.seconds))

    def _step(self) -> None:
        """Make a few columns of the oldest rows; with the last of them their table is there."""
        try:
            if self._builder is None:
                self._builder = self._begin_table()
            self._builder.add_columns(COLUMNS_AT_ONCE)
        except Exception:  # a fault of the log's must not become one of the answer that it is noted with
            log.exception("%d predictions cannot be logged", self._in_table)
            self._rows -= self._in_table
            self.dropped += self._in_table
            self._builder = None
            return
        if self._builder.table is not None:
            self._tables.append(self._builder.table)
            self._builder = None
            while self._rows > self.most and self._tables:
                self._give_way()

    def _begin_table(self) -> TableBuilder:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), ROWS_AT_ONCE))]
        self._in_table = len(taken)
        self._rows += len(taken)
        return TableBuilder(taken, self.schema)

    def _give_way(self) -> None:
        oldest = self._tables.popleft()
        kept = oldest.slice(min(self._rows - self.most, oldest.num_rows))
        if kept.num_rows:
            self._tables.appendleft(kept)
        self.dropped += oldest.num_rows - kept.num_rows
        self._rows -= oldest.num_rows - kept.num_rows

    def _taken(self) -> list[pa.Table]:
        """The oldest tables, as many as go into one file."""
        taken: list[pa.Table] = []
        rows = 0
        with self._building:
            while self._tables and (not taken or rows + self._tables[0].num_rows <= MOST_IN_A_FILE):
                taken.append(self._tables.popleft())
                rows += taken[-1].num_rows
        return taken

    def _write(self, tables: Sequence[pa.Table]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{uuid.uuid4().hex}.parquet", clean=False) as part:
            pq.write_table(pa.concat_tables(tables), part)
