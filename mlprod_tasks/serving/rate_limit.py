"""Limit the rows per second of each API key with token buckets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mlprod_tasks.serving.messages import RequestRefused

Seconds = Callable[[], float]


@dataclass
class TokenBucket:
    """Allows `rate` rows per second on average, and `burst` at once."""

    rate: float
    burst: float
    now: Seconds = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, self.now()

    def take(self, n: float) -> float:
        """Take n tokens and return 0.0.

        If there are too few, take none and return the seconds to wait.
        A request for more than `burst` needs a full bucket. It then leaves the bucket below zero, and later requests wait.
        """
        now = self.now()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        needed = min(n, self.burst)
        if self._left < needed:
            return (needed - self._left) / self.rate
        self._left -= n
        return 0.0

    def give_back(self, n: float) -> None:
        """Put back n tokens, of a request that was refused after all."""
        self._left = min(self.burst, self._left + n)


class KeyRates:
    """A token bucket for each API key."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, key_id: str, tokens: int) -> None:
        """Take the tokens of a request.

        Raises: RequestRefused (429) with the seconds to wait.
        """
        bucket = self._buckets.get(key_id)
        if bucket is None:
            bucket = self._buckets[key_id] = TokenBucket(self._rate, self._burst)
        wait = bucket.take(tokens)
        if wait:
            seconds = str(int(wait) + 1).encode()
            raise RequestRefused(429, "too many rows for this key", headers=((b"retry-after", seconds),))

    def give_back(self, key_id: str, tokens: int) -> None:
        """Put back the tokens of a request that was refused after all."""
        self._buckets[key_id].give_back(tokens)
