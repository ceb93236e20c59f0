"""The page's JSON about incidents: alarms of several use cases that have one cause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IncidentRow:
    """An incident that a use case shares with others. cause: the broken columns in words; alarms: of all, (use case, rule)."""

    cause: str
    alarms: tuple[tuple[str, str], ...]
