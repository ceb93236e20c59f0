"""The weights of rows in fitting: for class imbalance and recency, as declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int64]
Ticks = NDArray[np.int64]


class NoTicks(ValueError):
    """A half-life is declared, but the training rows have no ticks."""


def weights(pipeline: Pipeline, y: Any, tick: Ticks | None, validation_y: Any) -> tuple[Floats | None, Floats | None]:
    """Return the weights of training and validation rows, (n,). y: outcomes as learners read them.

    None if all are equal.
    The validation window is weighted by class only, with the class weights of the training rows: it decides when fitting
    stops, and a learner fitted to weighted outcomes must be stopped by equally weighted ones.

    Raises: NoTicks.
    """
    declared = pipeline.model
    if y.dtype.kind == "i":
        weight, validation_weight = _balanced_classes(declared.weights, y, validation_y)
    else:
        positive, negative = class_weights(declared.weights, y)
        weight, validation_weight = (_by_class(outcome, positive, negative) for outcome in (y, validation_y))
    if declared.half_life is not None:
        if tick is None:
            raise NoTicks(
                f"{pipeline.name}: model.half_life {declared.half_life} needs training rows sorted by their column 'tick'"
            )
        recent = recency(days(pipeline, tick), declared.half_life)
        weight = recent if weight is None else weight * recent
    return weight, validation_weight


def class_weights(declared: str | float, y: Bools) -> tuple[float, float]:
    """Return the weight of a positive and of a negative row.

    'balanced' as in scikit-learn: rows / (2 * rows of the class), after King and Zeng (2001); 1 for a class without rows.
    """
    if declared == "balanced":
        rows, positives = len(y), int(np.sum(y))
        return (rows / (2 * positives) if positives else 1.0, rows / (2 * (rows - positives)) if rows - positives else 1.0)
    return (1.0, 1.0) if isinstance(declared, str) else (float(declared), 1.0)


def _balanced_classes(declared: str | float, y: Codes, validation_y: Codes) -> tuple[Floats | None, Floats | None]:
    """Return 'balanced' weights: rows / (classes * rows of the class). Codes below 0 are not learned from."""
    if declared != "balanced":
        return None, None
    rows = np.bincount(y[y >= 0])
    by_class = rows.sum() / (len(rows) * np.maximum(rows, 1))
    return by_class[y], by_class[validation_y]


def days(pipeline: Pipeline, tick: Ticks) -> Floats:
    """Return the days from the first row's tick to each row's. tick: numbers of ticks, ascending."""
    if len(tick) == 0:
        return np.empty(0)
    schedule, first = pipeline.schedule, int(tick[0])
    names = schedule.names(schedule.shift(schedule.first, first), schedule.shift(schedule.first, int(tick[-1])))
    elapsed = np.array([schedule.elapsed(names[0], name) / timedelta(days=1) for name in names])
    return elapsed[tick - first]


def recency(tick: Floats, half_life: timedelta) -> Floats:
    """Return 0.5 ** (age / half_life), age from the newest row, scaled to mean 1. tick: in days.

    Scaled, so that penalties keep their strength.
    """
    if len(tick) == 0:
        return np.empty(0)
    age = (tick.max() - tick) * (timedelta(days=1) / half_life)
    weight = 0.5**age
    return np.asarray(weight / weight.mean())


def _by_class(y: Bools, positive: float, negative: float) -> Floats | None:
    if positive == negative == 1:
        return None
    return np.where(y, positive, negative)
