"""The input of every learner: a matrix of numbers, NaN if missing, categories coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.models.stored_rows import StoredMatrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Report = Callable[[int, float], bool]
TINY = 1e-15
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Columns:
    """The columns of the matrix.

    names: of the features, in order. categorical: positions of columns with codes. values: of each such column, those that the
    codes 0, 1, ... stand for; empty if unknown.
    """

    names: tuple[str, ...]
    categorical: tuple[int, ...] = ()
    values: tuple[tuple[Any, ...], ...] = ()

    @property
    def numeric(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.names)) if i not in set(self.categorical))


@dataclass(frozen=True)
class LearnerRows:
    """Labelled rows of one window, sorted by time.

    x: (n, features) float64, NaN if missing, categories as codes 0, 1, ...; or left in its file. y: (n,) bool, float64 if
    outcomes are numbers, or int64 codes of classes, from 0 on.
    weight: (n,), or None for equal ones.
    tick: (n,) numbers of ticks, ascending, or None if unknown: then only the order of rows is known.
    classes: the number of classes, which these rows may not all have; None: as many as the largest code tells.
    """

    x: Any  # Floats | StoredMatrix
    y: Any  # Bools | Floats
    weight: Floats | None = None
    tick: NDArray[np.int64] | None = None
    classes: int | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Any) -> LearnerRows:
        """Return some of the rows, by a mask, a slice or positions."""
        return LearnerRows(
            self.x[index],
            self.y[index],
            None if self.weight is None else self.weight[index],
            None if self.tick is None else self.tick[index],
            self.classes,
        )

    def before(self, position: int, gap_ticks: int) -> LearnerRows:
        """Return the rows before a position, without the last `gap_ticks` ticks."""
        if self.tick is None or position >= len(self):
            return self.take(slice(0, position))
        return self.take(slice(0, int(np.searchsorted(self.tick[:position], self.tick[position] - gap_ticks))))

    @property
    def of_numbers(self) -> bool:
        """Whether outcomes are numbers, not yes or no."""
        return bool(self.y.dtype.kind == "f")

    @property
    def of_classes(self) -> bool:
        """Whether outcomes are codes of classes."""
        return bool(self.y.dtype.kind == "i")

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return int(self.y.max()) + 1 if self.classes is None else self.classes

    @property
    def rate(self) -> float:
        """The weighted share of positives, or mean outcome."""
        return float(np.average(self.y, weights=self.weight))


def in_memory(rows: LearnerRows) -> LearnerRows:
    """Return the same rows with their matrix in memory."""
    return replace(rows, x=rows.x.in_memory()) if isinstance(rows.x, StoredMatrix) else rows


def predict(predict_matrix: Callable[[Floats], Floats], x: Floats | StoredMatrix) -> Floats:
    """Return a learner's prediction of each row, (n,) or (n, classes); of a matrix in a file batch by batch."""
    if not isinstance(x, StoredMatrix):
        return predict_matrix(x)
    parts = [predict_matrix(batch) for batch in x.batches()]
    return np.concatenate(parts) if parts else predict_matrix(np.empty((0, x.shape[1])))


def in_32_bits(x: Floats) -> NDArray[np.float32]:
    """Return numbers as libraries of trees read them; those that are too large for 32 bits as the largest."""
    return np.clip(x, -LARGEST, LARGEST).astype(np.float32)


def logit(probability: Floats, tiny: float = TINY) -> Floats:
    """Return log-odds; probabilities are clipped to [tiny, 1 - tiny]."""
    inside = np.clip(probability, tiny, 1 - tiny)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def expit(log_odds: Floats) -> Floats:
    """Return the probability of log-odds, 1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1, small) / (1 + small))


def to_sum_one(shares: Floats) -> Floats:
    """Return positive numbers, (n, classes), scaled so that rows sum to 1, rounding a row alone as in a batch."""
    total = np.zeros(len(shares))
    for i in range(shares.shape[1]):  # in order: numpy's own sum of a row depends on how many there are
        total += shares[:, i]
    return np.asarray(shares / total[:, None])


def loss(y: Any, predicted: Floats, weight: Floats | None = None) -> float:
    """Return the weighted mean log loss of probabilities, or squared error of numbers."""
    if y.dtype == np.bool_:
        return log_loss(y, predicted, weight)
    if y.dtype.kind == "i":
        likely = np.clip(predicted[np.arange(len(y)), y], TINY, 1.0)
        return float(np.average(-np.log(likely), weights=weight))
    return float(np.average((y - predicted) ** 2, weights=weight))


def log_loss(y: Bools, probability: Floats, weight: Floats | None = None) -> float:
    """Return the weighted mean negative log likelihood, by which learners stop."""
    inside = np.clip(probability, TINY, 1 - TINY)
    return float(np.average(-np.where(y, np.log(inside), np.log1p(-inside)), weights=weight))
