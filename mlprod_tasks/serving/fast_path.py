"""The short way of a request: rows to score that came whole are answered without a task, in one write."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mlprod_tasks.serving.app import Service

log = logging.getLogger(__name__)
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Whole(NamedTuple):
    """A request to score that came whole: its path, its use case."""

    path: str
    pipeline: str
    body: bytes
    began: float


class Direct(HttpToolsProtocol):
    """uvicorn's protocol with a short way.

    It saves a task, an event and messages for each request, and a write for the head of its answer. What the short way cannot
    answer (a body in several parts, another path, a wrong field, a store that is to be waited for, too much under way) goes
    uvicorn's own way, untouched.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        assert isinstance(self.config.app, Service)
        self.service: Service = self.config.app
        self._path: tuple[str, str] | None = None  # of a request that may take the short way: path, use case
        self._parts: list[bytes] = []
        self._whole: Whole | None = None  # waits for its turn

    def on_message_begin(self) -> None:
        if self._whole is not None:
            self._answer()  # in the order in which they were asked
            self._unset_keepalive_if_required()  # the connection is not idle
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        path = self.service.scoring.get(self.url)
        if path is not None and self.parser.get_method() == b"POST" and self._is_plain():
            self._path, self._parts = path, []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._path is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._path is None:
            super().on_message_complete()
            return
        self._whole = Whole(*self._path, b"".join(self._parts), time.perf_counter())
        if not self.service.turns.take(self._answer, self.loop):
            self._the_long_way(self._whole.body, more=False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._path is not None and self._whole is None and not self.transport.is_closing():
            self._the_long_way(b"".join(self._parts), more=True)

    def shutdown(self) -> None:
        self._answer()
        super().shutdown()

    def _is_plain(self) -> bool:
        return (
            self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self.pipeline
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _answer(self) -> None:
        if self._whole is None:
            return
        whole = self._whole
        if self.transport.is_closing():
            self.service.gone(whole.path, whole.pipeline, whole.began)
            self._whole = self._path = None
            return
        try:
            made = self.service.at_once(whole.path, whole.pipeline, self.headers, whole.body, whole.began)
        except Exception:
            log.exception("%s: the short way failed", whole.path)
            made = None
        if made is None:
            self._the_long_way(whole.body, more=False)
            return
        self._whole = self._path = None
        self.transport.write(OK % len(made) + made)
        self.on_response_complete()

    def _the_long_way(self, body: bytes, *, more: bool) -> None:
        """As uvicorn would have begun when the head of the request was there."""
        assert self._path is not None
        path, raw = self._path[0], self.url
        self._whole = self._path = None
        self.scope |= {"method": "POST", "path": path, "raw_path": raw, "query_string": b""}  # type: ignore[typeddict-item]
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)
        if body:
            super().on_body(body)
        if not more:
            self.cycle.more_body = False
            self.cycle.message_event.set()
