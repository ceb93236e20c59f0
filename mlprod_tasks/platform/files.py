"""Replace files and folders atomically, and lock them against other processes.

A writer writes to a temporary name next to the target, '.NAME.<32 hex digits>.part', and renames it at the end. The name is
random, not the process id, because two containers on one volume may have the same ids. The next writer of the same name deletes
such leftovers of killed writers when they are a day old.
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
# No write takes this long, so the writer of an older part was killed.
ABANDONED = timedelta(days=1)
MOST_ATTEMPTS = 10


class DiskFull(OSError):
    """A disk has no space left for a file or folder. What was there before is unchanged."""

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        super().__init__(
            errno.ENOSPC,
            f"no space is left to write {place}: free some on its disk, or raise its quota, then run again. What was there "
            "before is unchanged",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return DiskFull, (self.place,)  # as another process gets it


@contextmanager
def telling_full_disk(place: str | Path) -> Iterator[None]:
    """Raise DiskFull, which names the place, if the block finds no space left."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, DiskFull):
            raise
        raise DiskFull(place) from error


@contextmanager
def replacing(path: Path, *, clean: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` at the end.

    A reader always sees the whole old file or the whole new one, also if writers compete or are killed. If the block raises,
    the old file stays. clean: delete leftovers of killed writers of `path`; False avoids listing the folder, for names that are
    never used again.

    Raises: DiskFull.
    """
    if clean:
        delete_abandoned(path.parent, path.name)
    part = _beside(path)
    try:
        with telling_full_disk(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, unless: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Yield a path to create a folder at.

    It replaces `path` at the end, and the old folder is deleted. The yielded path does not exist yet. If two processes write at
    once, the later one wins. unless: called at the end; if it returns True, the folder at `path` is kept. If the block raises,
    the old folder stays.

    Raises: OSError if other processes keep replacing the folder.
    """
    with scratch_folder(path) as scratch, telling_full_disk(path):
        new = scratch / path.name
        yield new
        if not unless():
            _put(new, path, scratch)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which is deleted at the end; also such leftovers of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_abandoned(path.parent, path.name)
    scratch = _beside(path)
    with telling_full_disk(path):
        scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a file in UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises: ValueError for NaN and infinity, which JSON does not have.
    """
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False))


def parts(folder: Path, name: str | None = None) -> list[Path]:
    """Temporary files and folders in a folder: all, or those of `name`.

    Their writers are running or were killed.
    """
    with suppress(FileNotFoundError):
        entries = ((PART.fullmatch(entry.name), entry) for entry in os.scandir(folder))
        return [Path(entry.path) for match, entry in entries if match and name in (None, match["name"])]
    return []


def delete_abandoned(folder: Path, name: str | None = None) -> None:
    """Delete leftovers of killed writers in a folder that are older than a day: all, or those of `name`."""
    oldest = time.time() - ABANDONED.total_seconds()  # not the platform's clock: files have the machine's times
    for part in parts(folder, name):
        with suppress(FileNotFoundError):  # its writer has finished, or another process has deleted it
            if max(one.stat().st_mtime for one in (part, *part.rglob("*"))) < oldest:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def delete_unused(folder: Path, most: int, unused: timedelta) -> None:
    """Delete folders in a folder: beyond the `most` that were used last, those not used for so long.

    A folder's own time of change says when it was used: whoever uses one sets it (os.utime).
    """
    oldest = time.time() - unused.total_seconds()
    used = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process has deleted it
            if entry.is_dir(follow_symlinks=False) and not PART.fullmatch(entry.name):
                used.append((entry.stat().st_mtime, entry.path))
    for at, path in sorted(used)[: -most or None]:
        if at < oldest:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path, *, wait: bool = True, waiting: str = "") -> Iterator[None]:
    """Lock a file (created if missing) or a folder.

    The system releases the lock when the process dies. waiting: the message to log before waiting for another process.

    Raises: BlockingIOError if another process has the lock and `wait` is False; OSError on a file system without locks.
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
    """Whether another writer has put its folder in place after this one moved the old one away."""
    return isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST)


@retry(retry=retry_if_exception(_exists_again), stop=stop_after_attempt(MOST_ATTEMPTS), reraise=True)
def _put(new: Path, path: Path, scratch: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(scratch / uuid.uuid4().hex)
    new.rename(path)
