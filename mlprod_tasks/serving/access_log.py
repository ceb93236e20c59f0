"""The access log: one line of JSON a request, without what was asked or answered, written beside the answers."""

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
    """One request. path: one that the service has, or 'other', since that may be about a person; key: an API key's id."""

    at: datetime
    method: str
    path: str
    status: int
    ms: float
    rows: int
    key: str
    request: str


class AccessLog:
    """Lines to a stream, from a thread of its own: a reader that hangs keeps nobody waiting, and loses the oldest lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=MOST)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, access: Access) -> None:
        # Encoded here, in a microsecond: the thread would take the interpreter for longer from those who answer.
        self._waiting.append(_encode(access))

    def close(self) -> None:
        """Write what is left, and stop."""
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
