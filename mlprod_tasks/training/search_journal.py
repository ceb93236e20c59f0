"""Optuna's journal: a file that several processes write trials to, whoever of them is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from mlprod_tasks.platform.files import locked


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


def _byte(file: Any, at: int) -> bytes:
    file.seek(at)
    return bytes(file.read(1))
