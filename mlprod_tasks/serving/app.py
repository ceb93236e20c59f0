"""The service as an ASGI application: reads, answers and counts requests.

openapi.py documents the interface; request_pipeline.py checks and answers requests.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform.clock import Clock
from mlprod_tasks.serving import request_metrics
from mlprod_tasks.serving.access_log import Access, AccessLog
from mlprod_tasks.serving.admission import Admission, RequestQueue
from mlprod_tasks.serving.body import (
    ANSWERED_EARLY,
    BodyTimeouts,
    Receive,
    Scope,
    declared_bytes,
    drain,
    has_arrived,
    read_body,
)
from mlprod_tasks.serving.contributions import explain_rows
from mlprod_tasks.serving.error_place import MOST_FRAMES, error_place
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.messages import (
    ClientDisconnected,
    ErrorResponse,
    Headers,
    RequestRefused,
    ReviewResponse,
    StatusResponse,
    ValidRequest,
    Verb,
)
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.openapi import document
from mlprod_tasks.serving.request_metrics import RequestMetrics, ServiceCollector
from mlprod_tasks.serving.request_pipeline import RequestPipeline, encode_json
from mlprod_tasks.serving.reviews import ReviewReader
from mlprod_tasks.serving.row_decision import RowResult
from mlprod_tasks.serving.scorer import Scorer

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

PATH = re.compile(r"/v1/pipelines/([a-z][a-z0-9_]*)(?:/(score|explain)|/(reviews)/([0-9a-f]{32}))?")
PLAIN_PATHS = ("/health", "/ready", "/openapi.json", "/metrics")
MOST_DELAYED_BYTES = 4_000
CLIENT_CLOSED = 499  # nginx's status for a client that disconnected
ROWS_AT_ONCE = 50  # rows of one request, before other requests get a turn
CLOSE = (b"connection", b"close")
JSON: Headers = ((b"content-type", b"application/json"),)
REVIEWS_COST = 1


@dataclass(frozen=True)
class Response:
    """A response: status, body, and headers without the content length."""

    status: int
    body: bytes
    headers: Headers = JSON


@dataclass
class RequestRecord:
    """What the access log and the metrics record about a request."""

    pipeline: str = ""
    kind: str = "other"
    path: str = "other"
    rows: int = 0
    key_id: str = ""
    request_id: str = ""


@dataclass
class Service:
    """The service with everything it needs.

    `keys_needed` is off only if it listens on this machine alone.
    """

    pipelines: Mapping[str, Pipeline]
    loader: ModelLoader
    scorers: Mapping[str, Scorer]
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    keys_needed: bool = True
    metrics: RequestMetrics = field(default_factory=RequestMetrics)
    access: AccessLog | None = None
    stopping: bool = False

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits.under_way)
        self.queue = RequestQueue(self.admission)
        self.requests = RequestPipeline(
            self.pipelines, self.scorers, self.loader, self.clock, self.limits, keys_needed=self.keys_needed
        )
        self.fields = {name: scorer.online.fields for name, scorer in self.scorers.items()}
        self._timeouts = BodyTimeouts(self.limits.body_seconds)
        self._reviews = ReviewReader(self.loader.platform)
        self._document = encode_json(document(self.pipelines, self.fields, self.limits))
        self._collector = ServiceCollector(self.metrics, self.admission, self.scorers, self.loader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        record = RequestRecord()
        try:
            response = await self._respond(scope, receive, record)
        except RequestRefused as refused:
            error = encode_json(ErrorResponse(refused.error, refused.problems))
            response = Response(refused.status, error, (*JSON, *refused.headers))
        except ClientDisconnected:
            self._note(record, scope["method"], CLIENT_CLOSED, began)
            return
        except Exception as error:
            log.error("%s %s failed: %s", scope["method"], record.path, error_place(error, MOST_FRAMES))
            response = Response(500, encode_json(ErrorResponse("the service failed; its log says why")))
        await _send(response, scope, receive, send)
        self._note(record, scope["method"], response.status, began)

    def answer_at_once(
        self, path: str, name: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, began: float
    ) -> bytes | None:
        """Return the body of a scoring response, the same as by `__call__`.

        None if that needs waiting or a refusal.
        If None, nothing was counted or charged, and `__call__` has to answer.
        """
        steps = self.requests
        record = RequestRecord(name, "score", path)
        try:
            record.key_id = steps.authorize(headers, name)
            steps.check_ready(name)
            steps.check_encoding(headers)
            decoded = steps.decode(body, "score")
            if len(decoded.rows) > ROWS_AT_ONCE:
                return None
            request = steps.validate(decoded, name, "score", record.key_id, len(body))
            working = time.perf_counter()
            features = self.scorers[name].features_at_hand(request.rows, request.moment)
            if features is None:
                return None
            steps.charge(request)
        except RequestRefused:
            return None
        try:
            answer = steps.encode(request, steps.score(request, features, working))
        except BaseException:
            steps.refund(request)
            raise
        record.rows, record.request_id = len(request.rows), request.request_id
        self._note(record, "POST", 200, began)
        return answer

    def client_gone(self, path: str, name: str, began: float) -> None:
        """Count a scoring request whose client disconnected before the answer."""
        self._note(RequestRecord(name, "score", path), "POST", CLIENT_CLOSED, began)

    async def _respond(self, scope: Scope, receive: Receive, record: RequestRecord) -> Response:
        path, method = scope["path"], scope["method"]
        if path in PLAIN_PATHS:
            record.path = path
            _check_method(method, "GET", "HEAD")
            return self._plain(path)
        match = PATH.fullmatch(path)
        if match is None:
            raise RequestRefused(404, f"unknown path {path[:100]!r}; /openapi.json lists the paths")
        name, verb, request_id = match[1], match[2] or match[3] or "", match[4]
        if name in self.pipelines:
            record.pipeline, record.path = name, f"/v1/pipelines/{name}{f'/{verb}' if verb else ''}"
        record.kind = verb or "fields"
        record.key_id = self.requests.authorize(scope["headers"], name)
        if name not in self.pipelines:
            raise RequestRefused(404, f"this service does not serve a use case {name!r}")
        if verb in ("score", "explain"):
            _check_method(method, "POST")
            return await self._post(name, cast(Verb, verb), scope, receive, record)
        _check_method(method, "GET")
        if verb == "reviews":
            return await self._read_reviews(name, request_id, record.key_id)
        return Response(200, encode_json(self.fields[name].json_schema()))

    def _plain(self, path: str) -> Response:
        match path:
            case "/health":
                return Response(200, encode_json(StatusResponse("alive")))
            case "/ready":
                return self._ready()
            case "/metrics":
                text = request_metrics.exposition(self._collector)
                return Response(200, text, ((b"content-type", request_metrics.CONTENT_TYPE.encode()),))
        return Response(200, self._document)

    def _ready(self) -> Response:
        """Ready once every use case has a model or a fallback, and until the replica stops."""
        loaded = self.loader.loaded.items()
        lacking = [name for name, one in loaded if not one.ledger_read or (one.champion is None and one.fallback is None)]
        if self.keys_needed and self.loader.keys is None:
            lacking.append("API keys")
        if self.stopping:
            return Response(503, encode_json(StatusResponse("stopping", lacking)))
        if lacking:
            return Response(503, encode_json(StatusResponse("not ready", lacking)))
        return Response(200, encode_json(StatusResponse("ready")))

    async def _post(self, name: str, verb: Verb, scope: Scope, receive: Receive, record: RequestRecord) -> Response:
        steps = self.requests
        steps.check_ready(name)
        steps.check_encoding(scope["headers"])
        await self._enter(scope)
        try:
            await asyncio.sleep(0)  # first count, or refuse, the other requests that have arrived
            body = await read_body(scope, receive, self.limits.body_bytes, self._timeouts)
            decoded = steps.decode(body, verb)
            record.rows = len(decoded.rows)
            request = steps.validate(decoded, name, verb, record.key_id, len(body))
            record.request_id = request.request_id
            steps.charge(request)
            try:
                answer = await (self._score(request) if verb == "score" else self._explain(request))
            except BaseException:
                steps.refund(request)
                raise
            return Response(200, answer)
        finally:
            self.admission.leave()

    async def _enter(self, scope: Scope) -> None:
        """Count the request as under way. Raises: RequestRefused (503) if there are too many."""
        if self.admission.enter():
            return
        # Refuse late, because a client that retries at once costs as much as an answer; but do not keep a large body in memory.
        if declared_bytes(scope) <= MOST_DELAYED_BYTES:
            await self.admission.delay_refusal()
        raise RequestRefused(503, "too many requests are under way", headers=((b"retry-after", b"1"),))

    async def _score(self, request: ValidRequest) -> bytes:
        scorer, results = self.scorers[request.pipeline], list[RowResult]()
        for first in range(0, len(request.rows), ROWS_AT_ONCE):
            if first:
                await asyncio.sleep(0)  # other requests get a turn
            began = time.perf_counter()
            features = await scorer.features(request.rows[first : first + ROWS_AT_ONCE], request.moment)
            results += self.requests.score(request, features, began, first)
        return self.requests.encode(request, results)

    async def _explain(self, request: ValidRequest) -> bytes:
        rows = await explain_rows(self.scorers[request.pipeline], request)
        response = self.scorers[request.pipeline].answers.explain_response
        return encode_json(response(request.request_id, request.pipeline, request.moment, rows))

    async def _read_reviews(self, name: str, request_id: str, key_id: str) -> Response:
        self._reviews.check_free()
        self.requests.rates.take(key_id, REVIEWS_COST)
        try:
            rows = await self._reviews.read(name, request_id)
        except BaseException:
            self.requests.rates.give_back(key_id, REVIEWS_COST)
            raise
        if not rows:  # this took a ledger query too, so the cost is not refunded
            raise RequestRefused(404, "no row of this request is left to people, or its log is not collected yet")
        return Response(200, encode_json(ReviewResponse(request_id, name, rows)))

    def _note(self, record: RequestRecord, method: str, status: int, began: float) -> None:
        """Count a request and write it to the access log."""
        seconds = time.perf_counter() - began
        self.metrics.count(record.pipeline, record.kind, status, seconds)
        if self.access is not None:
            # Without the body and the key values: both may be about a person.
            at, ms = datetime.now(UTC), round(1000 * seconds, 3)
            self.access.add(Access(at, method, record.path, status, ms, record.rows, record.key_id, record.request_id))


async def _send(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response. If the request's body is still to come, the connection ends: it could be taken for the next request."""
    arrived = has_arrived(scope)
    if not arrived:
        scope[ANSWERED_EARLY] = True
    length = (b"content-length", str(len(response.body)).encode())
    headers = [length, *response.headers, *(() if arrived else (CLOSE,))]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body, "more_body": not arrived})
    if not arrived:
        await drain(receive)
        await send({"type": "http.response.body", "body": b""})


def _check_method(given: str, *allowed: str) -> None:
    if given not in allowed:
        raise RequestRefused(405, f"use {allowed[0]}", headers=((b"allow", ", ".join(allowed).encode()),))
