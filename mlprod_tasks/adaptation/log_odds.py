"""The layer of a yes or no: an intercept and a slope of the log odds.

Of a tick is kept how many rows and positives there are in narrow bins of the champion's log odds: (bins, 3), rows, sum of log
odds, positives. The mean log odds of a bin stand for its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Adapt
from mlprod_tasks.models.calibration import TINY, Calibration

Floats = NDArray[np.float64]
WIDTH, FURTHEST = 0.05, 200  # of a bin, in log odds; how many bins there are on each side of 0
STEPS, CLOSE = 50, 1e-10  # Newton's
Parameters = tuple[float, ...]  # intercept, slope
UNCHANGED: Parameters = (0.0, 1.0)


def summed(score: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Return what is kept of the rows of a tick, in a fixed order. score, outcome: (n,)."""
    inside = np.clip(score, TINY, 1 - TINY)
    odds = np.log(inside / (1 - inside))
    at = np.clip(np.rint(odds / WIDTH), -FURTHEST, FURTHEST).astype(np.int64) + FURTHEST
    columns = [np.bincount(at, weights, minlength=2 * FURTHEST + 1) for weights in (None, odds, outcome.astype(np.float64))]
    bins = np.stack(columns, axis=1).astype(np.float64)
    return bins[bins[:, 0] > 0]


def fit(ticks: Sequence[Floats], weights: Sequence[float], adapt: Adapt, start: Parameters) -> Parameters:
    """Return the parameters that fit ticks best, and `adapt.prior` ticks on which the champion's scores are right.

    ticks: what is kept of each; weights: of each tick. Penalised maximum likelihood by Newton's method; the prior is data, as
    Clogg et al. (JASA 86, 1991) add it, so that nothing depends on how the parameters are written.
    """
    bins = np.concatenate([tick * weight for tick, weight in zip(ticks, weights, strict=True)])
    rows, positives = bins[:, 0], bins[:, 2]
    x = bins[:, 1] / rows
    right = adapt.prior / sum(weights)  # rows of the prior, for each weighted row
    rows, positives = (1 + right) * rows, positives + right * rows / (1 + np.exp(-x))
    centre = float((rows * x).sum() / rows.sum())
    z = x - centre
    low, high = adapt.slopes
    at, slope = start[0] + start[1] * centre, start[1]
    at, slope = _newton(rows, positives, z, at, slope, fixed=low == high)
    if not low <= slope <= high:
        at, slope = _newton(rows, positives, z, at, min(max(slope, low), high), fixed=True)
    at = min(max(at, centre - adapt.most), centre + adapt.most)
    return at - slope * centre, slope


def loss(tick: Floats, parameters: Parameters) -> float:
    """Return the log loss of a tick's rows, added up."""
    rows, odds, positives = tick.T
    z = parameters[0] + parameters[1] * odds / rows
    return float((rows * np.logaddexp(0.0, z) - positives * z).sum())


def layer(parameters: Parameters, classes: tuple[str, ...]) -> Any:
    """Return the layer with these parameters."""
    return Calibration("sigmoid", (parameters[1],), (parameters[0],))


def parameter_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each parameter is, for people."""
    return ("intercept of log odds", "slope")


def shift(tick: Floats, parameters: Parameters) -> float:
    """Return by how much the mean score of a tick's rows is moved."""
    rows, odds, _ = tick.T
    x = odds / rows
    moved = 1 / (1 + np.exp(-(parameters[0] + parameters[1] * x))) - 1 / (1 + np.exp(-x))
    return float((rows * moved).sum() / rows.sum())


def _newton(rows: Floats, positives: Floats, z: Floats, at: float, slope: float, *, fixed: bool) -> tuple[float, float]:
    """Maximise the likelihood of positives by at + slope * z. fixed: whether the slope stays."""
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(at + slope * z)))
        left, spread = positives - rows * p, rows * p * (1 - p)
        g0, g1 = float(left.sum()), float((left * z).sum())
        h00, h01, h11 = float(spread.sum()), float((spread * z).sum()), float((spread * z * z).sum())
        determinant = h00 * h11 - h01 * h01
        if fixed or determinant <= 1e-12 * h00 * h11:  # all scores alike: they have no slope
            moves = g0 / h00, 0.0
        else:
            moves = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        # A step of Newton's method may overshoot where scores are near 0 or 1.
        at, slope = at + min(max(moves[0], -1.0), 1.0), slope + min(max(moves[1], -0.5), 0.5)
        if abs(moves[0]) + abs(moves[1]) < CLOSE:
            break
    return at, slope
