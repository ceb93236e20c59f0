"""Replace files and folders whole or not at all, and lock them against other processes.

A writer writes to a temporary name beside the target, '.NAME.<32 hex digits>.part', and renames it at the end. The name is
random and not the process's id, since two containers on one volume have the same ids. Leftovers of a killed writer have that
form of name; the next writer of the same name deletes them once they are a day old.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tenacity import retry, retry_if_exception, stop_after_attempt

log = logging.getLogger(__name__)
PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.part", re.DOTALL)
# No file is written for that long: its writer was killed.
ABANDONED = timedelta(days=1)
MOST_ATTEMPTS = 10


@contextmanager
def replacing(path: Path, *, clean: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` at the end.

    A reader sees the whole old file or the whole new one, whoever else writes or is killed. If the block raises, the old file
    stays. clean: delete leftovers of killed writers of `path`; without it the folder is not listed, for files whose names are
    never used again.
    """
    if clean:
        delete_abandoned(path.parent, path.name)
    part = _beside(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, unless: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Yield a path to create a folder at; it replaces `path` at the end, and the old folder is deleted.

    The yielded path does not exist yet. Of two writers at once the later one wins, unless `unless` says that the folder that is
    at `path` by then is good already. If the block raises, the old folder stays.

    Raises: OSError where others keep replacing the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_abandoned(path.parent, path.name)
    scratch = _beside(path)
    scratch.mkdir()
    try:
        made = scratch / path.name
        yield made
        if not unless():
            _put(made, path, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a file in UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all. Raises: ValueError for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False))


def parts(folder: Path, name: str | None = None) -> list[Path]:
    """Temporary files and folders in a folder: all, or those of `name`. Their writers are at work, or were killed."""
    with suppress(FileNotFoundError):
        found = ((PART.fullmatch(entry.name), entry) for entry in os.scandir(folder))
        return [Path(entry.path) for match, entry in found if match and name in (None, match["name"])]
    return []


def delete_abandoned(folder: Path, name: str | None = None) -> None:
    """Delete leftovers of killed writers in a folder that are older than a day: all, or those of `name`."""
    oldest = time.time() - ABANDONED.total_seconds()  # the machine's clock, which also dates the files
    for part in parts(folder, name):
        with suppress(FileNotFoundError):  # its writer has finished, or another process deletes it
            if max(one.stat().st_mtime for one in (part, *part.rglob("*"))) < oldest:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextmanager
def locked(path: Path, *, wait: bool = True, waiting: str = "") -> Iterator[None]:
    """Hold the lock of a file, created if missing, or of a folder.

    The system releases the lock when the process dies. waiting: what to log before waiting for another process.

    Raises: BlockingIOError where another process holds it and `wait` is False; OSError on a file system without locks.
    """
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if waiting:
                log.info("%s", waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")


def _exists_again(error: BaseException) -> bool:
    """Whether another writer put its folder there after this one had moved the old one away."""
    return isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST)


@retry(retry=retry_if_exception(_exists_again), stop=stop_after_attempt(MOST_ATTEMPTS), reraise=True)
def _put(made: Path, path: Path, scratch: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(scratch / uuid.uuid4().hex)
    made.rename(path)
