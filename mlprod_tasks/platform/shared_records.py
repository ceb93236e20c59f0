"""Records by which processes share work: each is written once, by the first who does, and it shows who still works.

Where a record is a claim, whoever writes it has what it claims, until its sign of life ends: then another may claim it again,
under another name.
"""

from __future__ import annotations

import glob
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from mlprod_tasks.platform.files import locked, write_bytes


class SharedRecords(Protocol):
    """What processes ask of a place of records."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a record, unless there is one of that name. Whether this call has written it.

        content: nobody else would write the same, as it names the process or what only that one has done.
        """

    def read(self) -> Mapping[str, bytes]:
        """All records, by name."""

    def at_work(self, worker: int) -> AbstractContextManager[str]:
        """Within the block, others see that this process lives, which is that worker. The block gets its sign.

        A process is taken to be dead when its block or the process itself has ended.
        """

    def living(self) -> set[str]:
        """The signs of the processes that live."""

    def now(self) -> float:
        """Seconds since 1970, by a clock that all of them share."""

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Let one process at a time into the block, which must be at work; others wait. A dead one is out of it."""

    def last_locked(self, name: str) -> float:
        """When a process last left a block of that name, by the shared clock; 0 if none did."""


class RecordsInFolder:
    """Records as files of a folder.

    A sign of life is a lock that the system frees when its process ends, so a killed one is noticed at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records = folder / "records"
        self._known: dict[str, bytes] = {}  # what is written never changes

    def create(self, name: str, content: bytes) -> bool:
        path = self._records / name
        with self._alone():
            if path.exists():
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        return True

    def read(self) -> Mapping[str, bytes]:
        for name in glob.iglob("**/*", root_dir=self._records, recursive=True):  # without hidden files, which are being written
            if name not in self._known and (self._records / name).is_file():
                self._known[name] = (self._records / name).read_bytes()
        return dict(self._known)

    @contextmanager
    def at_work(self, worker: int) -> Iterator[str]:
        sign = f"{worker}-{uuid.uuid4().hex}"
        path = self._folder / f"{sign}.alive"
        with ExitStack() as held:
            with self._alone():
                held.enter_context(locked(path))
            try:
                yield sign
            finally:
                path.unlink(missing_ok=True)

    def living(self) -> set[str]:
        with self._alone():  # so that no process has made its sign without having locked it
            return {path.stem for path in self._folder.glob("*.alive") if _is_held(path)}

    def now(self) -> float:
        return time.time()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        path = self._folder / f"{name}.lock"
        with locked(path):
            try:
                yield
            finally:
                path.touch()

    def last_locked(self, name: str) -> float:
        try:
            return (self._folder / f"{name}.lock").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "lock"):
            yield


def _is_held(sign: Path) -> bool:
    """Whether the process of a sign lives. A dead one's sign is deleted."""
    try:
        with locked(sign, wait=False):
            sign.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    return False
