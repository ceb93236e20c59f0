"""What a layer makes of the champion's scores: of many rows at once, and the same bits of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.models.learners.rows import to_sum_one
from mlprod_tasks.statistics.class_scores import ClassScores

Floats = NDArray[np.float64]
TINY = 1e-12  # of a probability: none moves further down, however small the champion's was


class Layer(Protocol):
    """Adapted scores of the champion's. What reads features, too, is a `row_by_row.RowByRowLayer`."""

    def __call__(self, score: Any) -> Any:
        """Return adapted scores, (n,), or ClassScores."""

    def single(self) -> Callable[[Any], Any]:
        """Return the same function, bit for bit, of one score, or of the probabilities of one row."""


@dataclass(frozen=True)
class NumberLayer:
    """shift + slope * number."""

    shift: float
    slope: float

    def __call__(self, score: Floats) -> Floats:
        return np.asarray(self.shift + self.slope * score, np.float64)

    def single(self) -> Callable[[float], float]:
        shift, slope = self.shift, self.slope
        return lambda score: shift + slope * score


@dataclass(frozen=True)
class ClassLayer:
    """Log probabilities times a slope, plus an intercept for each class, scaled to sum to 1. intercepts: by class."""

    classes: tuple[str, ...]
    slope: float
    intercepts: tuple[float, ...]

    def __call__(self, score: ClassScores) -> ClassScores:
        shares = score.aligned(self.classes)
        moved = np.empty(shares.shape)
        for i, intercept in enumerate(self.intercepts):
            moved[:, i] = np.exp(self.slope * np.log(np.maximum(shares[:, i], TINY)) + intercept)
        return ClassScores(self.classes, to_sum_one(moved))

    def single(self) -> Callable[[Sequence[float]], list[float]]:
        slope, intercepts = self.slope, self.intercepts

        def adapted(shares: Sequence[float]) -> list[float]:
            moved, total = [], 0.0
            for share, intercept in zip(shares, intercepts, strict=True):
                moved.append(float(np.exp(slope * np.log(np.float64(max(share, TINY))) + intercept)))
                total += moved[-1]
            return [one / total for one in moved]

        return adapted
