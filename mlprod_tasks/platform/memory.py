"""How much memory a process may still take, and a refusal before it would be too much."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


class NotEnoughMemory(MemoryError):
    """A step would need more memory than is available."""


def available() -> int | None:
    """Return the bytes that the machine and the container still have; None if the system does not say."""
    found = [free for free in (_of_machine(), _of_container()) if free is not None]
    return min(found, default=None)


def require(needed: int, what: str, remedy: str) -> None:
    """Refuse a step that needs more bytes than are available. Raises: NotEnoughMemory."""
    free = available()
    if free is not None and needed > free:
        raise NotEnoughMemory(f"{what} needs about {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free: {remedy}")


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _of_container() -> int | None:
    """The limit of the control group less what it uses; files that are cached can be dropped, so they do not count."""
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((CGROUP / "memory.current").read_text(encoding="utf-8"))
        lines = (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError):  # no limit is the word 'max'
        return None
    return max(0, limit - used + cached)
