"""What a model says of one row: a probability and a decision, a number and its interval, or a class and all probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mlprod_tasks.declaration.task import PREDICTION, PROBABILITIES
from mlprod_tasks.models.class_calibration import ClassCalibration
from mlprod_tasks.models.class_rule import ClassRule
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.predicted_columns import SCORE, shares_text


class RowScore(NamedTuple):
    """A calibrated probability and whether to act; a predicted number and its interval; or a class and its probability.

    decision: None of numbers and classes, on which nothing is decided. low, high: None without an interval. prediction: the
    class; None unless classes are predicted. probabilities: of all classes, in their order.
    """

    score: float
    decision: bool | None
    low: float | None = None
    high: float | None = None
    prediction: str | None = None
    probabilities: Mapping[str, float] | None = None

    def stored(self) -> dict[str, Any]:
        """Return the columns in which `predicted_columns.logged_columns` stores a score or a class."""
        if self.probabilities is None:
            return {SCORE: self.score}
        text = shares_text(self.probabilities, self.probabilities.values())
        return {SCORE: self.score, PREDICTION: self.prediction, PROBABILITIES: text}


def scoring_of(model: Model) -> Callable[[Any], RowScore]:
    """Return what a model makes of its learner's raw prediction of a row: a float, or a list with one for each class."""
    calibrated, decided = model.calibration.single(), deciding_of(model)
    return lambda raw: decided(calibrated(raw))


def deciding_of(model: Model) -> Callable[[Any], RowScore]:
    """Return what a model makes of a calibrated score of a row, or of a list with the probability of each class."""
    if isinstance(model.calibration, ClassCalibration):
        assert model.rule is not None
        return partial(of_class, model.rule)
    if model.threshold is None:
        return _number(model.interval)
    return _decision(model.threshold)


def of_class(rule: ClassRule, shares: Sequence[float]) -> RowScore:
    """Return the class that is predicted from the probabilities of all, in the order of the rule's classes."""
    chosen, probabilities = rule.choice(shares), dict(zip(rule.classes, shares, strict=True))
    return RowScore(probabilities[chosen], None, prediction=chosen, probabilities=probabilities)


def _decision(threshold: float) -> Callable[[float], RowScore]:
    return lambda probability: RowScore(probability, probability >= threshold)


def _number(interval: PredictionInterval | None) -> Callable[[float], RowScore]:
    if interval is None:
        return lambda number: RowScore(number, None)
    low, high = interval.low, interval.high
    return lambda number: RowScore(number, None, number + low, number + high)
