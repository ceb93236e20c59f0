"""What each row counts in fitting: class imbalance and recency, as declared."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Days = NDArray[np.int64]


class NoTicks(ValueError):
    """A half-life is declared, but the training rows do not say when they were."""


def weights(pipeline: Pipeline, y: Bools, tick: Days | None, validation_y: Bools) -> tuple[Floats | None, Floats | None]:
    """Weights of training and of validation rows, (n,), None where all count the same.

    The validation window is weighted by class only, with the training rows' weights: it says when to stop, and a learner that
    is fitted to weighted outcomes is to be stopped by equally weighted ones.

    Raises: NoTicks.
    """
    declared = pipeline.model
    positive, negative = class_weights(declared.weights, y)
    weight, validation_weight = (_by_class(outcome, positive, negative) for outcome in (y, validation_y))
    if declared.half_life is not None:
        if tick is None:
            raise NoTicks(
                f"{pipeline.name}: model.half_life {declared.half_life} needs training rows sorted by their column 'tick'"
            )
        recent = recency(tick, declared.half_life)
        weight = recent if weight is None else weight * recent
    return weight, validation_weight


def class_weights(declared: str | float, y: Bools) -> tuple[float, float]:
    """What a positive and what a negative counts.

    'balanced' as in scikit-learn: rows / (2 * rows of the class), after King and Zeng (2001); a class without rows counts 1.
    """
    if declared == "balanced":
        rows, positives = len(y), int(np.sum(y))
        return (rows / (2 * positives) if positives else 1.0, rows / (2 * (rows - positives)) if rows - positives else 1.0)
    return (1.0, 1.0) if isinstance(declared, str) else (float(declared), 1.0)


def recency(tick: Days, half_life: timedelta) -> Floats:
    """0.5 ** (age / half_life), age counted from the newest row, over its mean: penalties keep their strength."""
    if len(tick) == 0:
        return np.empty(0)
    age = (tick.max() - tick) * (timedelta(days=1) / half_life)
    made = 0.5**age
    return np.asarray(made / made.mean())


def _by_class(y: Bools, positive: float, negative: float) -> Floats | None:
    if positive == negative == 1:
        return None
    return np.where(y, positive, negative)
