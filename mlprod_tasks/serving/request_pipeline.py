"""The steps of a request, without HTTP: decode, validate, charge, score, encode.

Both app.py and fast_path.py call them in this order. The refusals, in the order of the checks:

    authorize       503 keys not loaded yet, 400 two keys, 401 no valid key, 403 not for this use case
    check_ready     503 rollout and fallback switch not read yet
    check_encoding  415 a compressed body
    decode          413 too many bytes, 415 a compressed body, 422 no JSON of this form, 422 no rows, 413 too many rows,
                    422 a field twice
    validate        422 the moment, 422 fields
    charge          429 too many rows for this key

The cost is charged last, so a refused request costs its key nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.online import Features, RequestFields
from mlprod_tasks.platform.clock import Clock
from mlprod_tasks.serving import keys
from mlprod_tasks.serving.duplicate_fields import certainly_once, field_given_twice
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.messages import (
    RETRY_LATER,
    RequestRefused,
    RowProblem,
    ScoreRequest,
    ValidRequest,
    Verb,
)
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.rate_limit import KeyRates
from mlprod_tasks.serving.row_decision import RowResult
from mlprod_tasks.serving.scorer import Scorer

EXPLAIN_COST = 50  # explaining a row takes as long as scoring 50
CLOCK_TOLERANCE = timedelta(seconds=5)  # a client's clock may be ahead by that
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
CACHEABLE_BYTES = 4_000  # per row: the scores of longer rows are not cached
MOST_PROBLEMS = 100
IDS_AT_ONCE = 256
GZIP = b"\x1f\x8b"
encode_json = msgspec.json.Encoder(decimal_format="number").encode
FIELD = re.compile(r"`\$\.(\w+)`$")
_decoder = msgspec.json.Decoder(ScoreRequest)


def decode(body: bytes, verb: Verb, limits: Limits) -> ScoreRequest:
    """Read the body of a request. Raises: RequestRefused: 413, 415, 422."""
    if len(body) > limits.body_bytes:
        raise RequestRefused(413, f"the body has {len(body):,} bytes; at most {limits.body_bytes:,}")
    if body.startswith(GZIP):
        raise _compressed("the body is gzip data")
    try:
        decoded = _decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RequestRefused(422, "the body cannot be read", [RowProblem(None, _field_of(error), str(error)[:300])]) from error
    count = len(decoded.rows)
    if not count:
        raise RequestRefused(422, "no rows", [RowProblem(None, "rows", "give at least one row")])
    most = limits.rows if verb == "score" else min(limits.explained, limits.rows)
    if count > most:
        raise RequestRefused(413, "too many rows", [RowProblem(None, "rows", f"{count} rows; at most {most} at a time")])
    if not certainly_once(body, decoded):
        _refuse_field_twice(body)
    return decoded


def _refuse_field_twice(body: bytes) -> None:
    try:
        problem = field_given_twice(body)
    except (ValueError, RecursionError) as error:
        reason = "its fields cannot be counted: it is nested too deeply"
        raise RequestRefused(422, "the body cannot be read", [RowProblem(None, "", reason)]) from error
    if problem is not None:
        raise RequestRefused(422, "a field is given twice", [problem])


def _compressed(what: str) -> RequestRefused:
    return RequestRefused(415, f"{what}: send it uncompressed", headers=((b"accept-encoding", b"identity"),))


def _field_of(error: Exception) -> str:
    """Return the field at the end of msgspec's message, as in 'at `$.moment`'; '' if there is none."""
    match = FIELD.search(str(error))
    return match[1] if match else ""


def check_fields(rows: Sequence[Mapping[str, Any]], fields: RequestFields) -> list[dict[str, Any]]:
    """Return the rows as features read them.

    Raises: RequestRefused (422) with each wrong field.
    """
    read, problems = [], []
    for i, given in enumerate(rows):
        row, wrong = fields.read(given)
        read.append(row)
        if wrong:
            problems += [RowProblem(i, one.field, one.reason) for one in wrong]
    if problems:
        raise RequestRefused(422, f"{len(problems)} fields are wrong", problems[:MOST_PROBLEMS])
    return read


