"""What decisions are worth, and from which score on acting pays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import CostMatrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ALWAYS = 0.0
NEVER = float(np.nextafter(1.0, 2.0))  # above every probability: never act


def of_decisions(costs: CostMatrix, decision: Bools, outcome: Bools) -> Floats:
    """The value of each decision, (n,), in the matrix's unit."""
    acted = np.where(outcome, costs.true_positive, costs.false_positive)
    waited = np.where(outcome, costs.false_negative, costs.true_negative)
    return np.where(decision, acted, waited).astype(np.float64)


def best_threshold(costs: CostMatrix, score: Floats, outcome: Bools) -> float:
    """The score from which on acting gave the greatest total value: decision = score >= threshold.

    It lies halfway to the next lower score that was seen, so that rounding does not move a decision. ALWAYS or NEVER where
    acting on every row, or on none, was best; of equal totals the one that acts least wins.
    """
    descending, total = total_by_threshold(costs, score, outcome)
    best = int(np.argmax(total))
    if best == 0:
        return NEVER
    if best == len(descending):
        return ALWAYS
    return float((descending[best - 1] + descending[best]) / 2)


def total_by_threshold(costs: CostMatrix, score: Floats, outcome: Bools) -> tuple[Floats, Floats]:
    """Distinct scores, descending, (m,), and the total value of acting on none of them, on the first, ... on all, (m + 1,)."""
    waiting = of_decisions(costs, np.zeros(len(score), bool), outcome)
    gain = of_decisions(costs, np.ones(len(score), bool), outcome) - waiting
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(score) else np.empty(0, np.int64)
    total = np.concatenate(([0.0], np.cumsum(gain[order])[last])) + waiting.sum()
    return ranked[last], total


def break_even(costs: CostMatrix) -> float:
    """The probability from which on acting pays, if probabilities are right."""
    gain = costs.true_positive - costs.false_negative
    loss = costs.true_negative - costs.false_positive
    return loss / (gain + loss)
