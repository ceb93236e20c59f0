"""The access log: one JSON line per request, without its content."""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import datetime
from typing import TextIO

import msgspec

log = logging.getLogger(__name__)
SECONDS = 0.5
MOST = 200_000
AT_ONCE = 1_000  # lines
_encode = msgspec.json.Encoder().encode


class Access(msgspec.Struct):
    """One request.

    path: one of the service's paths, or 'other': an unknown path may name a person. key: the API key's id.
    """

    at: datetime
    method: str
    path: str
    status: int
    ms: float
    rows: int
    key: str
    request: str


class AccessLog:
    """Writes lines to a stream in a background thread.

    If the reader hangs, no request waits; the oldest lines are lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=MOST)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, access: Access) -> None:
        # Encoded here, which takes a microsecond: the thread would block the interpreter, and so the answers, for longer.
        self._waiting.append(_encode(access))

    def close(self) -> None:
        """Write the remaining lines and stop."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
            try:
                self._stream.write(b"\n".join((*lines, b"")).decode())
                self._stream.flush()
            except (OSError, ValueError) as error:
                log.error("%d lines of the access log are lost: %s", len(lines), error)
