"""What each feature adds to the probability of each class."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.rows import Floats


@runtime_checkable
class Adding(Protocol):
    """A learner that adds up a number for each class, whose softmax are the probabilities."""

    def class_contributions(self, x: Floats) -> Floats | None:
        """Return what each feature adds to it, (n, classes, features + 1), the base last; None if it is not known exactly."""


def class_contributions(fitted: FittedLearner, x: Floats) -> Floats | None:
    """Return what each feature adds to each class, (n, classes, features + 1), the base last; None if it is not known exactly.

    A row's sum is the logarithm of the class's probability before calibration minus the mean of those of all classes: what is
    added to all of them changes no probability. Exact Shapley values of boosted trees (Lundberg et al., 2020).
    """
    added = fitted.class_contributions(x) if isinstance(fitted, Adding) else None
    return None if added is None else added - added.mean(axis=1, keepdims=True)
