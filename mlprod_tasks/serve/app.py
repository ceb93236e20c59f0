"""The service's HTTP face: an ASGI application that reads, checks, answers and counts. See openapi.py for what it speaks."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.inputs import ModelInputError
from mlprod_tasks.online import RequestFields
from mlprod_tasks.online.expressions import ExpressionFailed
from mlprod_tasks.platform.clock import Clock
from mlprod_tasks.serve.answer import Answer, Scorer
from mlprod_tasks.serve.contributions import explained
from mlprod_tasks.serve.limits import Admission, TokenBucket
from mlprod_tasks.serve.openapi import document
from mlprod_tasks.serve.seen import Seen
from mlprod_tasks.serve.shelf import Shelf

access = logging.getLogger("mlprod.access")
log = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

PATH = re.compile(r"/v1/pipelines/([a-z][a-z0-9_]*)(?:/(score|explain))?")
AHEAD = timedelta(seconds=5)  # clocks differ
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
AT_ONCE = 50  # rows of a request before others have their turn
MOST_EXPLAINED = 20
JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request: rows by their fields, and the moment as of which they are scored, now where it is left out."""

    rows: list[dict[str, Any]]
    moment: datetime | None = None


class Answered(msgspec.Struct):
    """The body of an answer, rows in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[Answer]


class Refused(Exception):
    """A request that is not answered: status, what is wrong, and headers such as Retry-After."""

    def __init__(self, status: int, error: str, problems: Any = None, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(error)
        self.status, self.error, self.problems, self.headers = status, error, problems, headers


@dataclass(frozen=True)
class Limits:
    """Of one replica. rows_a_second is each key's; burst rows may come at once."""

    body_bytes: int = 1_000_000
    rows: int = 1_000
    under_way: int = 256
    rows_a_second: float = 5_000.0
    burst: float = 10_000.0
    body_seconds: float = 10.0


