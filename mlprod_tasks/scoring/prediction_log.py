"""The prediction log of the service: kept in memory for some seconds, then written as a file of its own."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import replacing

log = logging.getLogger(__name__)

AT_ONCE, COLUMNS = 250, 6  # entries that become a table, and columns of it that are made in one go: some 50 microseconds
UNWRITABLE = (pa.ArrowException, TypeError, ValueError, OverflowError)
MOST_WAITING = 100_000  # rows, of less than a kB each in memory
MOST_IN_A_FILE = 20_000
LONGEST_REST = 60.0
Entry = tuple[Any, ...]
# What is noted of a row besides its key and features. assigned: the route that it was to take; error: a model failed on it.
FRONT: tuple[tuple[str, pa.DataType], ...] = (
    ("request_id", pa.string()),
    ("row", pa.int32()),  # its place in the request
    ("key", pa.string()),  # the key's values, joined by /
    ("tick", pa.date32()),
    ("predict_at", pa.timestamp("us", "UTC")),
    ("at", pa.timestamp("us", "UTC")),  # when it was answered
    ("score", pa.float64()),
    ("decision", pa.bool_()),
    ("model_version", pa.int32()),
    ("route", pa.string()),
    ("assigned", pa.string()),
    ("fallback", pa.bool_()),
    ("error", pa.bool_()),
    ("review", pa.bool_()),
    ("reason", pa.string()),
    ("stale", pa.bool_()),
    ("missing", pa.bool_()),
    ("shadow_version", pa.int32()),
    ("shadow_score", pa.float64()),
    ("shadow_milliseconds", pa.float64()),
    ("milliseconds", pa.float64()),
)
KEY, FEATURE = "key_", "feature_"
KINDS = {
    "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip


def log_schema(pipeline: Pipeline) -> pa.Schema:
    """The columns of the log: FRONT, the entity's key under `key_<column>`, the features under `feature_<name>`.

    A personal column of the key is the hash that the lake has too.
    """
    entity = pipeline.entity_table
    kinds = {name: "text" if entity.column(name).personal == "hash" else entity.column(name).kind for name in entity.key}
    keys = [(f"{KEY}{name}", KINDS[kind]) for name, kind in kinds.items()]
    features = [(f"{FEATURE}{name}", kind) for name, kind in logged_types(pipeline).items()]
    return pa.schema([*FRONT, *keys, *features])


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
        self._entries: deque[Entry] = deque()
        self._turning = threading.Lock()  # of entries into tables
        self._steps: Iterator[None] | None = None
        self._tables: deque[pa.Table] = deque()
        self._rows = 0  # of the tables, also while they are being made or written
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Note one answer: the values of a row in the order of the schema."""
        self._entries.append(entry)
        if (self._steps or len(self._entries) >= AT_ONCE) and self._turning.acquire(blocking=False):
            try:
                self._step()
            finally:
                self._turning.release()

    @property
    def waiting(self) -> int:
        return len(self._entries) + self._rows

    def close(self) -> None:
        """Write what is left, and stop."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.flush()

    def flush(self) -> bool:
        """Write what has gathered, and whether that was done. What cannot be written goes on waiting."""
        with self._turning:
            while self._steps or self._entries:
                self._step()
        while self._tables:
            taken = self._taken()
            rows = sum(one.num_rows for one in taken)
            try:
                self._write(taken)
            except Exception as error:
                log.error("%d predictions wait, the log cannot be written: %s", self.waiting, type(error).__name__)
                with self._turning:
                    self._tables.extendleft(reversed(taken))
                return False
            with self._turning:
                self._rows -= rows
            self.written += rows
        return True

    def _run(self) -> None:
        rest = self.seconds
        while not self._ended.wait(rest):
            rest = self.seconds if self.flush() else min(2 * rest, max(LONGEST_REST, self.seconds))

    def _step(self) -> None:
        """Make a few columns of the oldest entries; with the last of them their table is there."""
        if self._steps is None:
            taken = [self._entries.popleft() for _ in range(min(len(self._entries), AT_ONCE))]
            self._rows += len(taken)
            self._steps = self._turned(taken)
        if next(self._steps, self._steps) is self._steps:
            self._steps = None

    def _turned(self, entries: list[Entry]) -> Iterator[None]:
        rows, arrays = len(entries), list[pa.Array]()
        try:
            columns = list(zip(*entries, strict=True))
            # What is not needed any more goes bit by bit: to let go of some ten thousand values at once takes a millisecond.
            entries.clear()
            columns.reverse()
            for field in self.schema:
                arrays.append(_column(columns.pop(), field))
                if len(arrays) % COLUMNS == 0:
                    yield
            self._tables.append(pa.Table.from_arrays(arrays, schema=self.schema))
        except Exception:  # a fault of the log's must not become one of the answer that it is noted with
            log.exception("%d predictions cannot be logged", rows)
            self._rows -= rows
            self.dropped += rows
        while self._rows > self.most and self._tables:
            self._give_way()

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
        with self._turning:
            while self._tables and (not taken or rows + self._tables[0].num_rows <= MOST_IN_A_FILE):
                taken.append(self._tables.popleft())
                rows += taken[-1].num_rows
        return taken

    def _write(self, tables: Sequence[pa.Table]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{uuid.uuid4().hex}.parquet", clean=False) as part:
            pq.write_table(pa.concat_tables(tables), part)


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """A column of the log. A value that it cannot hold is null: it must not take the rest of the row along, nor others."""
    try:
        return logged(values, field.type)
    except UNWRITABLE:
        fitting = [value if _fits(value, field.type) else None for value in values]
        wrong = sum(value is not None for value in values) - sum(value is not None for value in fitting)
        log.error("%d values of %r cannot be logged as %s", wrong, field.name, field.type)
        return logged(fitting, field.type)


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        logged([value], kind)
    except UNWRITABLE:
        return False
    return True


def logged(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as they are logged: numbers as the model reads them, also integers beyond those that a float holds exactly."""
    try:
        return pa.array(values, kind)
    except pa.ArrowInvalid:
        if not pa.types.is_float64(kind):
            raise
        return pa.array([None if value is None else float(value) for value in values], kind)


def logged_types(pipeline: Pipeline) -> dict[str, pa.DataType]:
    """How features are written: text as text, everything else as the number that a model reads."""
    kinds: dict[str, str] = {}
    for feature in pipeline.features:
        match feature:
            case Expression():
                kinds[feature.name] = feature.kind
            case Lookup() | AsOf():
                table = pipeline.table(feature.table)
                kinds |= {name: table.column(read).kind for name, read in feature.columns.items()}
    return {name: pa.string() if kinds.get(name) == "text" else pa.float64() for name in pipeline.feature_names}
