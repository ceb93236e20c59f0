"""What choosing among arms cost so far: against the best arm alone, and against an A/B test of as many units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.policy import drawn_worth, warming
from mlprod_tasks.bandits.state import State
from mlprod_tasks.statistics.metrics import Estimate

Floats = NDArray[np.float64]
DRAWS = 10_000
ALPHA = 0.05


@dataclass(frozen=True)
class Cost:
    """Sums over all units in the metric's unit, with 95 % intervals.

    lost: what the best arm would have earned more, if all units had had it; gained: beyond equal shares of all arms.
    """

    lost: Estimate
    gained: Estimate


def cost_of(state: State) -> Cost | None:
    """Return what choosing cost, by what the arms may be worth now; None before the end of the warm-up."""
    bandit, known = state.plan.bandit, state.known
    if warming(bandit, known) or known.n.min() == 0:
        return None
    worth = drawn_worth(known, state.seed, state.proportion, DRAWS, by_tick=bandit.by_tick)
    return cost(known, worth)


def cost(known: ArmRewards, worth: Floats) -> Cost:
    """Return the cost of having given each arm so many units. worth: (draws, arms) what a unit may earn with each."""
    units = known.n.sum()
    lost = units * worth.max(axis=1) - worth @ known.n
    gained = worth @ (known.n - units / len(known.n))
    return Cost(_estimate(lost), _estimate(gained))


def _estimate(drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    return Estimate(float(drawn.mean()), float(low), float(high))
