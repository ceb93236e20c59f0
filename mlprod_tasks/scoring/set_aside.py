"""Set aside what of the service's log cannot be collected, a file or single rows of it, so that the rest is collected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.files import replacing

log = logging.getLogger(__name__)
T = TypeVar("T")
BROKEN = ".broken"
LOG_FILE = "log_file"  # the column that names the file of each row
NEEDED = ("request_id", "row", "tick", "predict_at", "at")


def read_or_set_aside(path: Path, read: Callable[[pq.ParquetFile], T], broken: list[str]) -> T | None:
    """Return what `read` gives for a file; None if the file is broken, and now set aside, or cannot be read now."""
    try:
        # Arrow opens the path itself: with a Python stream, its threads may hold the last reference, and a process that ends
        # at that moment is aborted.
        with pq.ParquetFile(path) as file:
            return read(file)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow raises OSError without a number for damaged contents, but also for a path that is not a file.
        if isinstance(error, OSError) and (error.errno is not None or not path.is_file()):
            log.warning("%s cannot be read now, the next collection tries again: %s", path, error)
            return None
        _set_aside(path, error, broken)
        return None


def _set_aside(path: Path, error: Exception, broken: list[str]) -> None:
    aside = path.with_name(path.name + BROKEN)
    try:
        path.rename(aside)
    except OSError as cannot:  # another user's folder: it must not stop the other files
        log.error("%s is broken and cannot be renamed: %s: %s", path, cannot, error)
        broken.append(path.name)
        return
    log.error("%s is broken and set aside as %s: %s", path, aside.name, error)
    broken.append(aside.name)


def unreadable_rows(rows: pa.Table) -> np.ndarray:
    """A mask of rows that lack their place (request, row, tick or times), or have text that is not UTF-8.

    The service writes none. Such a row can be found again by nobody, and would end every collection.
    """
    bad = np.zeros(rows.num_rows, dtype=bool)
    for name in NEEDED:
        bad |= rows[name].is_null().to_numpy()
    for field in rows.schema:
        if pa.types.is_string(field.type) and not _is_utf8(rows[field.name]):
            raw = rows[field.name].cast(pa.binary()).to_pylist()
            bad |= np.array([value is not None and not _decodes(value) for value in raw], dtype=bool)
    return bad


def set_aside_rows(rows: pa.Table, bad: np.ndarray, folder: Path, tick: TickName, broken: list[str]) -> pa.Table:
    """Write the bad rows of each file to a file of their own, `<file>-rows-<tick>.parquet.broken`; return the other rows.

    rows: of one tick, with LOG_FILE. If killed, it is done again, with the same names.
    """
    if not bad.any():
        return rows
    of_file = rows.filter(pa.array(bad))
    for stem in of_file[LOG_FILE].unique().to_pylist():
        mine = of_file.filter(pc.equal(of_file[LOG_FILE], stem)).drop_columns([LOG_FILE])
        aside = folder / f"{stem}-rows-{tick}.parquet{BROKEN}"
        if not aside.exists():
            with replacing(aside, clean=False) as part:
                pq.write_table(mine, part)
        log.error(
            "%s.parquet: %d rows of %s cannot be collected and are set aside as %s", stem, mine.num_rows, tick, aside.name
        )
        broken.append(aside.name)
    return rows.filter(pa.array(~bad))


def places(rows: pa.Table, wanted: Collection[tuple[str, int]]) -> np.ndarray:
    """A mask of the rows with these request ids and row numbers."""
    if not wanted:
        return np.zeros(rows.num_rows, dtype=bool)
    pairs = zip(rows["request_id"].to_pylist(), rows["row"].to_pylist(), strict=True)
    return np.array([pair in wanted for pair in pairs], dtype=bool)


def _is_utf8(texts: pa.ChunkedArray) -> bool:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
