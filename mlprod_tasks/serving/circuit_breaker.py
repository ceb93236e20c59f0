"""A circuit breaker: stop calling what keeps failing, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class CircuitBreaker:
    """Opens after `failures` in a row, for `rest` seconds.

    Then a success closes it, a failure opens it again.
    """

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
        """Record a success, which closes it."""
        self._in_a_row = 0

    def failed(self) -> None:
        """Record a failure."""
        self._in_a_row += 1
        if self._in_a_row >= self.failures:
            self._until = self.now() + self.rest
