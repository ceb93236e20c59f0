"""The layer of a number: a shift, and a slope around the mean prediction.

Of a tick are kept sums over its rows: (1, 6), rows, predictions p, errors e = outcome - p, p * p, p * e, e * e.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.adaptation.layers import NumberLayer
from mlprod_tasks.declaration import Adapt

Floats = NDArray[np.float64]
Parameters = tuple[float, ...]  # shift, slope
UNCHANGED: Parameters = (0.0, 1.0)


def summed(score: Floats, outcome: Floats) -> Floats:
    """Return what is kept of the rows of a tick, in a fixed order. score, outcome: (n,)."""
    error = outcome - score
    each = (np.ones(len(score)), score, error, score * score, score * error, error * error)
    return np.array([[one.sum() for one in each]], np.float64)


def fit(ticks: Sequence[Floats], weights: Sequence[float], adapt: Adapt, start: Parameters) -> Parameters:
    """Return the parameters with the least squared error on ticks, and on `adapt.prior` ticks whose predictions are right.

    ticks: what is kept of each; weights: of each tick.
    """
    n, p, e, pp, pe, _ = sum(tick[0] * weight for tick, weight in zip(ticks, weights, strict=True))
    shrunk = 1 / (1 + adapt.prior / sum(weights))  # a prior of rows without error has the same predictions
    mean, error = float(p / n), float(e / n) * shrunk
    variance = float(pp / n) - mean * mean
    if variance <= 1e-12 * mean * mean:  # predictions that hardly differ: what is left is made of rounding
        variance = 0.0
    covariance = (float(pe / n) - mean * float(e / n)) * shrunk
    low, high = adapt.slopes
    slope = min(max(1.0 + covariance / variance, low), high) if variance else 1.0
    furthest = adapt.most * sqrt(variance)
    return min(max(error, -furthest), furthest) + (1.0 - slope) * mean, slope


def loss(tick: Floats, parameters: Parameters) -> float:
    """Return the squared errors of a tick's rows, added up: of e - shift - (slope - 1) * p."""
    n, p, e, pp, pe, ee = tick[0]
    a, b = parameters[0], parameters[1] - 1.0
    return float(ee + a * a * n + b * b * pp - 2 * a * e - 2 * b * pe + 2 * a * b * p)


def layer(parameters: Parameters, classes: tuple[str, ...]) -> Any:
    """Return the layer with these parameters."""
    return NumberLayer(*parameters)


def parameter_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each parameter is, for people."""
    return ("shift", "slope")


def shift(tick: Floats, parameters: Parameters) -> float:
    """Return by how much the mean prediction of a tick's rows is moved."""
    n, p, *_ = tick[0]
    return float(parameters[0] + (parameters[1] - 1.0) * p / n)
