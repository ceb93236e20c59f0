"""Optuna's journal file, safe for several processes, any of which may be killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from mlprod_tasks.platform.files import locked


class Journal(JournalFileBackend):
    """Optuna's journal file, with a lock that the system frees when its process ends.

    Optuna's own lock is a file: if a killed writer leaves it, all others wait for half a minute, and an incomplete last line
    makes the journal unreadable once another line follows. So an incomplete last line is removed first.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        path = Path(self._file_path)
        with locked(path.with_name(f"{path.name}.flock")), path.open("r+b") as journal:
            end = journal.seek(0, os.SEEK_END)
            end_of_line = end
            while end_of_line and _byte(journal, end_of_line - 1) != b"\n":
                end_of_line -= 1
            if end_of_line < end:
                journal.truncate(end_of_line)
            journal.seek(end_of_line)
            journal.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
            journal.flush()
            os.fsync(journal.fileno())


def _byte(file: Any, at: int) -> bytes:
    file.seek(at)
    return bytes(file.read(1))
