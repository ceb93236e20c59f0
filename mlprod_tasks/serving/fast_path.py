"""The fast path: answer complete scoring requests in one write, without a task.

It uses uvicorn's internals, so pyproject.toml limits uvicorn to the versions it was tested with. `mlprod serve
--no-fast-path`, or MLPROD_SERVE_FAST_PATH=0, serves without it: the answers are the same.

Saved per request: an asyncio task, an event, the ASGI messages and a second write. With it a replica answered 1.36 times as
many requests a second at 32 connections (median of five turns on two cores, 1.10 to 1.85; see `python -m benchmarks.serving`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.error_place import MOST_FRAMES, error_place
from mlprod_tasks.serving.protocol import ServiceProtocol

log = logging.getLogger(__name__)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ScorePath:
    """The scoring path of a use case."""

    path: str
    pipeline: str


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """A scoring request whose body has arrived completely."""

    target: ScorePath
    body: bytes
    began: float


class FastPathProtocol(ServiceProtocol):
    """uvicorn's protocol with a fast path.

    What it cannot answer goes through uvicorn as usual: a body in several parts, another path, a wrong field, features that
    need waiting, too many requests under way.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        assert isinstance(self.config.app, Service)
        self.service: Service = self.config.app
        self._score_paths = {
            f"/v1/pipelines/{name}/score".encode(): ScorePath(f"/v1/pipelines/{name}/score", name)
            for name in self.service.pipelines
        }
        self._target: ScorePath | None = None  # set while a request may take the fast path
        self._parts: list[bytes] = []
        self._complete: CompleteRequest | None = None  # waits for its turn

    def on_message_begin(self) -> None:
        if self._complete is not None:
            self._answer()  # in the order of the requests
            self._unset_keepalive_if_required()  # the connection is not idle
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        target = self._score_paths.get(self.url)
        if target is not None and self.parser.get_method() == b"POST" and self._is_plain():
            self._in_body = True
            self._target, self._parts = target, []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._target is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._target is None:
            super().on_message_complete()
            return
        self._note_arrived(True)
        self._complete = CompleteRequest(self._target, b"".join(self._parts), time.perf_counter())
        if not self.service.queue.add(self._answer, self.loop):
            self._hand_over(self._complete.body, more=False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._target is not None and self._complete is None and not self.transport.is_closing():
            self._hand_over(b"".join(self._parts), more=True)

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
        complete = self._complete
        if complete is None:
            return
        path, name = complete.target.path, complete.target.pipeline
        if self.transport.is_closing():
            self.service.client_gone(path, name, complete.began)
            self._complete = self._target = None
            return
        try:
            body = self.service.answer_at_once(path, name, self.headers, complete.body, complete.began)
        except Exception as error:
            log.error("%s: the fast path failed: %s", path, error_place(error, MOST_FRAMES))
            body = None
        if body is None:
            self._hand_over(complete.body, more=False)
            return
        self._complete = self._target = None
        self.transport.write(HEAD % len(body) + body)
        self.on_response_complete()

    def _hand_over(self, body: bytes, *, more: bool) -> None:
        """Hand the request to uvicorn, as if it had handled it from its headers on."""
        assert self._target is not None
        path, raw = self._target.path, self.url
        self._complete = self._target = None
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
