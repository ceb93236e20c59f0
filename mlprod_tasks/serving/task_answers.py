"""What depends on the kind of prediction in an answer: one object per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.predicted_columns import shares_text
from mlprod_tasks.online import Features
from mlprod_tasks.serving import messages
from mlprod_tasks.serving.messages import (
    ClassifiedRow,
    ExplainedClass,
    ExplainedNumber,
    ExplainedRow,
    PredictedRow,
    Route,
    ScoredRow,
)
from mlprod_tasks.serving.row_score import RowScore

AnsweredRow = ScoredRow | PredictedRow | ClassifiedRow
Explanation = ExplainedRow | ExplainedNumber | ExplainedClass
Part = tuple[Any, ...]  # a feature's name, its value, of classes its effect, and what it adds


class TaskAnswers(Protocol):
    """The rows of answers. `score_response`, `explain_response`: the classes of their bodies.

    by_effect: whether features are explained by what a usual value in their place changes, too.
    """

    by_effect: ClassVar[bool]

    @property
    def score_response(self) -> type[Any]: ...

    @property
    def explain_response(self) -> type[Any]: ...

    def in_doubt(self, row_score: RowScore) -> float | None:
        """Return the number whose band people decide; None if there is nothing to decide."""

    def scored(
        self,
        key: dict[str, Any],
        row_score: RowScore | None,
        features: Features,
        version: int | None,
        route: Route,
        *,
        decision: bool | None = None,
        review: bool = False,
        reason: str = "",
    ) -> AnsweredRow:
        """Return a scored row. row_score: None if nothing scores it."""

    def logged(self, scored: Any) -> tuple[Any, ...]:
        """Return the values of `log_row.columns_of_task` for a scored row."""

    def compared(self, shadow: RowScore, scored: Any) -> float:
        """Return what a challenger in shadow mode gives, as a number to compare with the score of the answer.

        scored: an answered row or a RowScore.
        """

    def not_explained(self, key: dict[str, Any], version: int | None, reason: str) -> Explanation:
        """Return a row that no model explains."""

    def explained(
        self,
        key: dict[str, Any],
        row_score: RowScore,
        version: int,
        route: Any,
        link: Any,
        base: float | None,
        parts: Sequence[Part],
    ) -> Explanation:
        """Return an explained row. parts: of each feature, the largest first."""


class BinaryAnswers:
    """See `TaskAnswers`."""

    by_effect: ClassVar[bool] = False
    score_response: ClassVar[type[Any]] = messages.ScoreResponse
    explain_response: ClassVar[type[Any]] = messages.ExplainResponse

    def in_doubt(self, row_score: RowScore) -> float | None:
        return None if row_score.decision is None else row_score.score

    def scored(
        self,
        key: dict[str, Any],
        row_score: RowScore | None,
        features: Features,
        version: int | None,
        route: Route,
        *,
        decision: bool | None = None,
        review: bool = False,
        reason: str = "",
    ) -> ScoredRow:
        score = None if row_score is None else row_score.score
        return ScoredRow(
            key, score, decision, version, route, fallback=route == "fallback", review=review, reason=reason,
            stale=features.stale, missing=features.missing, age_seconds=features.age,
        )  # fmt: skip

    def logged(self, scored: Any) -> tuple[()]:
        return ()

    def compared(self, shadow: RowScore, scored: Any) -> float:
        return shadow.score

    def not_explained(self, key: dict[str, Any], version: int | None, reason: str) -> ExplainedRow:
        return ExplainedRow(key, None, version, reason=reason)

    def explained(
        self,
        key: dict[str, Any],
        row_score: RowScore,
        version: int,
        route: Any,
        link: Any,
        base: float | None,
        parts: Sequence[Part],
    ) -> ExplainedRow:
        return ExplainedRow(key, row_score.score, version, route, base, [messages.Contribution(*part) for part in parts])


@dataclass(frozen=True)
class NumberAnswers:
    """See `TaskAnswers`. intervals: whether predictions are to have one."""

    intervals: bool
    by_effect: ClassVar[bool] = False
    score_response: ClassVar[type[Any]] = messages.PredictionResponse
    explain_response: ClassVar[type[Any]] = messages.NumberExplanationResponse

    def in_doubt(self, row_score: RowScore) -> float | None:
        return None

    def scored(
        self,
        key: dict[str, Any],
        row_score: RowScore | None,
        features: Features,
        version: int | None,
        route: Route,
        *,
        decision: bool | None = None,
        review: bool = False,
        reason: str = "",
    ) -> PredictedRow:
        score = None if row_score is None else row_score.score
        low, high = (None, None) if row_score is None or not self.intervals else (row_score.low, row_score.high)
        return PredictedRow(
            key, score, version, route, low, high, fallback=route == "fallback", reason=reason,
            stale=features.stale, missing=features.missing, age_seconds=features.age,
        )  # fmt: skip

    def logged(self, scored: Any) -> tuple[float | None, ...]:
        return (scored.low, scored.high) if self.intervals else ()

    def compared(self, shadow: RowScore, scored: Any) -> float:
        return shadow.score

    def not_explained(self, key: dict[str, Any], version: int | None, reason: str) -> ExplainedNumber:
        return ExplainedNumber(key, None, version, reason=reason)

    def explained(
        self,
        key: dict[str, Any],
        row_score: RowScore,
        version: int,
        route: Any,
        link: Any,
        base: float | None,
        parts: Sequence[Part],
    ) -> ExplainedNumber:
        features = [messages.NumberContribution(*part) for part in parts]
        return ExplainedNumber(key, row_score.score, version, route, link, base, features)


class ClassAnswers:
    """See `TaskAnswers`."""

    by_effect: ClassVar[bool] = True
    score_response: ClassVar[type[Any]] = messages.ClassResponse
    explain_response: ClassVar[type[Any]] = messages.ClassExplanationResponse

    def in_doubt(self, row_score: RowScore) -> float | None:
        """Of classes: the margin, the probability of the likeliest class less that of the second."""
        first, *others = sorted((row_score.probabilities or {}).values(), reverse=True)[:2] or (0.0,)
        return first - (others[0] if others else 0.0)

    def scored(
        self,
        key: dict[str, Any],
        row_score: RowScore | None,
        features: Features,
        version: int | None,
        route: Route,
        *,
        decision: bool | None = None,
        review: bool = False,
        reason: str = "",
    ) -> ClassifiedRow:
        prediction, score, shares = (None, None, None) if row_score is None else _class_of(row_score)
        return ClassifiedRow(
            key, prediction, score, shares, version, route, fallback=route == "fallback", review=review, reason=reason,
            stale=features.stale, missing=features.missing, age_seconds=features.age,
        )  # fmt: skip

    def logged(self, scored: Any) -> tuple[str | None, str | None]:
        shares = scored.probabilities
        return scored.prediction, None if shares is None else shares_text(shares, shares.values())

    def compared(self, shadow: RowScore, scored: Any) -> float:
        """Of classes: the probability that the challenger gives to the class of the answer."""
        return (shadow.probabilities or {}).get(scored.prediction, 0.0)

    def not_explained(self, key: dict[str, Any], version: int | None, reason: str) -> ExplainedClass:
        return ExplainedClass(key, None, None, None, version, reason=reason)

    def explained(
        self,
        key: dict[str, Any],
        row_score: RowScore,
        version: int,
        route: Any,
        link: Any,
        base: float | None,
        parts: Sequence[Part],
    ) -> ExplainedClass:
        features = [messages.ClassContribution(*part) for part in parts]
        prediction, score, shares = _class_of(row_score)
        return ExplainedClass(key, prediction, score, shares, version, route, base, features)


def _class_of(row_score: RowScore) -> tuple[str | None, float, Any]:
    return row_score.prediction, row_score.score, row_score.probabilities


_OF_TASKS: Mapping[str, Callable[[Pipeline], TaskAnswers]] = {
    "binary": lambda _: BinaryAnswers(),
    "regression": lambda pipeline: NumberAnswers(pipeline.model.coverage is not None),
    "multiclass": lambda _: ClassAnswers(),
}


def answers_of(pipeline: Pipeline) -> TaskAnswers:
    """Return the object of the pipeline's task."""
    return _OF_TASKS[pipeline.task](pipeline)
