"""Stack predicted classes: a weight for each member and an intercept for each class, on logarithms of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlprod_tasks.models.learners.rows import Floats, LearnerRows, to_sum_one

# A member that is almost certain must not decide alone: its log-odds are clipped at about 14.
SUREST = 1e-6


def pooled(weights: Sequence[float], intercepts: Sequence[float], predicted: Sequence[Floats]) -> Floats:
    """Return the probabilities of classes, (n, classes), of members' probabilities, each (n, classes).

    The logarithmic pool (Genest and Zidek, 1986): logarithm = intercept of the class + sum of weight * that of the member, up
    to a constant of the row. Of two classes it is a logistic regression on log-odds.
    """
    return shares_of(added(weights, intercepts, predicted))


def added(weights: Sequence[float], intercepts: Sequence[float], predicted: Sequence[Floats]) -> Floats:
    """Return what `pooled` adds up, (n, classes)."""
    total = np.tile(np.array(intercepts, np.float64), (len(predicted[0]), 1))
    for weight, shares in zip(weights, predicted, strict=True):
        total += weight * logarithms(shares)
    return total


def logarithms(shares: Floats) -> Floats:
    """Return logarithms of probabilities, which are clipped at SUREST."""
    return np.asarray(np.log(np.maximum(shares, SUREST)))


def shares_of(logs: Floats) -> Floats:
    """Return probabilities whose logarithms are `logs` up to a constant of the row (softmax), (n, classes)."""
    return to_sum_one(np.exp(logs - logs.max(axis=1, keepdims=True)))


def fit_pool(predicted: Floats, rows: LearnerRows, penalty: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return members' weights, at least 0, and the classes' intercepts, that give outcomes the largest likelihood.

    predicted: (members, n, classes). penalty: per row, on the distance of weights from equal ones, and of intercepts from
    0, which also decides the constant that all may share.
    """
    from scipy.optimize import minimize

    logs = logarithms(predicted)
    members, n, classes = logs.shape
    share = np.full(n, 1 / n) if rows.weight is None else rows.weight / rows.weight.sum()
    came = np.zeros((n, classes))
    came[np.arange(n), rows.y] = 1

    def loss(at: Floats) -> tuple[float, Floats]:
        total = np.tensordot(at[:members], logs, axes=1) + at[members:]
        likely = shares_of(total)
        off = share[:, None] * (likely - came)
        distance = at - start
        each = -np.log(np.maximum((likely * came).sum(axis=1), np.finfo(np.float64).tiny))
        gradient = np.append(np.tensordot(logs, off, axes=([1, 2], [0, 1])), off.sum(axis=0)) + 2 * penalty * distance
        return float(share @ each + penalty * distance @ distance), gradient

    start = np.append(np.full(members, 1 / members), np.zeros(classes))
    bounds = [(0, None)] * members + [(None, None)] * classes
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return tuple(solution[:members].tolist()), tuple(solution[members:].tolist())
