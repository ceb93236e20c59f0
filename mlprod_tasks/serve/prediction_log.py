"""The prediction log of the service: kept in memory for some seconds, then written as a file of its own."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline
from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)

AT_ONCE, PAUSE_SECONDS = 100, 0.001  # entries made ready in one go, and what answers then have to themselves
MOST_WAITING = 100_000  # entries, of two or three kB each in memory
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

    `add` only appends to memory. A thread writes what has gathered every `seconds` to a file whose name nobody else has, and
    moves it into place whole: killed at any moment, at most the last `seconds` are lost, and no file is half there. Where
    the folder cannot be written, entries wait, at most `most`; the oldest then give way, counted in `dropped`.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, seconds: float = 2.0, most: int = MOST_WAITING) -> None:
        self.folder, self.schema, self.seconds, self.most = folder, schema, seconds, most
        self.written = self.dropped = 0
        self._waiting: deque[Entry] = deque()
        self._writing = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Note one answer: the values of a row in the order of the schema."""
        if len(self._waiting) >= self.most:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(entry)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + self._writing

    def close(self) -> None:
        """Write what is left, and stop."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.flush()

    def flush(self) -> bool:
        """Write what has gathered, and whether that was done. What cannot be written goes on waiting."""
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_IN_A_FILE))]
            self._writing = len(taken)
            try:
                self._write(taken)
            except Exception as error:
                log.error("%d predictions wait, the log cannot be written: %s", self.waiting, type(error).__name__)
                self._waiting.extendleft(reversed(taken))
                while len(self._waiting) > self.most:
                    self._waiting.popleft()
                    self.dropped += 1
                return False
            finally:
                self._writing = 0
            self.written += len(taken)
        return True

    def _run(self) -> None:
        rest = self.seconds
        while not self._ended.wait(rest):
            # Ever longer: each try turns all that waits into columns, which answers pay for.
            rest = self.seconds if self.flush() else min(2 * rest, max(LONGEST_REST, self.seconds))

    def _write(self, entries: Sequence[Entry]) -> None:
        parts = []
        for first in range(0, len(entries), AT_ONCE):
            columns = zip(zip(*entries[first : first + AT_ONCE], strict=True), self.schema, strict=True)
            arrays = [logged(values, field.type) for values, field in columns]
            parts.append(pa.Table.from_arrays(arrays, schema=self.schema))
            if not self._ended.is_set():
                time.sleep(PAUSE_SECONDS)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.parquet"
        beside = self.folder / f".{name}"
        try:
            pq.write_table(pa.concat_tables(parts), beside)
            beside.rename(self.folder / name)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def logged(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as they are logged: numbers as the model reads them, also integers beyond those that a float holds exactly."""
    if pa.types.is_float64(kind):
        return pa.array([None if value is None else float(value) for value in values], kind)
    return pa.array(values, kind)


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
