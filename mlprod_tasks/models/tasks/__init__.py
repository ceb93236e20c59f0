"""What depends on the kind of prediction, from outcomes to metrics: one object per task."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.tasks.binary import Binary
from mlprod_tasks.models.tasks.multiclass import Multiclass
from mlprod_tasks.models.tasks.protocol import Outcomes, OutcomeSummary, PredictionTask
from mlprod_tasks.models.tasks.regression import Regression

__all__ = ["OutcomeSummary", "PredictionTask", "task_of", "task_of_outcomes"]

_TASKS: dict[str, PredictionTask] = {"binary": Binary(), "regression": Regression(), "multiclass": Multiclass()}


def task_of_outcomes(outcome: Outcomes) -> PredictionTask:
    """Return the object of the task with such outcomes, (n,)."""
    return _TASKS[{"b": "binary", "f": "regression", "O": "multiclass"}[outcome.dtype.kind]]


def task_of(pipeline: Pipeline) -> PredictionTask:
    """Return the object of the pipeline's task."""
    return _TASKS[pipeline.task]
