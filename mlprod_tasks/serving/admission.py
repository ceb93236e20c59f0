"""How many requests are under way at the same time, and in which order those wait that are answered in one go."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)
DELAY_SECONDS = 1.0
MOST_DELAYED = 4_000
# So many, or half of those that wait, are answered before the event loop looks for others and sends answers.
ANSWERED_IN_A_ROW = 4


@dataclass
class Admission:
    """Counts the requests that are under way: one more than `most` is refused at once rather than answered late."""

    most: int
    under_way: int = 0
    refused: int = 0
    delayed_now: int = 0

    def enter(self) -> bool:
        """Count one more request as under way, and return whether there was a place for it."""
        if self.under_way >= self.most:
            self.refused += 1
            return False
        self.under_way += 1
        return True

    def leave(self) -> None:
        """Give the place of a request back."""
        self.under_way -= 1

    async def delay_refusal(self) -> None:
        """Wait before a refusal is sent, unless too many wait so already: who asks again at once is then slowed down."""
        if self.delayed_now >= MOST_DELAYED:
            return
        self.delayed_now += 1
        try:
            await asyncio.sleep(DELAY_SECONDS)
        finally:
            self.delayed_now -= 1


class RequestQueue:
    """Requests that are answered in one go, first come, first served. Each is under way from the moment of its arrival."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, answer: Callable[[], None], loop: asyncio.AbstractEventLoop) -> bool:
        """Have `answer` called in its turn, and return whether it will be: not if too many requests are under way."""
        if not self._admission.enter():
            return False
        self._waiting.append(answer)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._answer_some, loop)
        return True

    def _answer_some(self, loop: asyncio.AbstractEventLoop) -> None:
        count = min(max(ANSWERED_IN_A_ROW, len(self._waiting) // 2), len(self._waiting))
        for _ in range(count):
            self._admission.leave()
            answer = self._waiting.popleft()
            try:
                answer()
            except Exception:
                log.exception("a request failed")
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            loop.call_soon(self._answer_some, loop)
