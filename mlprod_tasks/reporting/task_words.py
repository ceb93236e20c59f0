"""The words of a report that depend on the kind of prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import number

if TYPE_CHECKING:
    from mlprod_tasks.models.learners.links import Link

# The scale of contributions.
SCALES: Mapping[Link, str] = {"logit": "log-odds", "log": "logarithms of the prediction", "identity": "the outcome's own unit"}


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


def words_of(pipeline: Pipeline) -> TaskWords:
    """The words of the pipeline's task."""
    return {"binary": BINARY, "regression": REGRESSION}[pipeline.task]


def outcome_cell(rows: int, positives: int, mean: float | None) -> str:
    """The share of positive outcomes, or the mean of numbers, for a table."""
    return f"{positives / rows:.1%}" if mean is None else number(mean)