@dataclass
class Service:
    """Everything that answers, and what it has seen. `keys_needed` is off only where nobody but this machine can ask."""

    pipelines: Mapping[str, Pipeline]
    shelf: Shelf
    scorers: Mapping[str, Scorer]
    fields: Mapping[str, RequestFields]
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    keys_needed: bool = True
    seen: Seen = field(default_factory=Seen)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits.under_way)
        self._decoder = msgspec.json.Decoder(Asked)
        self._buckets: dict[str, TokenBucket] = {}
        self._document = _encode(document(self.pipelines, self.fields, self.limits))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        told, status, body = Told(), 500, b""
        headers: tuple[tuple[bytes, bytes], ...] = ()
        try:
            status, headers, body = await self._answer(scope, receive, told)
        except Refused as refused:
            status, headers = refused.status, refused.headers
            problems = {} if refused.problems is None else {"problems": refused.problems}
            body = _encode({"error": refused.error, **problems})
        except ClientGone:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            body = _encode({"error": "the service failed; its log says why"})
        start = {"type": "http.response.start", "status": status, "headers": [JSON, _length(body), *headers]}
        if headers and headers[0][0] == b"content-type":
            start["headers"] = [_length(body), *headers]
        await send(start)
        await send({"type": "http.response.body", "body": body})
        seconds = time.perf_counter() - began
        self.seen.request(told.pipeline, told.kind, status, seconds)
        # Neither the body nor a key's value: both may be about a person.
        access.info("%s", {"method": scope["method"], "path": scope["path"][:200], "status": status,
            "ms": round(1000 * seconds, 2), "rows": told.rows, "key": told.key_id, "request": told.request_id})  # fmt: skip

    async def _answer(self, scope: Scope, receive: Receive, told: Told) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
        path, method = scope["path"], scope["method"]
        match path:
            case "/health":
                return 200, (), b'{"status":"alive"}'
            case "/ready":
                return self._ready()
            case "/openapi.json":
                return 200, (), self._document
            case "/metrics":
                return 200, ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),), self.seen.text(self)
        found = PATH.fullmatch(path)
        if found is None:
            raise Refused(404, f"there is no {path[:100]!r}; /openapi.json lists what there is")
        name, verb = found[1], found[2]
        told.pipeline, told.kind = name if name in self.pipelines else "", verb or "fields"
        self._allowed(scope, name, told)
        if name not in self.pipelines:
            raise Refused(404, f"no use case {name!r} is served here")
        if verb is None:
            _method(method, "GET")
            return 200, (), _encode(self.fields[name].json_schema())
        _method(method, "POST")
        if self.stopping:
            raise Refused(503, "this replica is stopping", headers=((b"retry-after", b"1"),))
        if not self.admission.enter():
            raise Refused(503, "too many requests are under way", headers=((b"retry-after", b"1"),))
        try:
            await asyncio.sleep(0)  # whatever else has arrived is counted, or shed, before this is worked on
            asked = self._read(await _body(scope, receive, self.limits))
            return 200, (), await self._scored(name, verb, asked, told)
        finally:
            self.admission.leave()

    def _allowed(self, scope: Scope, name: str, told: Told) -> None:
        if not self.keys_needed:
            return
        given = next((value for header, value in scope["headers"] if header == b"authorization"), b"").decode("latin-1")
        scheme, _, key = given.partition(" ")
        now = self.clock.now()
        if scheme.lower() != "bearer" or self.shelf.keys.known(key, now) is None:
            raise Refused(401, "give an API key: Authorization: Bearer ...", headers=((b"www-authenticate", b"Bearer"),))
        entry = self.shelf.keys.holder(key, name, now)
        if entry is None:
            raise Refused(403, f"this key may not ask {name!r}")
        told.key_id = entry.id

    def _read(self, body: bytes) -> Asked:
        try:
            asked = self._decoder.decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Refused(422, "the body cannot be read", [{"row": None, "field": "", "reason": str(error)[:300]}]) from error
        if not asked.rows:
            raise Refused(422, "no rows", [{"row": None, "field": "rows", "reason": "give at least one row"}])
        if len(asked.rows) > self.limits.rows:
            reason = f"{len(asked.rows)} rows; at most {self.limits.rows} at a time"
            raise Refused(413, "too many rows", [{"row": None, "field": "rows", "reason": reason}])
        return asked

    async def _scored(self, name: str, verb: str, asked: Asked, told: Told) -> bytes:
        self._rate(told.key_id, len(asked.rows))
        if verb == "explain" and len(asked.rows) > MOST_EXPLAINED:
            raise Refused(413, f"at most {MOST_EXPLAINED} rows are explained at a time")
        told.rows, told.request_id = len(asked.rows), uuid.uuid4().hex
        now = self.clock.now()
        moment = self._moment(asked.moment, now)
        rows, problems = [], []
        for i, given in enumerate(asked.rows):
            row, wrong = self.fields[name].read(given)
            rows.append(row)
            problems += [{"row": i, "field": one.field, "reason": one.reason} for one in wrong]
        if problems:
            raise Refused(422, f"{len(problems)} fields are wrong", problems[:100])
        scorer = self.scorers[name]
        try:
            if verb == "explain":
                return _encode({"request_id": told.request_id, "pipeline": name, "rows": explained(scorer, rows, moment)})
            tick = self.pipelines[name].schedule.tick_at(moment).date
            answers: list[Answer] = []
            for first in range(0, len(rows), AT_ONCE):
                answers += scorer.score(rows[first : first + AT_ONCE], moment, tick, told.request_id)
                await asyncio.sleep(0)  # a long request lets others have their turn
            return _encode(Answered(told.request_id, name, moment, answers))
        except (ExpressionFailed, ModelInputError) as error:
            # Not with its text: that quotes the values.
            log.warning("%s: a row's features cannot be computed: %s", name, type(error).__name__)
            reason = "a feature cannot be computed: a number is out of range or divided by zero"
            raise Refused(422, "rows are wrong", [{"row": None, "field": "", "reason": reason}]) from None

    def _moment(self, asked: datetime | None, now: datetime) -> datetime:
        if asked is None:
            return now
        if asked.tzinfo is None or not EARLIEST <= asked <= now + AHEAD:
            reason = "it has no time zone" if asked.tzinfo is None else "it must lie between 1971 and now"
            raise Refused(422, "the moment cannot be used", [{"row": None, "field": "moment", "reason": reason}])
        return asked

    def _rate(self, key: str, rows: int) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self.limits.rows_a_second, self.limits.burst)
        if wait := bucket.take(rows):
            raise Refused(429, "this key asks for too many rows", headers=((b"retry-after", str(int(wait) + 1).encode()),))

    def _ready(self) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
        """Ready once every use case can be answered by something, and until the replica stops."""
        lacking = [name for name, one in self.shelf.standing.items() if one.champion is None and one.fallback is None]
        if self.stopping or lacking:
            return 503, (), _encode({"status": "stopping" if self.stopping else "not ready", "lacking": lacking})
        return 200, (), b'{"status":"ready"}'


@dataclass
class Told:
    """What the access log and the counters say of a request."""

    pipeline: str = ""
    kind: str = "other"
    rows: int = 0
    key_id: str = ""
    request_id: str = ""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def _body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    declared = next((value for header, value in scope["headers"] if header == b"content-length"), b"")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise Refused(413, f"the body has {int(declared):,} bytes; at most {limits.body_bytes:,}")
    parts, size = [], 0
    try:
        # A slow sender must not hold its place forever.
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.body_bytes:
                    raise Refused(413, f"the body has more than {limits.body_bytes:,} bytes")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError as error:
        raise Refused(408, f"the body did not come within {limits.body_seconds:g} seconds") from error


def _method(given: str, wanted: str) -> None:
    if given != wanted:
        raise Refused(405, f"use {wanted}", headers=((b"allow", wanted.encode()),))


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
