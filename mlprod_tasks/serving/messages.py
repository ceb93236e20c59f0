"""The bodies of requests and responses, and refusals.

openapi.py makes the JSON schemas from these classes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITY

Headers = tuple[tuple[bytes, bytes], ...]
RETRY_LATER: Headers = ((b"retry-after", b"5"),)
Verb = Literal["score", "explain"]
# absent: the key is not in the population at the moment, so there is nothing to score.
Route = Literal["champion", "challenger", "fallback", "refused", "absent"]
# Fields of a predicted number, in Python and in answers.
NUMBER_NAMES = {"score": PREDICTION, "low": LOW, "high": HIGH}
# The same of a predicted class.
CLASS_NAMES = {"score": PROBABILITY}


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Rows by their fields, and the moment as of which to score, by default now."""

    rows: list[dict[str, Any]]
    moment: Annotated[datetime | None, Meta(description="as of when; by default now")] = None


class ValidRequest(msgspec.Struct, frozen=True):
    """A request that passed all checks.

    rows: as features read them. tick: the one of the moment. cacheable: whether its scores may be cached. cost: how many
    tokens it takes from its key's rate.
    """

    pipeline: str
    request_id: str
    key_id: str
    rows: list[dict[str, Any]]
    moment: datetime
    tick: TickName
    cacheable: bool
    cost: int


class ScoredRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One scored row.

    `score` and `decision` are null if the declaration refuses the row, or its key is not in the population (`route` is then
    'refused' or 'absent'); `reason` says why.
    """

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="calibrated probability")]
    decision: Annotated[bool | None, Meta(description="whether to act; null if people decide")]
    version: Annotated[int | None, Meta(description="of the model that answered")]
    route: Route
    fallback: bool = False
    review: Annotated[bool, Meta(description="left to people")] = False
    reason: str = ""
    stale: Annotated[tuple[str, ...], Meta(description="features that are too old")] = ()
    missing: Annotated[tuple[str, ...], Meta(description="features that are not in the online store")] = ()
    age_seconds: Annotated[float | None, Meta(description="of the oldest feature from the online store")] = None
    action: Annotated[str | None, Meta(description="what a bandit chose to do with it")] = None


class PredictedRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, rename=NUMBER_NAMES):
    """One row of a use case that predicts numbers; nothing is decided.

    `prediction` is null if the declaration refuses the row, or its key is not in the population (`route` is then 'refused' or
    'absent'); `reason` says why.
    """

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="the predicted number")]
    version: Annotated[int | None, Meta(description="of the model that answered")]
    route: Route
    low: Annotated[float | None, Meta(description="the low end of its interval; the fallback gives none")] = None
    high: Annotated[float | None, Meta(description="the high end of its interval; the fallback gives none")] = None
    fallback: bool = False
    reason: str = ""
    stale: Annotated[tuple[str, ...], Meta(description="features that are too old")] = ()
    missing: Annotated[tuple[str, ...], Meta(description="features that are not in the online store")] = ()
    age_seconds: Annotated[float | None, Meta(description="of the oldest feature from the online store")] = None
    action: Annotated[str | None, Meta(description="what a bandit chose to do with it")] = None
    decision: ClassVar[None] = None
    review: ClassVar[bool] = False


class ClassifiedRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, rename=CLASS_NAMES):
    """One row of a use case that predicts classes; nothing is decided.

    `prediction`, `probability` and `probabilities` are null if the declaration refuses the row, or its key is not in the
    population (`route` is then 'refused' or 'absent'); `reason` says why.
    """

    key: dict[str, Any]
    prediction: Annotated[str | None, Meta(description="the predicted class")]
    score: Annotated[float | None, Meta(description="calibrated probability of the predicted class")]
    probabilities: Annotated[
        dict[str, float] | None, Meta(description="calibrated probability of every class that the model knows")
    ]
    version: Annotated[int | None, Meta(description="of the model that answered")]
    route: Route
    fallback: bool = False
    review: Annotated[bool, Meta(description="left to people: the class may be corrected")] = False
    reason: str = ""
    stale: Annotated[tuple[str, ...], Meta(description="features that are too old")] = ()
    missing: Annotated[tuple[str, ...], Meta(description="features that are not in the online store")] = ()
    age_seconds: Annotated[float | None, Meta(description="of the oldest feature from the online store")] = None
    action: Annotated[str | None, Meta(description="what a bandit chose to do with it")] = None
    decision: ClassVar[None] = None


class ScoreResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The scored rows, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ScoredRow]


class PredictionResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The predicted numbers, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[PredictedRow]


class ClassResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The predicted classes, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ClassifiedRow]


class Contribution(msgspec.Struct, forbid_unknown_fields=True):
    """What one feature adds to the score."""

    feature: str
    value: Any
    adds: Annotated[
        float | None, Meta(description="in log-odds, before calibration; null if the learner has no exact contributions")
    ]


class ExplainedRow(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One explained row.

    `base` and the contributions add up to the model's score before calibration, in log-odds.
    """

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="calibrated probability; null if no model scores this row")]
    version: int | None
    route: Literal["champion", "challenger"] | UnsetType = UNSET
    base: Annotated[float | None, Meta(description="in log-odds, before calibration")] = None
    features: Annotated[list[Contribution], Meta(description="largest first")] = []
    reason: Annotated[str, Meta(description="why no model scores this row")] = ""


