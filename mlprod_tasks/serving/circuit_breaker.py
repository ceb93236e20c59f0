"""A circuit breaker: what fails again and again is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class CircuitBreaker:
    """Opens after `failures` in a row, for `rest` seconds; after them one try decides."""

    failures: int = 5
    rest: float = 5.0
    now: Callable[[], float] = time.monotonic
    _in_a_row: int = 0
    _until: float = 0.0

    @property
    def open(self) -> bool:
        """Whether not to try now."""
        return self._in_a_row >= self.failures and self.now() < self._until

    def succeeded(self) -> None:
        """Note a success: it closes."""
        self._in_a_row = 0

    def failed(self) -> None:
        """Note a failure."""
        self._in_a_row += 1
        if self._in_a_row >= self.failures:
            self._until = self.now() + self.rest
