"""What depends on the kind of prediction when a challenger is compared with the champion: one object per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import PROBABILITIES
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.predicted_columns import SCORE, read_scores
from mlprod_tasks.statistics import class_metrics
from mlprod_tasks.statistics.class_scores import ClassScores, in_order
from mlprod_tasks.statistics.regression_metrics import pinball_losses

Floats = NDArray[np.float64]
Scores = Any  # Floats, (n,), | ClassScores; NaN for a row that nothing answered
Outcomes = Any  # Floats, (n,), NaN if unknown | Names, (n,), None if unknown


@dataclass(frozen=True)
class Compared:
    """How scores and outcomes of a task are compared, and the words for it.

    losses: of rows, (n,), from their scores and outcomes; less is better, NaN if either is missing. means: of two versions, by
    name, the numbers of each, (n,), whose means may differ by `Ramp.score_shift`. relative: whether that is in standard
    deviations of the champion's scores. columns: of the log, that hold scores; read_scores: them from these columns.
    outcome_type: of outcomes, in SQL; read_outcomes: them from their column. score, loss: their names; loss_meaning: what
    follows the loss's name.
    """

    losses: Callable[[Scores, Outcomes], Floats]
    relative: bool
    score: str
    loss: str
    loss_meaning: str
    digits: int | None
    means: Callable[[Scores, Scores], Mapping[str, tuple[Floats, Floats]]]
    columns: tuple[str, ...]
    read_scores: Callable[[pa.Table], Scores]
    outcome_type: str
    read_outcomes: Callable[[pa.ChunkedArray], Outcomes]

    def number(self, value: float, digits: int = 0) -> str:
        """Return a score or a loss as text; probabilities with so many digits more than `digits`."""
        return format_number(value) if self.digits is None else f"{value:.{self.digits + digits}f}"

    def difference(self, value: float, digits: int = 0) -> str:
        """Return a difference of two scores or losses as text, with its sign."""
        if self.digits is None:
            return f"{'+' if value > 0 else ''}{format_number(value)}"
        return f"{value:+.{self.digits + digits}f}"

    def named(self, name: str) -> str:
        """Return the name of scores, with the class that they are of."""
        return f"{self.score} of {name!r}" if name else self.score


def squared_errors(score: Floats, outcome: Floats) -> Floats:
    return (score - outcome) ** 2


def absolute_errors(score: Floats, outcome: Floats) -> Floats:
    return np.abs(score - outcome)


def log_losses(score: ClassScores, outcome: Any) -> Floats:
    """Return the negative log likelihood of each row's class; that of an unknown class is the largest."""
    known = np.array([one is not None for one in outcome], bool) & _answered(score)
    losses = np.full(len(outcome), np.nan)
    losses[known] = class_metrics.row_losses(outcome[known], score[known])
    return losses


def _as_numbers(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)


def _as_names(column: pa.ChunkedArray) -> Any:
    return np.array([*column.to_pylist(), None], object)[:-1]  # the last one keeps numpy from making texts of all texts


def _logged_classes(rows: pa.Table) -> ClassScores:
    texts = rows[PROBABILITIES]
    answered = np.asarray(pc.is_valid(texts).to_numpy(zero_copy_only=False), bool)
    scores = read_scores(texts.drop_null().to_pylist())
    shares = np.full((len(texts), len(scores.classes)), np.nan)
    shares[answered] = scores.shares
    return ClassScores(scores.classes, shares)


def _of_each_class(ours: ClassScores, theirs: ClassScores) -> dict[str, tuple[Floats, Floats]]:
    """The probabilities of each class; 0 for one that a version does not know."""
    return {name: (_share(ours, name), _share(theirs, name)) for name in in_order([*ours.classes, *theirs.classes])}


def _share(scores: ClassScores, name: str) -> Floats:
    if name in scores.classes:
        return scores.shares[:, scores.classes.index(name)]
    return np.where(_answered(scores), 0.0, np.nan)


def _answered(scores: ClassScores) -> NDArray[np.bool_]:
    """Whether each row has probabilities, (n,). Where nothing was answered, no class is known either."""
    return np.asarray(np.isfinite(scores.shares).any(axis=1), bool)


PROBABILITIES_OF_YES = Compared(
    squared_errors,
    False,
    "score",
    "Brier score",
    "mean squared error of the score, less is better",
    3,
    means=lambda ours, theirs: {"": (ours, theirs)},
    columns=(SCORE,),
    read_scores=lambda rows: _as_numbers(rows[SCORE]),
    outcome_type="DOUBLE",
    read_outcomes=_as_numbers,
)
NUMBERS = replace(
    PROBABILITIES_OF_YES,
    losses=absolute_errors,
    relative=True,
    score="prediction",
    loss="mean absolute error",
    loss_meaning="less is better",
    digits=None,
)
CLASSES = Compared(
    log_losses,
    False,
    "probability",
    "log loss",
    "mean of the class that came, less is better",
    3,
    means=_of_each_class,
    columns=(SCORE, PROBABILITIES),
    read_scores=_logged_classes,
    outcome_type="VARCHAR",
    read_outcomes=_as_names,
)
_OF_TASKS: Mapping[str, Compared] = {"binary": PROBABILITIES_OF_YES, "regression": NUMBERS, "multiclass": CLASSES}


def compared(pipeline: Pipeline) -> Compared:
    """Return how versions of a use case are compared."""
    how = _OF_TASKS[pipeline.task]
    if (quantile := pipeline.quantile) is None:
        return how
    meaning = f"of quantile {quantile:g}, less is better"
    losses = lambda score, outcome: pinball_losses(outcome, score, quantile)  # noqa: E731
    return replace(how, losses=losses, loss="pinball loss", loss_meaning=meaning)


def check_names(pipeline: Pipeline) -> dict[str, str]:
    """Return the name of each check, for people."""
    how = compared(pipeline)
    return {
        "errors": "failed requests",
        "latency": "latency, ms",
        "scores": f"mean {how.score}",
        "quality": how.loss,
        "rows": "rows",
        "overtaken": "still the newest",
    }
