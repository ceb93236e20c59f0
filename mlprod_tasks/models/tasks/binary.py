"""A yes or no, predicted as its probability, with a decision to act or not."""

from __future__ import annotations

from math import nan, sqrt

import numpy as np

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import BINARY
from mlprod_tasks.models import calibration, decision_value
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.tasks.protocol import Floats, Outcomes, OutcomeSummary
from mlprod_tasks.statistics import auc_interval, metrics
from mlprod_tasks.statistics.metrics import Difference, Estimate, Sampled


class Binary:
    """See `protocol.PredictionTask`."""

    declared = BINARY

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        if outcomes.low != outcomes.high:
            return None
        which = "positive" if outcomes.high else "negative"
        return f"outcomes of one class only: all {outcomes.rows:,} are {which}"

    def calibration(self, pipeline: Pipeline, raw: Floats, outcome: Outcomes) -> Calibration:
        return calibration.fit_calibration(pipeline.model.calibration, raw, outcome)

    def threshold(self, worth: Worth, score: Floats) -> float | None:
        return decision_value.best_threshold(worth, score)

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

    def sample(self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats) -> Sampled:
        return metrics.sample(outcome, predicted.score, worth, pipeline.top_share, seed=pipeline.model.seed)

    def exact_differences(self, outcome: Outcomes, ours: Floats, theirs: Floats) -> dict[str, Difference]:
        """ROC AUC by DeLong's test."""
        return {"roc_auc": auc_interval.difference(outcome, ours, theirs)}

    def row_losses(self, outcome: Outcomes, score: Floats) -> Floats:
        return metrics.log_losses(outcome.astype(np.float64), score)

    def slice_metrics(self, outcome: Outcomes, score: Floats, worth: Floats) -> dict[str, Estimate]:
        """Normal intervals, and DeLong's for ROC AUC; none if outcomes are of one class."""
        if outcome.all() or not outcome.any():
            return {}
        area = auc_interval.area(outcome, score)
        return {
            "roc_auc": Estimate(area.value, area.low, area.high),
            "log_loss": mean_estimate(self.row_losses(outcome, score)),
            "calibration": mean_estimate(outcome - score),
            "value_per_1000": mean_estimate(1000 * worth),
        }

    def power(self, outcome: Outcomes, score: Floats) -> float:
        return metrics.roc_auc(outcome, score)


def mean_estimate(values: Floats) -> Estimate:
    """Return the mean with its normal interval; NaN ends for a single value."""
    mean = float(values.mean())
    half = auc_interval.Z * float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else nan
    return Estimate(mean, mean - half, mean + half)
