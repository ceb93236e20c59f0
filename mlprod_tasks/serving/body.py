"""Read the body of a request, within a limit of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from mlprod_tasks.serving.messages import ClientDisconnected, RequestRefused

ARRIVED = "mlprod.body_arrived"  # in a request's scope: whether its body has arrived whole
ANSWERED_EARLY = "mlprod.answered_early"  # in a request's scope: it was answered before its body had arrived
DRAINED_BYTES = 10_000_000
DRAIN_SECONDS = 2.0
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


def declared_bytes(scope: Scope) -> int:
    """Return the body length in the request's header; 0 if there is none."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


async def read_body(scope: Scope, receive: Receive, most_bytes: int, timeouts: BodyTimeouts) -> bytes:
    """Read the whole body.

    Raises: RequestRefused if it is too long (413) or too slow (408); ClientDisconnected.
    """
    declared = declared_bytes(scope)
    if declared > most_bytes:
        raise RequestRefused(413, f"the body has {declared:,} bytes; at most {most_bytes:,}")
    timeouts.begin()  # a slow client must not block a place forever
    try:
        return await _parts(receive, most_bytes)
    except asyncio.CancelledError:
        if not timeouts.expired():
            raise
        raise RequestRefused(408, f"the body did not arrive within {timeouts.seconds:g} seconds") from None
    finally:
        timeouts.end()


def has_arrived(scope: Scope) -> bool:
    """Whether nothing of the body is still to come, so that the connection can take the next request."""
    return bool(scope.get(ARRIVED, True))


async def drain(receive: Receive) -> None:
    """Drop what still comes of the body of an answered request, within bounds of bytes and time.

    A connection that is closed while the client is still sending is reset, and the client may then lose the answer.
    """
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while size < DRAINED_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                size += len(message.get("body", b""))


async def _parts(receive: Receive, most_bytes: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise RequestRefused(413, f"the body has more than {most_bytes:,} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


class BodyTimeouts:
    """Cancels tasks that wait for a body longer than about `seconds`.

    One timer for all is cheaper than one each.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop whose timer is running

    def begin(self) -> None:
        """Start the timeout of the current task."""
        loop = asyncio.get_running_loop()
        self._since[_current_task()] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self.seconds / 4, self._look, loop)

    def expired(self) -> bool:
        """Whether the current task was cancelled by its timeout.

        If so, undo the cancellation.
        """
        task = _current_task()
        if task not in self._expired:
            return False
        task.uncancel()
        return True

    def end(self) -> None:
        """End the timeout of the current task."""
        task = _current_task()
        del self._since[task]
        self._expired.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = None
        now = loop.time()
        for task, since in self._since.items():
            if now - since >= self.seconds and task not in self._expired:
                self._expired.add(task)
                task.cancel()
        if self._since:
            self._loop = loop
            loop.call_later(self.seconds / 4, self._look, loop)


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
