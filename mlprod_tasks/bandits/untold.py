"""What keeps a bandit from learning: rewards that are null, alike, or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlprod_tasks.documents.formatting import format_count

NO_REWARD_TICKS = 3  # of one tick alone outcomes may be missing
ALIKE = 1e-13  # of the sum of squares: less around the mean is rounding


def untold(metric: str, rewards: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the rewards of some ticks tell no arm from another, in a sentence; None if they may.

    rewards: those of each tick, as `ArmRewards.as_json` wrote them.
    """
    n, nulls = _sum(rewards, "n"), _sum(rewards, "nulls")
    if not n:
        few = len(rewards) < NO_REWARD_TICKS
        return (
            None if few else f"no unit had a reward in {format_count(len(rewards), 'tick')}: rows have no unit, or no outcome"
        )
    if nulls == n:
        return f"metric {metric!r} is null for all {format_count(round(n), 'reward')}: check its sql, and what it reads"
    if are_alike(n, _sum(rewards, "total"), _sum(rewards, "squares")):
        return f"all {format_count(round(n), 'reward')} are alike: they tell no arm from another"
    return None


def are_alike(n: float, total: float, squares: float) -> bool:
    """Whether numbers are the same, but for rounding. n, total, squares: how many, their sum, and that of their squares."""
    return n > 0 and squares - total**2 / n <= ALIKE * squares


def all_null(rewards: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are rewards, and the metric is null for all."""
    return 0 < _sum(rewards, "n") == _sum(rewards, "nulls")


def _sum(rewards: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(sum(sum(one.get(what, ())) for one in rewards))
