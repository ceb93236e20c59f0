"""Moments at which a step can be killed: what it does to files, databases and servers, counted in the step's own process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock", "sqlite3.connect", "socket.connect"}


class Moments:
    """Counts moments: a file opened to be written, renamed or removed, a lock, a connection, a statement that writes, a commit,
    the begin and the end of a write to the lake.

    What happens at a moment is up to `on`, which gets its number, from 1 on.
    """

    def __init__(self, on: Callable[[int], None]) -> None:
        self._on, self._count, self._counting = on, 0, False

    def begin(self) -> None:
        """Count from now on, until the process ends."""
        from sqlalchemy import Engine, event

        from mlprod_tasks.platform import lake

        sys.addaudithook(self._audited)
        for name in ("commit", "before_cursor_execute"):
            event.listen(Engine, name, self._in_database)
        vars(lake)["write_deltalake"] = self._around(vars(lake)["write_deltalake"])
        self._counting = True

    def _audited(self, name: str, given: tuple[Any, ...]) -> None:
        if not self._counting:
            return
        if name in CHANGES or (name == "open" and len(given) > 2 and isinstance(given[2], int) and given[2] & WRITES):
            self._moment()

    def _in_database(self, *given: Any) -> None:
        if len(given) == 1 or not str(given[2]).lstrip().upper().startswith(("SELECT", "PRAGMA", "SHOW")):
            self._moment()

    def _around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self._moment()
            try:
                return write(*given, **named)
            finally:
                self._moment()

        return counted

    def _moment(self) -> None:
        self._counting = False  # what `on` does is no moment
        self._count += 1
        self._on(self._count)
        self._counting = True


class Recorded:
    """When each moment was, in seconds after the begin."""

    def __init__(self) -> None:
        self.began, self.at = time.monotonic(), list[float]()

    def __call__(self, number: int) -> None:
        self.at.append(time.monotonic() - self.began)
