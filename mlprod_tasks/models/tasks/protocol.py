"""The interface of every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import Task
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.class_calibration import ClassCalibration
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.statistics.metrics import Difference, Estimate, Sampled
from mlprod_tasks.statistics.resamples import Ticks

Floats = NDArray[np.float64]
Outcomes = Any  # Bools | Floats | Names, (n,)
Scores = Any  # Floats, (n,), | ClassScores


@dataclass(frozen=True)
class OutcomeSummary:
    """Outcomes of a window in numbers; a yes counts as 1, a no as 0. low, high: None without rows. negative: rows below 0.

    classes: how many rows have each class; total, low and high then say nothing.
    """

    rows: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None
    negative: int = 0
    classes: Mapping[str, int] | None = None

    def __add__(self, other: OutcomeSummary) -> OutcomeSummary:
        ends = [one for one in (self, other) if one.low is not None]
        lows, highs = [one.low for one in ends], [one.high for one in ends]
        return OutcomeSummary(
            self.rows + other.rows,
            self.total + other.total,
            min(lows, default=None),  # type: ignore[type-var]
            max(highs, default=None),  # type: ignore[type-var]
            self.negative + other.negative,
            _sum_of_classes(self.classes, other.classes),
        )

    @property
    def mean(self) -> float:
        return self.total / self.rows


def _sum_of_classes(one: Mapping[str, int] | None, other: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if one is None or other is None:
        return one if other is None else other
    return dict(Counter(one) + Counter(other))


def summary_of(outcome: Outcomes) -> OutcomeSummary:
    """Return the summary of outcomes, (n,)."""
    if not len(outcome):
        return OutcomeSummary()
    if outcome.dtype == object:
        return OutcomeSummary(len(outcome), classes=dict(Counter(outcome.tolist())))
    return OutcomeSummary(
        len(outcome), float(outcome.sum()), float(outcome.min()), float(outcome.max()), int((outcome < 0).sum())
    )


class PredictionTask(Protocol):
    """One kind of prediction. outcome: (n,), score: (n,) what the model gives, worth: (n,) the value of each row.

    score of several classes: ClassScores.
    """

    @property
    def declared(self) -> Task:
        """What belongs to it in a declaration."""

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        """Return why no model can be fitted to, or evaluated on, such outcomes: it completes 'the window has ...'."""

    def classes(self, pipeline: Pipeline, outcome: Outcomes) -> tuple[str, ...]:
        """Return the classes of training outcomes, in order; none if outcomes have no classes."""

    def as_learned(self, outcome: Outcomes, classes: tuple[str, ...]) -> Any:
        """Return outcomes as learners read them, (n,); below 0 for one that cannot be learned from."""

    def calibration(self, pipeline: Pipeline, raw: Floats, learned: Any) -> Calibration | ClassCalibration:
        """Return how raw scores of the validation window become scores. learned: outcomes as learners read them."""

    def scores(self, calibrated: Floats, classes: tuple[str, ...]) -> Scores:
        """Return calibrated predictions of a learner as scores."""

    def constant(self, facts: ModelFacts, rows: int) -> Scores:
        """Return the scores of the constant baseline, (rows,)."""

    def threshold(self, worth: Worth, score: Scores) -> float | None:
        """Return the score from which to act; None if nothing is decided."""

    def decided(self, pipeline: Pipeline, score: Scores, threshold: float | None) -> Any:
        """Return what is decided on each row, or the class that is predicted, (n,)."""

    def off(self, outcome: Outcomes, score: Scores) -> Floats:
        """Return how far outcomes lie above what was predicted, (n,)."""

    def rates(self, pipeline: Pipeline, train: Outcomes, validation: Outcomes) -> dict[str, Any]:
        """Return what is stored with a model of the outcomes of both windows, by field of ModelFacts."""

    def interval(self, pipeline: Pipeline, outcome: Outcomes, score: Scores) -> PredictionInterval | None:
        """Return the interval of each prediction, from scores of the validation window; None if none is declared.

        Raises: TooFewRows.
        """

    def candidate_metrics(self, pipeline: Pipeline, outcome: Outcomes, score: Scores, worth: Floats) -> dict[str, float]:
        """Return the metrics of a candidate on the validation window, among them the one by which candidates are compared."""

    def search_loss(self, pipeline: Pipeline, raw: Floats, outcome: Outcomes) -> float:
        """Return the loss that a search lowers, of a learner's scores of validation rows before calibration."""

    def search_metric(self, pipeline: Pipeline) -> str:
        """Return the metric that `search_loss` is."""

    def sample(
        self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats, ticks: Ticks | None = None
    ) -> Sampled:
        """Return every metric, on the rows and on resamples: of ticks, if the place of each row's is given, (n,).

        Raises: CannotBeMeasured.
        """

    def exact_differences(
        self, outcome: Outcomes, ours: Scores, theirs: Scores, ticks: Ticks | None = None
    ) -> dict[str, Difference]:
        """Return the differences of two models, `ours` minus `theirs`, that are known without resamples, by metric."""

    def by_group(self, outcome: Outcomes, mean: Callable[[Floats], Floats]) -> Scores:
        """Return scores that rest on groups of rows. outcome: of training rows; mean: their means by group as scores, (n,)."""

    def verified(self, outcome: Outcomes, score: Scores) -> float:
        """Return the metric `declared.shown[0]`, by which a loaded model is known again."""

    def most_shown(self, outcome: Outcomes) -> str:
        """Return the class whose probability is shown where there is room for one; empty if outcomes have no classes."""

    def shown(self, score: Scores, name: str) -> Floats:
        """Return scores as one number a row, (n,): of classes the probability of the one named."""

    def row_losses(self, outcome: Outcomes, score: Scores) -> Floats:
        """Return the loss of each row, (n,)."""

    def slice_metrics(self, outcome: Outcomes, score: Scores, worth: Floats, ticks: Ticks | None = None) -> dict[str, Estimate]:
        """Return the metrics of a part of the rows, with intervals; none if they are undefined there."""

    def power(self, outcome: Outcomes, score: Scores) -> float:
        """Return how well scores tell outcomes, by what `declared.power` names."""
