"""The service's HTTP face: an ASGI application that reads, checks, answers and counts. See openapi.py for what it speaks."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.online import RequestFields
from mlprod_tasks.online.expressions import ExpressionFailed
from mlprod_tasks.platform.clock import Clock
from mlprod_tasks.scoring.log_row import LoggedRow
from mlprod_tasks.serving.access_log import Access, AccessLog
from mlprod_tasks.serving.answer import Answer, Asking, Scorer
from mlprod_tasks.serving.body import Receive, Scope, declared_bytes, read_body
from mlprod_tasks.serving.contributions import explained
from mlprod_tasks.serving.limits import Admission, Patience, TokenBucket, Turns
from mlprod_tasks.serving.messages import Answered, Asked, ClientGone, Explained, Headers, Refused, Reviewed
from mlprod_tasks.serving.model_loader import Shelf
from mlprod_tasks.serving.openapi import document
from mlprod_tasks.serving.request_metrics import Seen

log = logging.getLogger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
RawHeaders = Sequence[tuple[bytes, bytes]]

PATH = re.compile(r"/v1/pipelines/([a-z][a-z0-9_]*)(?:/(score|explain)|/(reviews)/([0-9a-f]{32}))?")
PLAIN = ("/health", "/ready", "/openapi.json", "/metrics")
LEDGER_SECONDS = 2.0
MOST_ASKING_LEDGER = 20
MOST_DAMPED_BYTES = 4_000
EXPLAINED_COSTS = 50  # as many rows as one that is explained takes time
READERS = 4  # threads that wait for another machine
CLIENT_CLOSED = 499  # as nginx counts a client that did not wait
AHEAD = timedelta(seconds=5)  # clocks differ
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
CACHED_BYTES = 4_000  # of a row: answers to longer ones are not kept
AT_ONCE = 50  # rows of a request before others have their turn
JSON = (b"content-type", b"application/json")
LATER = ((b"retry-after", b"5"),)
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Limits:
    """Of one replica. rows_a_second is each key's; burst rows may come at once."""

    body_bytes: int = 1_000_000
    rows: int = 1_000
    explained: int = 20
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
    readers: Executor
    limits: Limits = field(default_factory=Limits)
    keys_needed: bool = True
    seen: Seen = field(default_factory=Seen)
    access: AccessLog | None = None
    stopping: bool = False

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits.under_way)
        self.turns = Turns(self.admission)
        self._decoder = msgspec.json.Decoder(Asked)
        self._buckets: dict[str, TokenBucket] = {}
        self._ticks: dict[str, Tick] = {}  # of the moment asked for last
        self._patience = Patience(self.limits.body_seconds)
        # Of its own: people's decisions are never waited for by features.
        self._ledger_reader = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        self._asking_ledger = 0
        self._document = _encode(document(self.pipelines, self.fields, self.limits))
        self._request_ids: list[str] = []
        # By the address as it is asked: the path, and the use case.
        paths = {name: f"/v1/pipelines/{name}/score" for name in self.pipelines}
        self.scoring = {path.encode(): (path, name) for name, path in paths.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        told, status, body = Told(), 500, b""
        headers: Headers = ()
        try:
            status, headers, body = await self._answer(scope, receive, told)
        except Refused as refused:
            status, headers = refused.status, refused.headers
            problems = {} if refused.problems is None else {"problems": refused.problems}
            body = _encode({"error": refused.error, **problems})
        except ClientGone:
            status = CLIENT_CLOSED
        except Exception:
            log.exception("%s %s failed", scope["method"], told.path)
            body = _encode({"error": "the service failed; its log says why"})
        if status != CLIENT_CLOSED:
            start = {"type": "http.response.start", "status": status, "headers": [JSON, _length(body), *headers]}
            if headers and headers[0][0] == b"content-type":
                start["headers"] = [_length(body), *headers]
            await send(start)
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        self._note(told, scope["method"], status, began)

    def at_once(self, path: str, name: str, headers: RawHeaders, body: bytes, began: float) -> bytes | None:
        """The answer to rows to score, the same as __call__ gives, where nothing is to be waited for or refused.

        None where something is: nothing was counted, and __call__ has to do it.
        """
        told, scorer = Told(name, "score", path, bytes=len(body)), self.scorers[name]
        if len(body) > self.limits.body_bytes or not self.shelf.standing[name].known:
            return None
        try:
            self._allowed(headers, name, told)
            asked = self._read(body)
            if len(asked.rows) > AT_ONCE:
                return None
            rows, asking = self._checked(name, asked, told)
            working = time.perf_counter()
            features = scorer.features_at_hand(rows, asking.moment)
            if features is None:
                return None
            self._rate(told.key_id, len(rows))
        except (Refused, ExpressionFailed, ModelInputError):
            return None
        try:
            answer = self._answered(scorer, asking, scorer.answers(rows, features, asking, working))
        except BaseException:
            self._buckets[told.key_id].give_back(len(rows))
            raise
        self._note(told, "POST", 200, began)
        return answer

    def gone(self, path: str, name: str, began: float) -> None:
        """Count a request whose client left before it was answered."""
        self._note(Told(name, "score", path), "POST", CLIENT_CLOSED, began)

    async def _answer(self, scope: Scope, receive: Receive, told: Told) -> tuple[int, Headers, bytes]:
        path, method = scope["path"], scope["method"]
        if path in PLAIN:
            told.path = path
            _method(method, "GET", "HEAD")
            return self._plain(path)
        found = PATH.fullmatch(path)
        if found is None:
            raise Refused(404, f"there is no {path[:100]!r}; /openapi.json lists what there is")
        name, verb, request_id = found[1], found[2] or found[3], found[4]
        if name in self.pipelines:
            told.pipeline, told.path = name, f"/v1/pipelines/{name}{f'/{verb}' if verb else ''}"
        told.kind = verb or "fields"
        self._allowed(scope["headers"], name, told)
        if name not in self.pipelines:
            raise Refused(404, f"no use case {name!r} is served here")
        if verb is None or verb == "reviews":
            _method(method, "GET")
            return 200, (), await self._reviews(name, request_id, told) if verb else _encode(self.fields[name].json_schema())
        _method(method, "POST")
        if not self.shelf.standing[name].known:
            raise Refused(503, "who is to answer cannot be read yet", headers=LATER)
        await self._enter(scope)
        try:
            await asyncio.sleep(0)  # whatever else has arrived is counted, or shed, before this is worked on
            body = await read_body(scope, receive, self.limits.body_bytes, self._patience)
            told.bytes = len(body)
            asked = self._read(body)
            return 200, (), await self._scored(name, verb, asked, told)
        finally:
            self.admission.leave()

    async def _enter(self, scope: Scope) -> None:
        if self.admission.enter():
            return
        # Told late, where that holds no great body in memory: who asks again at once costs as much as being answered.
        if declared_bytes(scope) <= MOST_DAMPED_BYTES:
            await self.admission.damped()
        raise Refused(503, "too many requests are under way", headers=((b"retry-after", b"1"),))

    def _plain(self, path: str) -> tuple[int, Headers, bytes]:
        match path:
            case "/health":
                return 200, (), b'{"status":"alive"}'
            case "/ready":
                return self._ready()
            case "/metrics":
                return 200, ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),), self.seen.text(self)
        return 200, (), self._document

    def _allowed(self, headers: RawHeaders, name: str, told: Told) -> None:
        if not self.keys_needed:
            return
        header = b""
        for field_name, value in headers:
            if field_name == b"authorization":
                header = value
                break
        if self.shelf.keys is None:
            raise Refused(503, "API keys cannot be read yet", headers=LATER)
        holder = self.shelf.keys.of_header(header, self.clock.now())
        if holder is None:
            raise Refused(401, "give an API key: Authorization: Bearer ...", headers=((b"www-authenticate", b"Bearer"),))
        if not holder.may_ask(name):
            raise Refused(403, f"this key may not ask {name!r}")
        told.key_id = holder.id

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
        if verb == "explain" and len(asked.rows) > self.limits.explained:
            raise Refused(413, f"at most {self.limits.explained} rows are explained at a time")
        rows, asking = self._checked(name, asked, told)
        scorer, cost = self.scorers[name], len(rows) * (EXPLAINED_COSTS if verb == "explain" else 1)
        self._rate(told.key_id, cost)  # after every other check: a request that is refused costs its key nothing
        try:
            if verb == "explain":
                made = await explained(scorer, rows, asking.moment)
                return _encode(Explained(asking.request_id, name, asking.moment, made))
            scored: list[tuple[Answer, LoggedRow]] = []
            for first in range(0, len(rows), AT_ONCE):
                if first:
                    await asyncio.sleep(0)  # a long request lets others have their turn
                some, began = rows[first : first + AT_ONCE], time.perf_counter()
                scored += scorer.answers(some, await scorer.features(some, asking.moment), asking, began, first)
        except BaseException as error:
            self._buckets[told.key_id].give_back(cost)
            if not isinstance(error, ExpressionFailed | ModelInputError):
                raise
            # Not with its text: that quotes the values.
            log.warning("%s: a row's features cannot be computed: %s", name, type(error).__name__)
            reason = "a feature cannot be computed: a number is out of range or divided by zero"
            raise Refused(422, "rows are wrong", [{"row": None, "field": "", "reason": reason}]) from None
        return self._answered(scorer, asking, scored)

    def _checked(self, name: str, asked: Asked, told: Told) -> tuple[list[dict[str, Any]], Asking]:
        """The rows as they are declared, and what they have in common."""
        if not self._request_ids:
            fresh = os.urandom(16 * 256)  # asked of the system once for many: that takes longer than a route
            self._request_ids = [fresh[i : i + 16].hex() for i in range(0, len(fresh), 16)]
        told.rows, told.request_id = len(asked.rows), self._request_ids.pop()
        moment, tick = self._moment(name, asked.moment)
        rows, problems = [], []
        for i, given in enumerate(asked.rows):
            row, wrong = self.fields[name].read(given)
            rows.append(row)
            problems += [{"row": i, "field": one.field, "reason": one.reason} for one in wrong]
        if problems:
            raise Refused(422, f"{len(problems)} fields are wrong", problems[:100])
        return rows, Asking(told.request_id, moment, tick, told.bytes <= CACHED_BYTES * len(rows))

    def _answered(self, scorer: Scorer, asking: Asking, scored: Sequence[tuple[Answer, LoggedRow]]) -> bytes:
        answers = [answer for answer, _ in scored]
        body = _encode(Answered(asking.request_id, scorer.pipeline.name, asking.moment, answers))
        scorer.note(row for _, row in scored)  # all of them or none: what is refused was not answered
        return body

    def _moment(self, name: str, asked: datetime | None) -> tuple[datetime, date]:
        """The moment as of which rows are scored, and the tick that it belongs to."""
        now = self.clock.now()
        moment = now if asked is None else asked
        schedule = self.pipelines[name].schedule
        reason = ""
        if moment.tzinfo is None:
            reason = "it has no time zone"
        elif not EARLIEST <= moment <= now + AHEAD:
            reason = "it must lie between 1971 and now"
        else:
            last = self._ticks.get(name)
            if last is not None and last.start <= moment < last.end:
                return moment, last.date
            try:
                tick = self._ticks[name] = schedule.tick_at(moment)
                return moment, tick.date
            except ValueError:
                ends = f" to {schedule.ends}" if schedule.ends else " on"
                reason = f"it lies outside of the ticks of {name}, {schedule.starts}{ends}"
        if asked is None:
            reason = f"it is now where it is left out, and {reason}"
        raise Refused(422, "the moment cannot be used", [{"row": None, "field": "moment", "reason": reason}])

    async def _reviews(self, name: str, request_id: str, told: Told) -> bytes:
        """What people decided of the rows of a request that were left to them."""
        from mlprod_tasks.platform.ledger import Review

        if self._asking_ledger >= MOST_ASKING_LEDGER:
            raise Refused(503, "too many ask for reviews", headers=LATER)
        self._rate(told.key_id, 1)
        read = functools.partial(self.shelf.platform.ledger.all, Review, pipeline=name, request_id=request_id)
        self._asking_ledger += 1
        reading = asyncio.get_running_loop().run_in_executor(self._ledger_reader, read)
        reading.add_done_callback(self._ledger_asked)
        try:
            found = await asyncio.wait_for(asyncio.shield(reading), LEDGER_SECONDS)
        except Exception as error:
            self._buckets[told.key_id].give_back(1)
            log.error("%s: reviews cannot be read: %s", name, type(error).__name__)
            raise Refused(503, "the reviews cannot be read now", headers=LATER) from None
        if not found:
            raise Refused(404, "no row of this request was left to people, or the log was not collected since")
        rows = [Reviewed(one.row, one.key, one.score, one.decision, one.reason, one.decided_at) for one in found]
        return _encode({"request_id": request_id, "pipeline": name, "rows": rows})

    def _ledger_asked(self, done: asyncio.Future[Any]) -> None:
        self._asking_ledger -= 1
        if not done.cancelled():
            done.exception()  # told to whoever still waited

    def _rate(self, key: str, rows: int) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self.limits.rows_a_second, self.limits.burst)
        if wait := bucket.take(rows):
            raise Refused(429, "this key asks for too many rows", headers=((b"retry-after", str(int(wait) + 1).encode()),))

    def _note(self, told: Told, method: str, status: int, began: float) -> None:
        """Count a request, and tell the access log of it."""
        seconds = time.perf_counter() - began
        self.seen.request(told.pipeline, told.kind, status, seconds)
        if self.access is not None:
            # Neither the body nor a key's value: both may be about a person.
            at, ms = datetime.now(UTC), round(1000 * seconds, 3)
            self.access.add(Access(at, method, told.path, status, ms, told.rows, told.key_id, told.request_id))

    def _ready(self) -> tuple[int, Headers, bytes]:
        """Ready once every use case can be answered by something, and until the replica stops."""
        standing = self.shelf.standing.items()
        lacking = [name for name, one in standing if not one.known or (one.champion is None and one.fallback is None)]
        if self.keys_needed and self.shelf.keys is None:
            lacking.append("API keys")
        if self.stopping or lacking:
            return 503, (), _encode({"status": "stopping" if self.stopping else "not ready", "lacking": lacking})
        return 200, (), b'{"status":"ready"}'


@dataclass
class Told:
    """What the access log and the counters say of a request."""

    pipeline: str = ""
    kind: str = "other"
    path: str = "other"
    rows: int = 0
    bytes: int = 0
    key_id: str = ""
    request_id: str = ""


def _method(given: str, *wanted: str) -> None:
    if given not in wanted:
        raise Refused(405, f"use {wanted[0]}", headers=((b"allow", ", ".join(wanted).encode()),))


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
