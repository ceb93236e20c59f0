"""Learners: one file per kind of candidate, all with the same input and methods.

`fit_learner` fits one declared candidate. The result predicts, gives contributions if they are exact, and is saved without
pickle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.learners import constant, fitted, one_vs_rest
from mlprod_tasks.models.learners.cores import cores_for, limited
from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.needs import FROM_FILE
from mlprod_tasks.models.learners.rows import Columns, LearnerRows, Report, in_memory

log = logging.getLogger(__name__)

__all__ = ["Columns", "FittedLearner", "LearnerRows", "Report", "cores_for", "fit_learner", "load"]

# The module of each kind that a learner.json may name; imported only when needed, as it imports its library.
FILES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "catboost": "catboost",
    "constant": "constant",
    "last_value": "baselines",
    "seasonal_mean": "baselines",
    "constant_shares": "constant",
    "forest": "forest",
    "hist_gradient_boosting": "hist_gradient_boosting",
    "linear": "linear",
    "neural_net": "neural_net",
    "estimator": "estimator",
    "averaging": "ensemble",
    "stacking": "ensemble",
    "one_vs_rest": "one_vs_rest",
}
OF_MEMBERS = ("ensemble", "one_vs_rest")  # modules whose learners are made of others


def fit_learner(
    learner: ml.Learner,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: ml.Model,
    report: Report | None = None,
    *,
    gap_ticks: int = 0,
    members: Mapping[str, FittedLearner] | None = None,
) -> FittedLearner:
    """Fit one candidate to the training rows.

    Validation rows only decide when to stop.
    declared: the model of the candidate, with seed, threads, and the members of an ensemble.
    report: called with (step, validation log loss) by learners that learn in steps (LightGBM, NeuralNet); the fit stops if it
    returns True.
    gap_ticks: ticks left out between the blocks of a Stacking or of a LinearSVM's calibration, as between windows.
    members: candidates that are already fitted, by name, for an ensemble of them.

    With training rows of one class or value only, the model predicts their mean, whatever is declared. Of several classes, a
    learner that has no model of them is fitted to each class against all others.
    """
    if len(train) == 0 or train.y.min() == train.y.max():
        log.warning("%s: %d training rows, all of one outcome: the model predicts their mean", learner.name, len(train))
        return constant.fit_constant(columns, train)  # a quantile of equal numbers is their mean
    if not isinstance(learner, FROM_FILE):
        train, validation = in_memory(train), in_memory(validation)
    match learner:
        case ml.Constant():
            return constant.fit_constant(columns, train, declared.quantile)
        case ml.LastValue() | ml.SeasonalMean():
            return _fit_baseline(learner, columns, train, declared.quantile)
        case ml.LightGBM():
            from mlprod_tasks.models.learners import lightgbm

            return lightgbm.fit_lightgbm(learner, columns, train, validation, declared, report)
        case ml.Averaging() | ml.Stacking():
            from mlprod_tasks.models.learners import ensemble

            return ensemble.fit_ensemble(
                learner, columns, train, validation, declared, gap_ticks, dict(members or {}), fit_learner
            )
    if train.of_classes and not isinstance(learner, ml.XGBoost | ml.CatBoost | ml.Estimator):
        return one_vs_rest.fit_one_vs_rest(
            train, validation, lambda own, others: fit_learner(learner, columns, own, others, declared, gap_ticks=gap_ticks)
        )
    with limited(declared.threads):
        return _fit_with_sklearn(learner, columns, train, validation, declared, report, gap_ticks)


def _fit_baseline(
    learner: ml.LastValue | ml.SeasonalMean, columns: Columns, train: LearnerRows, quantile: float | None
) -> FittedLearner:
    from mlprod_tasks.models.learners import baselines

    if isinstance(learner, ml.LastValue):
        return baselines.fit_last_value(learner, columns, train, quantile)
    return baselines.fit_seasonal_mean(learner, columns, train, quantile)


def _fit_with_sklearn(
    learner: ml.Learner,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: ml.Model,
    report: Report | None,
    gap_ticks: int,
) -> FittedLearner:
    match learner:
        case ml.XGBoost():
            from mlprod_tasks.models.learners import xgboost

            return xgboost.fit_xgboost(learner, columns, train, validation, declared, report)
        case ml.CatBoost():
            from mlprod_tasks.models.learners import catboost

            return catboost.fit_catboost(learner, columns, train, validation, declared, report)
        case ml.HistGradientBoosting():
            from mlprod_tasks.models.learners import hist_gradient_boosting

            return hist_gradient_boosting.fit_hist_gradient_boosting(learner, columns, train, validation, declared)
        case ml.RandomForest() | ml.ExtraTrees():
            from mlprod_tasks.models.learners import forest

            return forest.fit_forest(learner, columns, train, declared)
        case ml.LogisticRegression():
            from mlprod_tasks.models.learners import linear

            return linear.fit_logistic(learner, columns, train, declared)
        case ml.LinearRegression():
            from mlprod_tasks.models.learners import linear

            return linear.fit_ridge(learner, columns, train)
        case ml.LinearSVM():
            from mlprod_tasks.models.learners import linear

            return linear.fit_svm(learner, columns, train, declared, gap_ticks)
        case ml.NeuralNet():
            from mlprod_tasks.models.learners import neural_net

            return neural_net.fit_neural_net(learner, columns, train, validation, declared, report)
        case ml.Estimator():
            from mlprod_tasks.models.learners import estimator

            return estimator.fit_estimator(learner, columns, train, declared)
    raise TypeError(f"{type(learner).__name__} is not a learner")


def load(folder: Path, threads: int | None) -> FittedLearner:
    """Load what a fitted learner's `save` wrote.

    Raises: ValueError for an unknown kind; ForbiddenType.
    """
    kind = fitted.read(folder)["kind"]
    if kind not in FILES:
        raise ValueError(f"{folder} contains a learner of kind {kind!r}; known are {', '.join(sorted(FILES))}")
    load_kind: Callable[..., Any] = import_module(f"{__name__}.{FILES[kind]}").load
    learner: FittedLearner = load_kind(folder, threads, *((load,) if FILES[kind] in OF_MEMBERS else ()))
    return learner
