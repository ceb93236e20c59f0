"""The kinds of prediction: what belongs to each of them in a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from mlprod_tasks.declaration import learner
from mlprod_tasks.declaration.target import ClassValue, CostMatrix, PredictionValue, ValueFunction
from mlprod_tasks.declaration.training import MeanTable, RateTable, ShareTable

TaskName = Literal["binary", "regression", "multiclass"]
PREDICTION = "prediction"  # the name of a predicted number or class
PROBABILITY = "probability"  # the name of the probability of the predicted class
PROBABILITIES = "probabilities"  # the name of the probabilities of all classes: a JSON object
LOW, HIGH = "prediction_low", "prediction_high"  # the names of the ends of its interval


@dataclass(frozen=True)
class Task:
    """One kind of prediction.

    label_kind: of its outcomes. metrics: those that are evaluated; choose_by: the one by which candidates are compared unless
    the declaration names another. slice_metrics: of WorstSlice. learners, values, fallback: the declared classes that fit it.
    shown: the metrics that are named first, in reports and pages. correlated: the one that a backtest compares with the value.
    decides: whether something is decided on each row. reviews: ways in which people may decide rows of the service, besides
    none. outputs: what is predicted, in the plural. published: the columns of a
    published prediction, by that of the stored one. power: the name of what says how well a single feature tells the outcome;
    no_power: its value for one that tells nothing.
    """

    name: TaskName
    label_kind: Literal["yes_no", "number", "class"]
    metrics: tuple[str, ...]
    choose_by: str
    slice_metrics: tuple[str, ...]
    shown: tuple[str, ...]
    correlated: str
    decides: bool
    reviews: tuple[str, ...]
    outputs: str
    published: Mapping[str, str]
    power: str
    no_power: float
    learners: tuple[type[Any], ...]
    values: tuple[type[Any], ...]
    fallback: type[Any]


_TREES = (learner.LightGBM, learner.HistGradientBoosting, learner.RandomForest, learner.ExtraTrees)
BINARY = Task(
    name="binary",
    label_kind="yes_no",
    metrics=(
        "roc_auc",
        "pr_auc",
        "log_loss",
        "brier",
        "calibration_error",
        "precision_at_k",
        "precision_at_capacity",
        "value_per_1000",
    ),
    choose_by="log_loss",
    slice_metrics=("roc_auc", "log_loss", "calibration", "value_per_1000"),
    shown=("roc_auc", "log_loss", "calibration_error", "value_per_1000"),
    correlated="roc_auc",
    decides=True,
    reviews=("band", "assist", "shadow"),
    outputs="scores",
    published=MappingProxyType({"score": "score", "decision": "decision"}),
    power="ROC AUC",
    no_power=0.5,
    learners=(
        *_TREES,
        learner.XGBoost,
        learner.CatBoost,
        learner.LogisticRegression,
        learner.LinearSVM,
        learner.NeuralNet,
        learner.Estimator,
        learner.Constant,
        learner.Averaging,
        learner.Stacking,
    ),
    values=(CostMatrix, ValueFunction),
    fallback=RateTable,
)
REGRESSION = Task(
    name="regression",
    label_kind="number",
    metrics=(
        "mae",
        "rmse",
        "median_error",
        "r2",
        "mape",
        "absolute_bias",
        "interval_coverage",
        "interval_width",
        "pinball",
        "value_per_1000",
    ),
    choose_by="mae",
    slice_metrics=("mae", "rmse", "bias", "value_per_1000"),
    shown=("mae", "rmse", "r2", "value_per_1000"),
    correlated="r2",
    decides=False,
    reviews=(),
    outputs="numbers",
    published=MappingProxyType({"score": PREDICTION}),
    power="rank correlation",
    no_power=0.0,
    learners=(
        *_TREES,
        learner.XGBoost,
        learner.CatBoost,
        learner.LinearRegression,
        learner.LastValue,
        learner.SeasonalMean,
        learner.NeuralNet,
        learner.Estimator,
        learner.Constant,
        learner.Averaging,
        learner.Stacking,
    ),
    values=(PredictionValue,),
    fallback=MeanTable,
)
MULTICLASS = Task(
    name="multiclass",
    label_kind="class",
    metrics=(
        "log_loss",
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "macro_auc",
        "top_k_accuracy",
        "brier",
        "calibration_error",
        "value_per_1000",
    ),
    choose_by="log_loss",
    slice_metrics=("accuracy", "log_loss", "calibration", "value_per_1000"),
    shown=("log_loss", "accuracy", "macro_f1", "macro_auc", "value_per_1000"),
    correlated="accuracy",
    decides=False,
    reviews=("band", "assist"),
    outputs="classes",
    published=MappingProxyType({PREDICTION: PREDICTION, "score": PROBABILITY, PROBABILITIES: PROBABILITIES}),
    power="ROC AUC, the mean of every class against the others",
    no_power=0.5,
    learners=(
        *_TREES,
        learner.XGBoost,
        learner.CatBoost,
        learner.LogisticRegression,
        learner.LinearSVM,
        learner.NeuralNet,
        learner.Estimator,
        learner.Constant,
        learner.Averaging,
        learner.Stacking,
    ),
    values=(ClassValue,),
    fallback=ShareTable,
)
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (BINARY, REGRESSION, MULTICLASS)})
