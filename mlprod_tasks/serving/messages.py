"""The bodies of requests and answers, and refusals. Their JSON schemas are made of these classes: see openapi.py."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Headers = tuple[tuple[bytes, bytes], ...]
RETRY_LATER: Headers = ((b"retry-after", b"5"),)
Verb = Literal["score", "explain"]
Route = Literal["champion", "challenger", "fallback", "refused"]


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Rows by their fields, and the moment as of which they are scored: now where it is left out."""

    rows: list[dict[str, Any]]
    moment: Annotated[datetime | None, Meta(description="as of when; now where left out")] = None


class ValidRequest(msgspec.Struct, frozen=True):
    """A request that passed all checks.

    rows: as features read them. tick: the one that the moment belongs to. cacheable: whether its scores may be kept. cost: the
    tokens that it takes from its key's rate.
    """

    pipeline: str
    request_id: str
    key_id: str
    rows: list[dict[str, Any]]
    moment: datetime
    tick: date
    cacheable: bool
    cost: int


class ScoredRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One row, scored. `score` and `decision` are null if the declaration lets nobody answer; `reason` then says why."""

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="calibrated probability")]
    decision: Annotated[bool | None, Meta(description="whether to act; null where people decide")]
    version: Annotated[int | None, Meta(description="of the model that answered")]
    route: Route
    fallback: bool = False
    review: Annotated[bool, Meta(description="left to people")] = False
    reason: str = ""
    stale: Annotated[tuple[str, ...], Meta(description="features that are too old")] = ()
    missing: Annotated[tuple[str, ...], Meta(description="features that the online store does not hold")] = ()
    age_seconds: Annotated[float | None, Meta(description="of the oldest feature from the online store")] = None


class ScoreResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The scored rows, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ScoredRow]


class Contribution(msgspec.Struct, forbid_unknown_fields=True):
    """What one feature adds to the score."""

    feature: str
    value: Any
    adds: Annotated[float | None, Meta(description="in log-odds, before calibration; null if the learner has no exact ones")]


class ExplainedRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One row, explained. `base` and what the features add make the model's own score, in log-odds."""

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="calibrated probability; null where no model answers this row")]
    version: int | None
    route: Literal["champion", "challenger"] | UnsetType = UNSET
    base: Annotated[float | None, Meta(description="in log-odds, before calibration")] = None
    features: Annotated[list[Contribution], Meta(description="greatest first")] = []
    reason: Annotated[str, Meta(description="why no model answers")] = ""


class ExplainResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The explained rows, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ExplainedRow]


class ReviewedRow(msgspec.Struct, forbid_unknown_fields=True):
    """A row that was left to people."""

    row: Annotated[int, Meta(description="its place in the request")]
    key: str
    score: float | None
    decision: Annotated[bool | None, Meta(description="null as long as nobody has decided")]
    reason: str
    decided_at: datetime | None


class ReviewResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The rows of a request that were left to people."""

    request_id: str
    pipeline: str
    rows: list[ReviewedRow]


class RowProblem(msgspec.Struct, forbid_unknown_fields=True):
    """What is wrong with a field of a row, or with the request as a whole, whose row is null."""

    row: int | None
    field: str
    reason: str


class ErrorResponse(msgspec.Struct, forbid_unknown_fields=True):
    """Why a request is refused."""

    error: str
    problems: list[RowProblem] | UnsetType = UNSET


class StatusResponse(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """How the service is."""

    status: str
    lacking: Annotated[list[str], Meta(description="what has to be there before it can answer")] = []


class RequestRefused(Exception):
    """A request that is refused: the status, what is wrong, and headers such as Retry-After."""

    def __init__(self, status: int, error: str, problems: list[RowProblem] | UnsetType = UNSET, headers: Headers = ()) -> None:
        super().__init__(error)
        self.status, self.error, self.problems, self.headers = status, error, problems, headers


class ClientDisconnected(Exception):
    """The client went away before it was answered."""
