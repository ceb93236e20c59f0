"""A yes or no, predicted as its probability, with a decision to act or not."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import BINARY
from mlprod_tasks.models import calibration, decision_value
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions, decisions
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.tasks.protocol import Floats, Outcomes, OutcomeSummary
from mlprod_tasks.statistics import auc_interval, metrics
from mlprod_tasks.statistics.intervals import mean_estimate
from mlprod_tasks.statistics.metrics import Difference, Estimate, Sampled
from mlprod_tasks.statistics.resamples import Ticks


class Binary:
    """See `protocol.PredictionTask`."""

    declared = BINARY

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        if outcomes.low != outcomes.high:
            return None
        which = "positive" if outcomes.high else "negative"
        return f"outcomes of one class only: all {outcomes.rows:,} are {which}"

    def classes(self, pipeline: Pipeline, outcome: Outcomes) -> tuple[str, ...]:
        return ()

    def as_learned(self, outcome: Outcomes, classes: tuple[str, ...]) -> Outcomes:
        return outcome

    def calibration(self, pipeline: Pipeline, raw: Floats, learned: Any) -> Calibration:
        return calibration.fit_calibration(pipeline.model.calibration, raw, learned)

    def scores(self, calibrated: Floats, classes: tuple[str, ...]) -> Floats:
        return calibrated

    def constant(self, facts: ModelFacts, rows: int) -> Floats:
        assert facts.training_rate is not None, "a model fitted by this project knows its training rate"
        return np.full(rows, facts.training_rate)

    def threshold(self, worth: Worth, score: Floats) -> float | None:
        return decision_value.best_threshold(worth, score)

    def decided(self, pipeline: Pipeline, score: Floats, threshold: float | None) -> NDArray[np.bool_]:
        return decisions(score, threshold)

    def off(self, outcome: Outcomes, score: Floats) -> Floats:
        return np.asarray(outcome - score, np.float64)

    def rates(self, pipeline: Pipeline, train: Outcomes, validation: Outcomes) -> dict[str, Any]:
        return {"training_rate": float(np.mean(train)), "validation_rate": float(np.mean(validation))}

    def interval(self, pipeline: Pipeline, outcome: Outcomes, score: Floats) -> None:
        return None

    def candidate_metrics(self, pipeline: Pipeline, outcome: Outcomes, score: Floats, worth: Floats) -> dict[str, float]:
        both = outcome.any() and not outcome.all()
        measured = {
            "log_loss": metrics.log_loss(outcome, score),
            "roc_auc": metrics.roc_auc(outcome, score) if both else nan,
        }
        if (by := pipeline.choose_by) not in measured:
            measured[by] = metrics.measure(outcome, score, worth, pipeline.top_share, resamples=0)[by].value
        return measured

    def search_loss(self, pipeline: Pipeline, raw: Floats, outcome: Outcomes) -> float:
        """Log loss of calibrated scores, like the model's, so that weights and the share of positives do not matter.

        Always calibrated with a sigmoid: an isotonic fit to the rows that it is measured on would be too optimistic.
        """
        calibrated = pipeline.model.calibration != "none"
        score = calibration.fit_calibration("sigmoid", raw, outcome)(raw) if calibrated else raw
        return metrics.log_loss(outcome, score)

    def search_metric(self, pipeline: Pipeline) -> str:
        return "log_loss"

    def sample(
        self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats, ticks: Ticks | None = None
    ) -> Sampled:
        acted = None if pipeline.capacity is None else predicted.decision
        seed = pipeline.model.seed
        return metrics.sample(outcome, predicted.score, worth, pipeline.top_share, seed=seed, acted=acted, ticks=ticks)

    def exact_differences(
        self, outcome: Outcomes, ours: Floats, theirs: Floats, ticks: Ticks | None = None
    ) -> dict[str, Difference]:
        """ROC AUC by DeLong's test."""
        return {"roc_auc": auc_interval.difference(outcome, ours, theirs, ticks)}

    def by_group(self, outcome: Outcomes, mean: Callable[[Floats], Floats]) -> Floats:
        return mean(outcome.astype(np.float64))

    def verified(self, outcome: Outcomes, score: Floats) -> float:
        return metrics.roc_auc(outcome, score)

    def most_shown(self, outcome: Outcomes) -> str:
        return ""

    def shown(self, score: Floats, name: str) -> Floats:
        return score

    def row_losses(self, outcome: Outcomes, score: Floats) -> Floats:
        return metrics.log_losses(outcome.astype(np.float64), score)

    def slice_metrics(self, outcome: Outcomes, score: Floats, worth: Floats, ticks: Ticks | None = None) -> dict[str, Estimate]:
        """Normal intervals, and DeLong's for ROC AUC; none if outcomes are of one class."""
        if outcome.all() or not outcome.any():
            return {}
        area = auc_interval.area(outcome, score, ticks)
        return {
            "roc_auc": Estimate(area.value, area.low, area.high),
            "log_loss": mean_estimate(self.row_losses(outcome, score), ticks),
            "calibration": mean_estimate(outcome - score, ticks),
            "value_per_1000": mean_estimate(1000 * worth, ticks),
        }

    def power(self, outcome: Outcomes, score: Floats) -> float:
        return metrics.roc_auc(outcome, score)
