"""A number, predicted as itself; nothing is decided."""

from __future__ import annotations

from collections.abc import Callable
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import CatBoost, LightGBM, Pipeline, XGBoost
from mlprod_tasks.declaration.task import REGRESSION
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions, decisions
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.tasks.protocol import Floats, Outcomes, OutcomeSummary
from mlprod_tasks.statistics import conformal, regression_metrics
from mlprod_tasks.statistics.intervals import mean_estimate
from mlprod_tasks.statistics.metrics import Difference, Estimate, Sampled
from mlprod_tasks.statistics.resamples import Ticks

NOT_NEGATIVE = ("poisson", "tweedie")
SEARCHED = ("mae", "rmse", "pinball")


class Regression:
    """See `protocol.PredictionTask`."""

    declared = REGRESSION

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        if outcomes.low == outcomes.high:
            return f"one outcome only: all {outcomes.rows:,} are {outcomes.low:g}"
        counts = [
            one
            for one in pipeline.model.candidates
            if isinstance(one, LightGBM | XGBoost | CatBoost) and one.objective in NOT_NEGATIVE
        ]
        if counts and outcomes.low is not None and outcomes.low < 0:
            which = f"objective {counts[0].objective!r} of candidate {counts[0].name!r}"
            return (
                f"{outcomes.negative:,} negative outcomes of {outcomes.rows:,}, down to {outcomes.low:g}, which {which} cannot "
                "be fitted to: declare 'l2', 'l1' or 'huber', or make them null in label.sql"
            )
        return None

    def classes(self, pipeline: Pipeline, outcome: Outcomes) -> tuple[str, ...]:
        return ()

    def as_learned(self, outcome: Outcomes, classes: tuple[str, ...]) -> Outcomes:
        return outcome

    def calibration(self, pipeline: Pipeline, raw: Floats, learned: Any) -> Calibration:
        return Calibration("none")

    def scores(self, calibrated: Floats, classes: tuple[str, ...]) -> Floats:
        return calibrated

    def constant(self, facts: ModelFacts, rows: int) -> Floats:
        assert facts.training_rate is not None, "a model fitted by this project knows its training rate"
        return np.full(rows, facts.training_rate if facts.training_quantile is None else facts.training_quantile)

    def threshold(self, worth: Worth, score: Floats) -> float | None:
        return None

    def decided(self, pipeline: Pipeline, score: Floats, threshold: float | None) -> NDArray[np.bool_]:
        return decisions(score, threshold)

    def off(self, outcome: Outcomes, score: Floats) -> Floats:
        return np.asarray(outcome - score, np.float64)

    def rates(self, pipeline: Pipeline, train: Outcomes, validation: Outcomes) -> dict[str, Any]:
        means = {"training_rate": float(np.mean(train)), "validation_rate": float(np.mean(validation))}
        if pipeline.quantile is None:
            return means
        return {**means, "training_quantile": float(np.quantile(train, pipeline.quantile))}

    def interval(self, pipeline: Pipeline, outcome: Outcomes, score: Floats) -> PredictionInterval | None:
        coverage = pipeline.model.coverage
        if coverage is None:
            return None
        try:
            return PredictionInterval(coverage, *conformal.offsets(outcome - score, coverage))
        except conformal.TooFewRows as error:
            remedy = "declare a longer split.validation, or a smaller model.coverage"
            raise conformal.TooFewRows(f"{pipeline.name}: the validation window: {error}; {remedy}") from None

    def candidate_metrics(self, pipeline: Pipeline, outcome: Outcomes, score: Floats, worth: Floats) -> dict[str, float]:
        quantile = pipeline.quantile
        points = regression_metrics.sample(outcome, score, worth, 0, quantile=quantile).points if len(outcome) else {}
        return {name: points.get(name, nan) for name in dict.fromkeys(("mae", "rmse", "r2", pipeline.choose_by))}

    def search_loss(self, pipeline: Pipeline, raw: Floats, outcome: Outcomes) -> float:
        match self.search_metric(pipeline):
            case "pinball" if pipeline.quantile is not None:
                return float(np.mean(regression_metrics.pinball_losses(outcome, raw, pipeline.quantile)))
            case "rmse":
                return regression_metrics.rmse(outcome, raw)
        return regression_metrics.mae(outcome, raw)

    def search_metric(self, pipeline: Pipeline) -> str:
        """The metric by which candidates are chosen, if it is a mean of rows' errors; else the mean absolute error."""
        return pipeline.choose_by if pipeline.choose_by in SEARCHED else "mae"

    def sample(
        self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats, ticks: Ticks | None = None
    ) -> Sampled:
        seed, interval = pipeline.model.seed, predicted.interval
        return regression_metrics.sample(
            outcome, predicted.score, worth, seed=seed, interval=interval, quantile=pipeline.quantile, ticks=ticks
        )

    def exact_differences(
        self, outcome: Outcomes, ours: Floats, theirs: Floats, ticks: Ticks | None = None
    ) -> dict[str, Difference]:
        return {}

    def by_group(self, outcome: Outcomes, mean: Callable[[Floats], Floats]) -> Floats:
        return mean(outcome)

    def verified(self, outcome: Outcomes, score: Floats) -> float:
        return regression_metrics.mae(outcome, score)

    def most_shown(self, outcome: Outcomes) -> str:
        return ""

    def shown(self, score: Floats, name: str) -> Floats:
        return score

    def row_losses(self, outcome: Outcomes, score: Floats) -> Floats:
        """Absolute errors: a slice is not found for one huge outcome in it."""
        return np.asarray(np.abs(outcome - score), np.float64)

    def slice_metrics(self, outcome: Outcomes, score: Floats, worth: Floats, ticks: Ticks | None = None) -> dict[str, Estimate]:
        """Normal intervals; the one of RMSE is the square root of that of the mean squared error."""
        squared = mean_estimate((outcome - score) ** 2, ticks)
        return {
            "mae": mean_estimate(np.abs(outcome - score), ticks),
            "rmse": Estimate(sqrt(squared.value), sqrt(max(0.0, squared.low)), sqrt(squared.high)),
            "bias": mean_estimate(outcome - score, ticks),
            "value_per_1000": mean_estimate(1000 * worth, ticks),
        }

    def power(self, outcome: Outcomes, score: Floats) -> float:
        return regression_metrics.rank_correlation(outcome, score)
