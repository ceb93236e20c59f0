"""Limit the requests under way, and queue those that the fast path answers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mlprod_tasks.serving.error_place import MOST_FRAMES, error_place

log = logging.getLogger(__name__)
DELAY_SECONDS = 1.0
MOST_DELAYED = 4_000
# At least this many, or half of the queue, are answered before the event loop accepts more and sends answers.
ANSWERED_IN_A_ROW = 4


@dataclass
class Admission:
    """Counts the requests under way.

    Above `most`, a request is refused at once rather than answered late.
    """

    most: int
    under_way: int = 0
    refused: int = 0
    delayed_now: int = 0

    def enter(self) -> bool:
        """Count one more request as under way; return False if there are too many."""
        if self.under_way >= self.most:
            self.refused += 1
            return False
        self.under_way += 1
        return True

    def leave(self) -> None:
        """Count a request as finished."""
        self.under_way -= 1

    async def delay_refusal(self) -> None:
        """Wait before sending a refusal, to slow down clients that retry at once.

        No wait if too many already wait.
        """
        if self.delayed_now >= MOST_DELAYED:
            return
        self.delayed_now += 1
        try:
            await asyncio.sleep(DELAY_SECONDS)
        finally:
            self.delayed_now -= 1


class RequestQueue:
    """Requests of the fast path, answered first come, first served.

    Each counts as under way from its arrival.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, answer: Callable[[], None], loop: asyncio.AbstractEventLoop) -> bool:
        """Queue `answer` to be called in its turn.

        Return False if too many requests are under way.
        """
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
            except Exception as error:
                log.error("a request failed: %s", error_place(error, MOST_FRAMES))
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            loop.call_soon(self._answer_some, loop)