@dataclass
class MomentCheck:
    """Checks the moment of a request against the ticks of a use case.

    Caches the last tick: most requests share it.
    """

    pipeline: Pipeline
    _last: Tick | None = None

    def check(self, given: datetime | None, now: datetime) -> tuple[datetime, TickName]:
        """Return the moment as of which to score, and its tick.

        Raises: RequestRefused (422).
        """
        moment = now if given is None else given
        if moment.tzinfo is None:
            raise _wrong_moment("it has no time zone")
        if not EARLIEST <= moment <= now + CLOCK_TOLERANCE:
            raise _wrong_moment("it must be between 1971 and now")
        last = self._last
        if last is not None and last.start <= moment < last.end:
            return moment, last.name
        schedule = self.pipeline.schedule
        try:
            self._last = tick = schedule.tick_at(moment)
        except ValueError:
            until = f" to {schedule.last}" if schedule.last else " on"
            reason = f"it is outside the ticks of {self.pipeline.name}, {schedule.first}{until}"
            if given is None:
                reason = f"it defaults to now, and {reason}"
            raise _wrong_moment(reason) from None
        return moment, tick.name


def _wrong_moment(reason: str) -> RequestRefused:
    return RequestRefused(422, "the moment cannot be used", [RowProblem(None, "moment", reason)])


@dataclass
class RequestIds:
    """Ids of requests, 128 random bits each.

    Drawn in batches: one system call takes longer than routing a request.
    """

    _waiting: list[str] = field(default_factory=list)

    def next(self) -> str:
        """Return a new id."""
        if not self._waiting:
            random_bytes = os.urandom(16 * IDS_AT_ONCE)
            self._waiting = [random_bytes[i : i + 16].hex() for i in range(0, len(random_bytes), 16)]
        return self._waiting.pop()


class RequestPipeline:
    """The steps of a request, with the keys, limits, use cases and models they need."""

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        scorers: Mapping[str, Scorer],
        loader: ModelLoader,
        clock: Clock,
        limits: Limits,
        *,
        keys_needed: bool,
    ) -> None:
        self.scorers, self.loader, self.clock, self.limits, self.keys_needed = scorers, loader, clock, limits, keys_needed
        self.rates = KeyRates(limits.rows_a_second, limits.burst)
        self._fields = {name: scorer.online.fields for name, scorer in scorers.items()}
        self._moments = {name: MomentCheck(pipeline) for name, pipeline in pipelines.items()}
        self._ids = RequestIds()

    def authorize(self, headers: Sequence[tuple[bytes, bytes]], name: str) -> str:
        """Return the id of the request's key, '' if none is needed.

        Raises: RequestRefused: 503, 401, 403.
        """
        return keys.authorize(headers, self.loader.keys, name, self.clock.now()) if self.keys_needed else ""

    def check_ready(self, name: str) -> None:
        """Raise RequestRefused (503) until it is known which model answers."""
        if not self.loader.loaded[name].ledger_read:
            raise RequestRefused(503, "the rollout and the fallback switch are not loaded yet", headers=RETRY_LATER)

    def check_encoding(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raise RequestRefused (415) if the body is compressed. headers: names in lower case."""
        for name, value in headers:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise _compressed(f"Content-Encoding {value.decode('latin-1')[:40]!r} is not supported")

    def decode(self, body: bytes, verb: Verb) -> ScoreRequest:
        """Read the body of a request. Raises: RequestRefused: 413, 415, 422."""
        return decode(body, verb, self.limits)

    def validate(self, decoded: ScoreRequest, name: str, verb: Verb, key_id: str, body_bytes: int) -> ValidRequest:
        """Check the moment and every field. Raises: RequestRefused (422)."""
        moment, tick = self._moments[name].check(decoded.moment, self.clock.now())
        rows = check_fields(decoded.rows, self._fields[name])
        cost = len(rows) * EXPLAIN_COST if verb == "explain" else len(rows)
        cacheable = body_bytes <= CACHEABLE_BYTES * len(rows)
        return ValidRequest(name, self._ids.next(), key_id, rows, moment, tick, cacheable, cost)

    def charge(self, request: ValidRequest) -> None:
        """Charge the request's cost to its key. Raises: RequestRefused (429)."""
        self.rates.take(request.key_id, request.cost)

    def refund(self, request: ValidRequest) -> None:
        """Refund the request's cost: it was refused, or is answered in another way."""
        self.rates.give_back(request.key_id, request.cost)

    def score(self, request: ValidRequest, features: Sequence[Features], began: float, first: int = 0) -> list[RowResult]:
        """Score the request's rows from `first` on, one per item of `features`.

        began: when work on their features began (`perf_counter`).
        """
        return self.scorers[request.pipeline].score(request, features, began, first)

    def encode(self, request: ValidRequest, results: Sequence[RowResult]) -> bytes:
        """Encode the response body and log its rows, or no row if encoding fails."""
        rows = [one.scored for one in results]
        scorer = self.scorers[request.pipeline]
        body = encode_json(scorer.answers.score_response(request.request_id, request.pipeline, request.moment, rows))
        scorer.note(results)
        return body