class NumberContribution(msgspec.Struct, forbid_unknown_fields=True):
    """What one feature adds to a predicted number."""

    feature: str
    value: Any
    adds: Annotated[float | None, Meta(description="on the scale of `link`; null if the learner has no exact contributions")]


class ExplainedNumber(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, rename=NUMBER_NAMES):
    """One explained row of a use case that predicts numbers.

    `base` and the contributions add up to the prediction, or to its logarithm if `link` is 'log'.
    """

    key: dict[str, Any]
    score: Annotated[float | None, Meta(description="the predicted number; null if no model answers this row")]
    version: int | None
    route: Literal["champion", "challenger"] | UnsetType = UNSET
    link: Annotated[Literal["identity", "log"] | UnsetType, Meta(description="the scale of contributions")] = UNSET
    base: Annotated[float | None, Meta(description="on the scale of `link`")] = None
    features: Annotated[list[NumberContribution], Meta(description="largest first")] = []
    reason: Annotated[str, Meta(description="why no model answers this row")] = ""


class ClassContribution(msgspec.Struct, forbid_unknown_fields=True):
    """What one feature does to the probability of the predicted class."""

    feature: str
    value: Any
    effect: Annotated[
        float | None,
        Meta(
            description="how much the probability falls with a usual value of the model's test window in place of the feature, "
            "one feature at a time: effects need not add up; null if the model was stored without such rows"
        ),
    ]
    adds: Annotated[
        float | None,
        Meta(
            description="to the logarithm of the probability before calibration, minus the mean of those of all classes; null "
            "if the learner has no exact contributions"
        ),
    ]


class ExplainedClass(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, rename=CLASS_NAMES):
    """One explained row of a use case that predicts classes."""

    key: dict[str, Any]
    prediction: Annotated[str | None, Meta(description="the predicted class; null if no model answers this row")]
    score: Annotated[float | None, Meta(description="calibrated probability of the predicted class")]
    probabilities: Annotated[dict[str, float] | None, Meta(description="calibrated probability of every class")]
    version: int | None
    route: Literal["champion", "challenger"] | UnsetType = UNSET
    base: Annotated[float | None, Meta(description="what `adds` of the features is added to")] = None
    features: Annotated[list[ClassContribution], Meta(description="largest effect first")] = []
    reason: Annotated[str, Meta(description="why no model answers this row")] = ""


class ExplainResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The explained rows, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ExplainedRow]


class NumberExplanationResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The explained numbers, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ExplainedNumber]


class ClassExplanationResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The explained classes, in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[ExplainedClass]


class ReviewedRow(msgspec.Struct, forbid_unknown_fields=True):
    """A row that people decide."""

    row: Annotated[int, Meta(description="its place in the request")]
    key: str
    score: float | None
    decision: Annotated[bool | None, Meta(description="null until somebody decides; of a class, whether it was right")]
    reason: str
    decided_at: datetime | None
    prediction: Annotated[str | None, Meta(description="the predicted class; null of a yes or no")] = None
    decided_class: Annotated[str | None, Meta(description="the class that it is; null until somebody decides")] = None


class ReviewResponse(msgspec.Struct, forbid_unknown_fields=True):
    """The rows of a request that people decide."""

    request_id: str
    pipeline: str
    rows: list[ReviewedRow]


class RowProblem(msgspec.Struct, forbid_unknown_fields=True):
    """What is wrong with a field of a row, or (row null) with the whole request."""

    row: int | None
    field: str
    reason: str


class ErrorResponse(msgspec.Struct, forbid_unknown_fields=True):
    """Why a request is refused."""

    error: str
    problems: list[RowProblem] | UnsetType = UNSET


class StatusResponse(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The state of the service."""

    status: str
    lacking: Annotated[list[str], Meta(description="what it still needs before it can answer")] = []


class RequestRefused(Exception):
    """A refused request: status, error, and headers such as Retry-After."""

    def __init__(self, status: int, error: str, problems: list[RowProblem] | UnsetType = UNSET, headers: Headers = ()) -> None:
        super().__init__(error)
        self.status, self.error, self.problems, self.headers = status, error, problems, headers


class ClientDisconnected(Exception):
    """The client disconnected before the answer."""
