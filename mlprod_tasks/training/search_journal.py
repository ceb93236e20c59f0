"""A file that several processes write trials to, and a lock that a killed one does not keep."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class Journal(JournalFileBackend):
    """Optuna's journal file, whose lock outlives no process.

    The lock that comes with it is a file: left by a killed writer it holds all others up for half a minute, and the half line
    that such a writer may leave makes the journal unreadable once another is put behind it.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        path = Path(self._file_path)
        with locked(path.with_name(f"{path.name}.flock")), path.open("r+b") as journal:
            end = journal.seek(0, os.SEEK_END)
            whole = end
            while whole and _byte(journal, whole - 1) != b"\n":
                whole -= 1
            if whole < end:
                journal.truncate(whole)
            journal.seek(whole)
            journal.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
            journal.flush()
            os.fsync(journal.fileno())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, which the system takes back from a process that dies."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _byte(file: Any, at: int) -> bytes:
    file.seek(at)
    return bytes(file.read(1))
