"""The body of a request: as long as it may be, within the time that it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mlprod_tasks.serving.limits import Patience
from mlprod_tasks.serving.messages import ClientGone, Refused

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


def declared_bytes(scope: Scope) -> int:
    """The length that a body is said to have; 0 where it is not said."""
    told = next((value for header, value in scope["headers"] if header == b"content-length"), b"")
    return int(told) if told.isdigit() and len(told) < 20 else 0


async def read_body(scope: Scope, receive: Receive, most: int, patience: Patience) -> bytes:
    """The whole body. Raises: Refused where it is longer than `most` bytes or comes too slowly; ClientGone."""
    if (declared := declared_bytes(scope)) > most:
        raise Refused(413, f"the body has {declared:,} bytes; at most {most:,}")
    parts, size = [], 0
    patience.begin()  # a slow sender must not hold its place forever
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise Refused(413, f"the body has more than {most:,} bytes")
            if not message.get("more_body"):
                return b"".join(parts)
    except asyncio.CancelledError:
        if not patience.lost():
            raise
        raise Refused(408, f"the body did not come within {patience.seconds:g} seconds") from None
    finally:
        patience.end()
