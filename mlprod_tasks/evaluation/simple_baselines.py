"""The declared baselines of numbers, each by itself: what the last value, or the mean of a season, would have predicted."""

from __future__ import annotations

import numpy as np

from mlprod_tasks.declaration import LastValue, Pipeline, SeasonalMean
from mlprod_tasks.evaluation.results import Estimates
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.learners import fit_learner
from mlprod_tasks.models.learners.rows import predict
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.statistics.resamples import Ticks
from mlprod_tasks.training import fit_model
from mlprod_tasks.training.split import TRAIN
from mlprod_tasks.training.workspace import TrainingFolder, read_window


def simple_baselines(pipeline: Pipeline, folder: TrainingFolder, rows: Rows, ticks: Ticks | None) -> dict[str, Estimates]:
    """Measure the candidates that are a LastValue or SeasonalMean on labelled rows, by name.

    They are fitted to the training window, which is read only if there are any. ticks: those that are drawn for intervals.
    """
    declared = [one for one in pipeline.model.candidates if isinstance(one, LastValue | SeasonalMean)]
    if not declared:
        return {}
    prepared = fit_model.prepare(pipeline, read_window(folder, TRAIN), rows)
    task, outcome = task_of(pipeline), prepared.validation_outcome
    measured = {}
    for learner in declared:
        fitted = fit_learner(learner, prepared.columns, prepared.train, prepared.validation, pipeline.model)
        predicted = predict(fitted.predict, prepared.validation_x)
        worth = decision_value.worth(pipeline.value, rows, predicted, outcome).acted
        decided = Predictions(predicted, np.zeros(len(predicted), bool))
        measured[learner.name] = task.sample(pipeline, outcome, decided, worth, ticks).estimates()
    return measured
