"""What depends on the kind of prediction when a challenger is compared with the champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.statistics.regression_metrics import pinball_losses

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """How scores and outcomes of a task are compared, and the words for it.

    losses: of rows, (n,), from their scores and outcomes, (n,) each; less is better. relative: whether `Ramp.score_shift` is in
    standard deviations of the champion's scores. score, loss: their names; loss_meaning: what follows the loss's name.
    """

    losses: Callable[[Floats, Floats], Floats]
    relative: bool
    score: str
    loss: str
    loss_meaning: str
    digits: int | None

    def number(self, value: float, digits: int = 0) -> str:
        """Return a score or a loss as text; probabilities with so many digits more than `digits`."""
        return format_number(value) if self.digits is None else f"{value:.{self.digits + digits}f}"

    def difference(self, value: float, digits: int = 0) -> str:
        """Return a difference of two scores or losses as text, with its sign."""
        if self.digits is None:
            return f"{'+' if value > 0 else ''}{format_number(value)}"
        return f"{value:+.{self.digits + digits}f}"


def squared_errors(score: Floats, outcome: Floats) -> Floats:
    return (score - outcome) ** 2


def absolute_errors(score: Floats, outcome: Floats) -> Floats:
    return np.abs(score - outcome)


PROBABILITIES = Compared(squared_errors, False, "score", "Brier score", "mean squared error of the score, less is better", 3)
NUMBERS = Compared(absolute_errors, True, "prediction", "mean absolute error", "less is better", None)


def compared(pipeline: Pipeline) -> Compared:
    """Return how versions of a use case are compared."""
    if pipeline.task != "regression":
        return PROBABILITIES
    if (quantile := pipeline.quantile) is None:
        return NUMBERS
    meaning = f"of quantile {quantile:g}, less is better"
    losses = lambda score, outcome: pinball_losses(outcome, score, quantile)  # noqa: E731
    return replace(NUMBERS, losses=losses, loss="pinball loss", loss_meaning=meaning)


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
