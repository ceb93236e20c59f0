"""One of several classes, predicted with the probabilities of all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import ClassValue, Pipeline
from mlprod_tasks.declaration.task import MULTICLASS
from mlprod_tasks.models.class_calibration import ClassCalibration, fit_class_calibration
from mlprod_tasks.models.class_rule import rule_for
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.tasks.protocol import Floats, Outcomes, OutcomeSummary
from mlprod_tasks.statistics import class_metrics
from mlprod_tasks.statistics.class_scores import ClassScores, Names, codes_of, in_order
from mlprod_tasks.statistics.intervals import mean_estimate
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Difference, Estimate, Sampled
from mlprod_tasks.statistics.resamples import Ticks

log = logging.getLogger(__name__)

MOST_CLASSES = 1000
MOST_COMPARED = 20  # classes whose shares by a single feature are compared with outcomes
FEWEST_ROWS = 10  # a warning names classes with fewer training rows


class Multiclass:
    """See `protocol.PredictionTask`."""

    declared = MULTICLASS

    def problem(self, pipeline: Pipeline, outcomes: OutcomeSummary) -> str | None:
        rows, declared = outcomes.classes or {}, _declared(pipeline)
        known = [name for name in rows if name in declared] if declared else list(rows)
        if declared and not known:
            return f"no outcome of a declared class: there are {', '.join(map(repr, list(rows)[:5]))}, but label.classes differ"
        if len(known) == 1:
            return f"outcomes of one class only: all {rows[known[0]]:,} are {known[0]!r}"
        if len(known) > MOST_CLASSES:
            return (
                f"outcomes of {len(known):,} classes, and at most {MOST_CLASSES:,} can be told apart. The label may be a key "
                "or a free text; put rare classes together in label.sql, or declare the ones that matter in label.classes"
            )
        return None

    def classes(self, pipeline: Pipeline, outcome: Outcomes) -> tuple[str, ...]:
        rows = Counter(outcome.tolist())
        declared = _declared(pipeline)
        if missing := [name for name in declared if name not in rows]:
            log.warning("%s: no training row is %s: the model cannot predict it", pipeline.name, _named(missing))
        if more := [name for name in in_order(list(rows)) if name not in declared] if declared else []:
            log.warning("%s: training rows of %s are left out: label.classes lack it", pipeline.name, _named(more))
        known = tuple(name for name in declared or in_order(list(rows)) if name in rows)
        if few := [name for name in known if rows[name] < FEWEST_ROWS]:
            log.warning("%s: fewer than %d training rows are %s", pipeline.name, FEWEST_ROWS, _named(few))
        return known

    def as_learned(self, outcome: Outcomes, classes: tuple[str, ...]) -> NDArray[np.int64]:
        return codes_of(outcome, classes)

    def calibration(self, pipeline: Pipeline, raw: Floats, learned: Any) -> ClassCalibration:
        return fit_class_calibration(pipeline.model.calibration, raw, learned)

    def scores(self, calibrated: Floats, classes: tuple[str, ...]) -> ClassScores:
        return ClassScores(classes, calibrated)

    def constant(self, facts: ModelFacts, rows: int) -> ClassScores:
        known = facts.training_classes or {}
        shares = np.array(list(known.values()), np.float64)
        return ClassScores(tuple(known), np.tile(shares / shares.sum(), (rows, 1)))

    def threshold(self, worth: Worth, score: ClassScores) -> None:
        return None

    def decided(self, pipeline: Pipeline, score: ClassScores, threshold: float | None) -> Names:
        assert isinstance(pipeline.value, ClassValue)
        return rule_for(pipeline.value, score.classes).chosen(score)

    def off(self, outcome: Outcomes, score: ClassScores) -> Floats:
        """Whether the likeliest class came, minus its probability."""
        likeliest = score.likeliest
        return np.asarray((outcome == likeliest) - score.of(likeliest), np.float64)

    def rates(self, pipeline: Pipeline, train: Outcomes, validation: Outcomes) -> dict[str, Any]:
        before, later = Counter(train.tolist()), Counter(validation.tolist())
        names = in_order([*before, *later])
        return {
            "training_classes": {name: before[name] for name in names if name in before},
            "validation_classes": {name: later[name] for name in names if name in later},
        }

    def interval(self, pipeline: Pipeline, outcome: Outcomes, score: ClassScores) -> None:
        return None

    def candidate_metrics(self, pipeline: Pipeline, outcome: Outcomes, score: ClassScores, worth: Floats) -> dict[str, float]:
        if not len(outcome):
            return dict.fromkeys(dict.fromkeys(("log_loss", "accuracy", pipeline.choose_by)), nan)
        predicted = self.decided(pipeline, score, None)
        points = class_metrics.sample(outcome, score, predicted, worth, resamples=0, top_k=pipeline.top_k).points
        return {name: points[name] for name in dict.fromkeys(("log_loss", "accuracy", "macro_f1", pipeline.choose_by))}

    def search_loss(self, pipeline: Pipeline, raw: Any, outcome: Outcomes) -> float:
        """Log loss of coded outcomes, (n,), by probabilities of all classes, (n, classes), calibrated as a yes or no's."""
        calibrated = pipeline.model.calibration != "none"
        shares = fit_class_calibration("sigmoid", raw, outcome)(raw) if calibrated else raw
        return float(np.mean(-np.log(np.maximum(shares[np.arange(len(raw)), outcome], 1e-15))))

    def search_metric(self, pipeline: Pipeline) -> str:
        return "log_loss"

    def sample(
        self, pipeline: Pipeline, outcome: Outcomes, predicted: Predictions, worth: Floats, ticks: Ticks | None = None
    ) -> Sampled:
        seed, k = pipeline.model.seed, pipeline.top_k
        return class_metrics.sample(outcome, predicted.score, predicted.decision, worth, seed=seed, top_k=k, ticks=ticks)

    def exact_differences(
        self, outcome: Outcomes, ours: ClassScores, theirs: ClassScores, ticks: Ticks | None = None
    ) -> dict[str, Difference]:
        return {}

    def by_group(self, outcome: Outcomes, mean: Callable[[Floats], Floats]) -> ClassScores:
        """Of the most frequent classes: rare ones tell little of a feature."""
        classes = tuple(name for name, _ in Counter(outcome.tolist()).most_common(MOST_COMPARED))
        return ClassScores(classes, np.stack([mean((outcome == name).astype(np.float64)) for name in classes], axis=1))

    def verified(self, outcome: Outcomes, score: ClassScores) -> float:
        return class_metrics.log_loss(outcome, score)

    def most_shown(self, outcome: Outcomes) -> str:
        return str(Counter(outcome.tolist()).most_common(1)[0][0])

    def shown(self, score: ClassScores, name: str) -> Floats:
        return score.aligned((name,))[:, 0]

    def row_losses(self, outcome: Outcomes, score: ClassScores) -> Floats:
        return class_metrics.row_losses(outcome, score)

    def slice_metrics(
        self, outcome: Outcomes, score: ClassScores, worth: Floats, ticks: Ticks | None = None
    ) -> dict[str, Estimate]:
        """Normal intervals. Accuracy and calibration are of the likeliest class."""
        return {
            "accuracy": mean_estimate((outcome == score.likeliest).astype(np.float64), ticks),
            "log_loss": mean_estimate(self.row_losses(outcome, score), ticks),
            "calibration": mean_estimate(self.off(outcome, score), ticks),
            "value_per_1000": mean_estimate(1000 * worth, ticks),
        }

    def power(self, outcome: Outcomes, score: ClassScores) -> float:
        try:
            return class_metrics.macro_auc(outcome, score)
        except CannotBeMeasured:
            return MULTICLASS.no_power


def _declared(pipeline: Pipeline) -> tuple[str, ...]:
    return pipeline.label.classes


def _named(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
