"""The interface of every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import Task
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.statistics.metrics import Difference, Estimate, Sampled

Floats = NDArray[np.float64]
Outcomes = Any  # Bools | Floats, (n,)


@dataclass(frozen=True)
class OutcomeSummary:
    """Outcomes of a window in numbers; a yes counts as 1, a no as 0. low, high: None without rows. negative: rows below 0."""

    rows: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None
    negative: int = 0

    def __add__(self, other: OutcomeSummary) -> OutcomeSummary:
        ends = [one for one in (self, other) if one.low is not None]
        lows, highs = [one.low for one in ends], [one.high for one in ends]
        return OutcomeSummary(
            self.rows + other.rows,
            self.total + other.total,
            min(lows, default=None),  # type: ignore[type-var]
            max(highs, default=None),  # type: ignore[type-var]
            self.negative + other.negative,
        )

    @property
    def mean(self) -> float:
        return self.total / self.rows


def summary_of(outcome: Outcomes) -> OutcomeSummary:
    """Return the summary of outcomes, (n,)."""
    if not len(outcome):
        return OutcomeSummary()
    return OutcomeSummary(
        len(outcome), float(outcome.sum()), float(outcome.min()), float(outcome.max()), int((outcome < 0).sum())
    )


class PredictionTask(Protocol):
    """One kind of prediction. outcome: (n,), score: (n,) what the model gives, worth: (n,) the value of each row."""

    @property
    def declared(self) -> Task:
        """What belongs to it in a declaration."""

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        """Return why no model can be fitted to, or evaluated on, such outcomes: it completes 'the window has ...'."""

    def calibration(self, pipeline: Pipeline, raw: Floats, outcome: Outcomes) -> Calibration:
        """Return how raw scores of the validation window become scores."""

    def threshold(self, worth: Worth, score: Floats) -> float | None:
        """Return the score from which to act; None if nothing is decided."""

    def interval(self, pipeline: Pipeline, outcome: Outcomes, score: Floats) -> PredictionInterval | None:
        """Return the interval of each prediction, from scores of the validation window; None if none is declared.

        Raises: TooFewRows.
        """

    def candidate_metrics(self, pipeline: Pipeline, outcome: Outcomes, score: Floats, worth: Floats) -> dict[str, float]:
        """Return the metrics of a candidate on the validation window, among them the one by which candidates are compared."""

    def sample(self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats) -> Sampled:
        """Return every metric, on the rows and on resamples. Raises: CannotBeMeasured."""

    def exact_differences(self, outcome: Outcomes, ours: Floats, theirs: Floats) -> dict[str, Difference]:
        """Return the differences of two models, `ours` minus `theirs`, that are known without resamples, by metric."""

    def row_losses(self, outcome: Outcomes, score: Floats) -> Floats:
        """Return the loss of each row, (n,)."""

    def slice_metrics(self, outcome: Outcomes, score: Floats, worth: Floats) -> dict[str, Estimate]:
        """Return the metrics of a part of the rows, with intervals; none if they are undefined there."""

    def power(self, outcome: Outcomes, score: Floats) -> float:
        """Return how well scores tell outcomes, by what `declared.power` names."""
