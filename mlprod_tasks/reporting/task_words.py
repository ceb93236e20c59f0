"""The words of a report that depend on the kind of prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import number
from mlprod_tasks.training.records import Assembled, shortened

if TYPE_CHECKING:
    from mlprod_tasks.models.learners.links import Link

# The scale of contributions.
SCALES: Mapping[Link, str] = {
    "logit": "log-odds",
    "log": "logarithms of the prediction",
    "identity": "the outcome's own unit",
    "softmax": "the logarithm of the class's probability, against the mean of all classes",
}


@dataclass(frozen=True)
class TaskWords:
    """score: what the model gives for a row. label: what the label's SQL gives. outcomes: the heading of `outcome_cell`.

    lost: what shuffling a feature costs. constant: what the constant baseline does. bounded: whether scores lie between 0 and
    1.
    """

    score: str
    label: str
    outcomes: str
    lost: str
    constant: str
    bounded: bool


BINARY = TaskWords(
    score="score",
    label="The condition",
    outcomes="positive",
    lost="AUC lost",
    constant="The constant gives every row the training window's rate and the same decision.",
    bounded=True,
)
REGRESSION = TaskWords(
    score="prediction",
    label="The number",
    outcomes="mean outcome",
    lost="mean absolute error added",
    constant="The constant predicts the training window's mean for every row.",
    bounded=False,
)


MULTICLASS = TaskWords(
    score="probability of the predicted class",
    label="The class",
    outcomes="most frequent",
    lost="log loss added",
    constant="The constant gives every row the training window's shares of classes.",
    bounded=True,
)


def words_of(pipeline: Pipeline) -> TaskWords:
    """The words of the pipeline's task."""
    return {"binary": BINARY, "regression": REGRESSION, "multiclass": MULTICLASS}[pipeline.task]


def window_cell(assembled: Assembled, window: str) -> str:
    """The same of a window of a training set."""
    mean = None if assembled.means is None else assembled.means[window]
    classes = None if assembled.classes is None else assembled.classes[window]
    return outcome_cell(assembled.rows[window], assembled.positives[window], mean, classes)


def outcome_cell(rows: int, positives: int, mean: float | None, classes: Mapping[str, int] | None = None) -> str:
    """The share of positive outcomes, the mean of numbers, or the most frequent class, for a table."""
    if classes:
        name, most = max(classes.items(), key=lambda one: (one[1], one[0]))
        return f"{shortened(name)} {most / rows:.1%}"
    return f"{positives / rows:.1%}" if mean is None else number(mean)
