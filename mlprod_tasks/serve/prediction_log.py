"""The prediction log of the service: kept in memory for some seconds, then written as a file of its own."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline

log = logging.getLogger(__name__)

Entry = tuple[Any, ...]
FRONT: tuple[tuple[str, pa.DataType], ...] = (
    ("request_id", pa.string()),
    ("key", pa.string()),
    ("tick", pa.date32()),
    ("predict_at", pa.timestamp("us", "UTC")),
    ("score", pa.float64()),
    ("decision", pa.bool_()),
    ("model_version", pa.int32()),
    ("route", pa.string()),
    ("fallback", pa.bool_()),
    ("review", pa.bool_()),
    ("reason", pa.string()),
    ("shadow_version", pa.int32()),
    ("shadow_score", pa.float64()),
    ("milliseconds", pa.float64()),
)


class PredictionLog:
    """One replica's log of one use case.

    `add` only appends to memory. A thread writes what has gathered every `seconds` to a file whose name nobody else has, and
    moves it into place whole: killed at any moment, at most the last `seconds` are lost, and no file is half there. Where
    the folder cannot be written, entries wait, at most `most`; the oldest then give way, counted in `dropped`.
    """

    def __init__(
        self, folder: Path, features: Mapping[str, pa.DataType], *, seconds: float = 2.0, most: int = 1_000_000
    ) -> None:
        self.folder, self.seconds, self.most = folder, seconds, most
        self.schema = pa.schema([*FRONT, *((f"feature_{name}", kind) for name, kind in features.items())])
        self.written = self.dropped = 0
        self._waiting: deque[Entry] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, front: Sequence[Any], features: Sequence[Any]) -> None:
        """Note one answer. front: in the order of FRONT; features: in the order given at the beginning."""
        if len(self._waiting) >= self.most:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((*front, *features))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Write what is left, and stop."""
        self._ended.set()
        self._thread.join(timeout=30)
        self.flush()

    def flush(self) -> None:
        """Write what has gathered. What cannot be written goes on waiting."""
        taken: list[Entry] = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        if not taken:
            return
        try:
            self._write(taken)
            self.written += len(taken)
        except Exception as error:
            log.error("%d predictions wait, the log cannot be written: %s", len(taken), type(error).__name__)
            self._waiting.extendleft(reversed(taken))
            while len(self._waiting) > self.most:
                self._waiting.popleft()
                self.dropped += 1

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            self.flush()

    def _write(self, entries: Sequence[Entry]) -> None:
        columns = [logged(values, field.type) for values, field in zip(zip(*entries, strict=True), self.schema, strict=True)]
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.parquet"
        beside = self.folder / f".{name}"
        try:
            pq.write_table(pa.Table.from_arrays(columns, schema=self.schema), beside)
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
