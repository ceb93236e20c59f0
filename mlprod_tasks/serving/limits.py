"""What keeps the service on its feet: a rate for each key, a bound on what is under way, a breaker before what fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DAMPED_SECONDS = 1.0
MOST_DAMPED = 4_000
TURNS = 4  # requests, or half of those that wait, that are answered before others are looked for and answers sent
log = logging.getLogger(__name__)

Seconds = Callable[[], float]


@dataclass
class TokenBucket:
    """At most `rate` rows a second on average, `burst` at once."""

    rate: float
    burst: float
    now: Seconds = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, self.now()

    def take(self, n: float) -> float:
        """Take n; 0.0 where they were there, else the seconds after which they will be. What is refused takes nothing.

        More than `burst` at once waits for a full bucket: it is then served and paid for later.
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
        """Put back what was taken for a request that came to nothing."""
        self._left = min(self.burst, self._left + n)


@dataclass
class Admission:
    """How many requests may be under way: one more is refused at once rather than answered late."""

    most: int
    under_way: int = 0
    refused: int = 0
    damped_now: int = 0

    def enter(self) -> bool:
        if self.under_way >= self.most:
            self.refused += 1
            return False
        self.under_way += 1
        return True

    def leave(self) -> None:
        self.under_way -= 1

    async def damped(self) -> None:
        """Wait before a refusal is told, where not too many wait so already."""
        if self.damped_now >= MOST_DAMPED:
            return
        self.damped_now += 1
        try:
            await asyncio.sleep(DAMPED_SECONDS)
        finally:
            self.damped_now -= 1


class Turns:
    """Who waits to be answered at once: first come, first served, and under way from the moment of arrival."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: deque[Callable[[], None]] = deque()
        self._coming = False

    def take(self, answer: Callable[[], None], loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `answer` will be called in its turn: not where too much is under way."""
        if not self._admission.enter():
            return False
        self._waiting.append(answer)
        if not self._coming:
            self._coming = True
            loop.call_soon(self._next, loop)
        return True

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(max(TURNS, len(self._waiting) // 2), len(self._waiting))):
            self._admission.leave()
            try:
                self._waiting.popleft()()
            except Exception:
                log.exception("a request failed")
        self._coming = bool(self._waiting)
        if self._coming:
            loop.call_soon(self._next, loop)


@dataclass
class Breaker:
    """After `failures` in a row, `rest` seconds without trying; then one try decides."""

    failures: int = 5
    rest: float = 5.0
    now: Seconds = time.monotonic
    _in_a_row: int = 0
    _until: float = 0.0

    @property
    def open(self) -> bool:
        """Whether not to try now."""
        return self._in_a_row >= self.failures and self.now() < self._until

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self.failures:
            self._until = self.now() + self.rest


class Patience:
    """How long tasks may wait for something: about `seconds`, then they are cancelled. One timer for all, not one for each."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # that has a timer running

    def begin(self) -> None:
        """The current task begins to wait."""
        loop = asyncio.get_running_loop()
        self._since[_this_task()] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self.seconds / 4, self._look, loop)

    def lost(self) -> bool:
        """Whether it is for this that the current task was cancelled; it then goes on."""
        task = _this_task()
        if task not in self._late:
            return False
        task.uncancel()
        return True

    def end(self) -> None:
        """The current task waits no more."""
        task = _this_task()
        del self._since[task]
        self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = None
        now = loop.time()
        for task, since in self._since.items():
            if now - since >= self.seconds and task not in self._late:
                self._late.add(task)
                task.cancel()
        if self._since:
            self._loop = loop
            loop.call_later(self.seconds / 4, self._look, loop)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
