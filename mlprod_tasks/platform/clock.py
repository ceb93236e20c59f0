"""The current time, passed in so that a test can set it."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Something that gives the current time."""

    def now(self) -> datetime: ...


class WallClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
