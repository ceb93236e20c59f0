"""How many threads a process uses: one a core, unless it has a share of its machine."""

from __future__ import annotations

import os

_limit: int | None = None


def threads_here() -> int:
    """How many threads a computation of this process uses: one a core, unless `limit_threads` was called."""
    return _limit or os.cpu_count() or 1


def limit_threads(most: int) -> None:
    """Use at most so many threads from now on: this process has a share of its machine."""
    global _limit
    _limit = most


def limit_here() -> int | None:
    """The limit of this process, if it has one."""
    return _limit
