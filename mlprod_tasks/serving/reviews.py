"""Read from the ledger what people decided on the rows of a request."""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.serving.messages import RETRY_LATER, RequestRefused, ReviewedRow

log = logging.getLogger(__name__)
LEDGER_SECONDS = 2.0
MOST_READING = 20


class ReviewReader:
    """Reads reviews in a separate thread: features must never wait for the ledger."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        self._reading = 0

    def check_free(self) -> None:
        """Raise RequestRefused (503) if too many reads are under way."""
        if self._reading >= MOST_READING:
            raise RequestRefused(503, "too many requests for reviews are under way", headers=RETRY_LATER)

    async def read(self, pipeline: str, request_id: str) -> list[ReviewedRow]:
        """Return the rows of a request that people decide; may be empty.

        Raises: RequestRefused (503).
        """
        read = functools.partial(self._platform.ledger.all, Review, pipeline=pipeline, request_id=request_id)
        self._reading += 1
        reading = asyncio.get_running_loop().run_in_executor(self._thread, read)
        reading.add_done_callback(self._done)
        try:
            reviews = await asyncio.wait_for(asyncio.shield(reading), LEDGER_SECONDS)
        except Exception as error:
            log.error("%s: reviews cannot be read: %s", pipeline, type(error).__name__)
            raise RequestRefused(503, "the reviews cannot be read now", headers=RETRY_LATER) from None
        return [
            ReviewedRow(
                one.row, one.key, one.score, one.decision, one.reason, one.decided_at, one.prediction, one.decided_class
            )
            for one in reviews
        ]

    def _done(self, reading: asyncio.Future[Any]) -> None:
        self._reading -= 1
        if not reading.cancelled():
            reading.exception()  # else asyncio warns that the exception was never retrieved
