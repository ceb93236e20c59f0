"""The layer of several classes: an intercept for each, and one slope, of log probabilities.

Of a tick are kept evenly spread rows: (rows, 2 + classes), for how many rows each stands, the position of the class that came,
and the log probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.adaptation.layers import TINY, ClassLayer
from mlprod_tasks.declaration import Adapt
from mlprod_tasks.statistics.class_scores import ClassScores

Floats = NDArray[np.float64]
Parameters = tuple[float, ...]  # slope, and the intercepts in the order of the classes
UNCHANGED: Parameters = ()  # whatever the classes are
MOST_ROWS = 300  # of a tick
STEPS, CLOSE, RIDGE = 30, 1e-8, 1e-6


def summed(score: ClassScores, outcome: Any) -> Floats:
    """Return what is kept of the rows of a tick, in a fixed order; those of a class that the champion does not know are not."""
    codes = score.codes(outcome)
    known = np.flatnonzero(codes >= 0)
    if len(known) > MOST_ROWS:
        known = known[np.linspace(0, len(known) - 1, MOST_ROWS).astype(np.int64)]
    stands_for = np.full(len(known), np.count_nonzero(codes >= 0) / max(len(known), 1))
    logs = np.log(np.maximum(score.shares[known], TINY))
    return np.column_stack([stands_for, codes[known].astype(np.float64), logs])


def fit(ticks: Sequence[Floats], weights: Sequence[float], adapt: Adapt, start: Parameters) -> Parameters:
    """Return the parameters that fit ticks best, and `adapt.prior` ticks on which the champion's probabilities are right.

    ticks: what is kept of each; weights: of each tick. Penalised maximum likelihood by Newton's method, as in `log_odds.fit`.
    """
    rows = np.concatenate(ticks)
    each = np.concatenate([np.full(len(tick), weight) for tick, weight in zip(ticks, weights, strict=True)]) * rows[:, 0]
    logs = rows[:, 2:]
    right = adapt.prior / sum(weights)
    target = right * each[:, None] * np.exp(logs)
    target[np.arange(len(rows)), rows[:, 1].astype(np.int64)] += each
    each = target.sum(axis=1)
    low, high = adapt.slopes
    begin = start or (1.0, *np.zeros(logs.shape[1]))
    slope, intercepts = _newton(logs, target, each, begin[0], np.array(begin[1:]), fixed=low == high)
    if not low <= slope <= high:
        slope, intercepts = _newton(logs, target, each, min(max(slope, low), high), intercepts, fixed=True)
    intercepts = np.clip(intercepts - intercepts.mean(), -adapt.most, adapt.most)
    return slope, *intercepts.tolist()


def loss(tick: Floats, parameters: Parameters) -> float:
    """Return the log loss of a tick's rows, added up."""
    logs, came = tick[:, 2:], tick[:, 1].astype(np.int64)
    slope, intercepts = (parameters[0], np.array(parameters[1:])) if parameters else (1.0, np.zeros(logs.shape[1]))
    p = _shares(logs, slope, intercepts)
    return float((tick[:, 0] * -np.log(np.maximum(p[np.arange(len(tick)), came], TINY))).sum())


def layer(parameters: Parameters, classes: tuple[str, ...]) -> Any:
    """Return the layer with these parameters. classes: of the champion, in its order."""
    return ClassLayer(classes, parameters[0], tuple(parameters[1:]))


def parameter_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each parameter is, for people."""
    return ("slope", *(f"intercept of {name}" for name in classes))


def shift(tick: Floats, parameters: Parameters) -> float:
    """Return by how much the mean probabilities of a tick's rows are moved: the largest of the classes."""
    if not parameters:
        return 0.0
    logs, each = tick[:, 2:], tick[:, 0]
    moved = _shares(logs, parameters[0], np.array(parameters[1:])) - _shares(logs, 1.0, np.zeros(logs.shape[1]))
    means = (each[:, None] * moved).sum(axis=0) / each.sum()
    return float(means[np.abs(means).argmax()])


def _shares(logs: Floats, slope: float, intercepts: Floats) -> Floats:
    z = slope * logs + intercepts
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _newton(
    logs: Floats, target: Floats, each: Floats, slope: float, intercepts: Floats, *, fixed: bool
) -> tuple[float, Floats]:
    """Maximise the likelihood of `target`, (rows, classes), by slope * logs + intercepts. fixed: whether the slope stays."""
    classes = logs.shape[1]
    now = np.array([slope, *intercepts])
    for _ in range(STEPS):
        p = _shares(logs, now[0], now[1:])
        left, weighted = target - each[:, None] * p, each[:, None] * p
        mean = (p * logs).sum(axis=1)
        gradient = np.array([(left * logs).sum(), *left.sum(axis=0)])
        hessian = np.empty((classes + 1, classes + 1))
        hessian[0, 0] = (weighted * logs * logs).sum() - (each * mean * mean).sum()
        hessian[0, 1:] = hessian[1:, 0] = (weighted * (logs - mean[:, None])).sum(axis=0)
        hessian[1:, 1:] = np.diag(weighted.sum(axis=0)) - weighted.T @ p
        hessian += RIDGE * each.sum() * np.eye(classes + 1)  # intercepts that are all moved alike change nothing
        if fixed:
            hessian[0, 1:] = hessian[1:, 0] = gradient[0] = 0.0
        step = np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)
        now += step
        if np.abs(step).max() < CLOSE:
            break
    return float(now[0]), now[1:]
