"""Which class is predicted, given the probabilities of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import ClassValue
from mlprod_tasks.declaration.task import TaskName
from mlprod_tasks.statistics.class_scores import ClassScores, Names, names_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassRule:
    """The classes that a model knows, in order, and how it chooses one.

    gains: for each class that may come, what each predicted class is worth then, both in the order of the classes; None to
    choose the likeliest.
    """

    classes: tuple[str, ...]
    gains: tuple[tuple[float, ...], ...] | None = None

    def scores(self, shares: Floats) -> ClassScores:
        """Return probabilities, (n, classes), with their classes."""
        return ClassScores(self.classes, shares)

    def chosen(self, score: ClassScores) -> Names:
        """Return the class that is predicted for each row, (n,); of equal ones the first."""
        if self.gains is None:
            return score.likeliest
        expected = np.zeros(score.shares.shape)
        for real, gains in enumerate(self._gains):  # in order: BLAS rounds a row alone otherwise than in a batch
            expected += score.shares[:, real, None] * gains
        return names_of(expected.argmax(axis=1), self.classes)

    def choice(self, shares: Sequence[float]) -> str:
        """Return the class that is predicted for one row, as `chosen` does."""
        if self.gains is None:
            return self.classes[shares.index(max(shares))]
        expected = np.zeros(len(self.classes))
        for share, gains in zip(shares, self._gains, strict=True):
            expected += share * gains
        return self.classes[expected.argmax()]

    @cached_property
    def _gains(self) -> Floats:
        return np.array(self.gains)


def rule_for(declared: ClassValue, classes: tuple[str, ...]) -> ClassRule:
    """Return the declared rule for these classes."""
    if declared.predict == "likely":
        return ClassRule(classes)
    return ClassRule(classes, tuple(tuple(worth_of(declared, said, real) for said in classes) for real in classes))


def rule_from(written: Mapping[str, Any] | None) -> ClassRule | None:
    """Return the rule of plain values, as `asdict` makes them; None of none."""
    if written is None:
        return None
    gains = written["gains"]
    return ClassRule(tuple(written["classes"]), None if gains is None else tuple(map(tuple, gains)))


def task_name(threshold: float | None, rule: ClassRule | None) -> TaskName:
    """Return the kind of prediction that a model makes that acts from a threshold on, or chooses a class."""
    if rule is not None:
        return "multiclass"
    return "regression" if threshold is None else "binary"


def worth_of(declared: ClassValue, predicted: str, real: str) -> float:
    """Return what it is worth to predict a class when another, or the same, comes."""
    otherwise = declared.right if predicted == real else declared.wrong
    return declared.pairs.get(predicted, {}).get(real, otherwise)
