"""Tell a bandit in words and numbers: what its arms earned, and how units are shared among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlprod_tasks.bandits.cost import Cost, cost_of
from mlprod_tasks.bandits.run import Plan, plan_of
from mlprod_tasks.bandits.state import at_version, newest_good
from mlprod_tasks.bandits.untold import untold
from mlprod_tasks.documents.formatting import format_count, format_interval, format_number
from mlprod_tasks.platform.bandit_entries import BanditFreeze, BanditRun, BanditState
from mlprod_tasks.statistics.metrics import Estimate


@dataclass(frozen=True)
class Arm:
    """What is known of an arm.

    rewards: how many; mean: of the metric, None without one; best: the probability of being the best; share: of the units
    from now on, None if features choose or nothing is known yet.
    """

    name: str
    rewards: int
    mean: float | None
    best: float | None
    share: float | None


def arms_of(run: BanditRun, states: Sequence[BanditState]) -> list[Arm]:
    """Return what is known of each arm by its last version. states: in order."""
    plan = plan_of(run)
    metric = plan.metric
    state, last = at_version(plan, states), states[-1] if states else None
    found = []
    for name, n, total in zip(plan.arms, state.known.n, state.known.total, strict=True):
        mean = float(total / n) if n else None
        if mean is not None and metric.better == "lower":
            mean = 1 - mean if metric.of == "proportion" else -mean
        best, share = (None, None) if last is None else (last.best[name], last.shares.get(name))
        found.append(Arm(name, int(n), mean, best, share))
    return found


def told(run: BanditRun, states: Sequence[BanditState], frozen: BanditFreeze | None = None) -> str:
    """Tell what a bandit knows, in words. states: in order; frozen: how it is frozen now."""
    plan = plan_of(run)
    lines = [f"{run.name}: {_standing(run)}; {_known(states)}"]
    lines += [] if frozen is None else [f"  {frozen.sentence}"]
    metric, unit = plan.metric, _unit(plan)
    for arm in arms_of(run, states):
        mean = "" if arm.mean is None else f", {metric.name} {format_number(arm.mean)}{unit}"
        best = "" if arm.best is None else f", the best with probability {probability(arm.best)}"
        share = "" if arm.share is None else f"; share {arm.share:.1%}"
        lines.append(f"  {arm.name}: {format_count(arm.rewards, 'reward')}{mean}{best}{share}")
    why = untold(plan.bandit.reward, [state.rewards for state in states]) or cost_so_far(run, states)
    return "\n".join([*lines, f"  {why}"] if why else lines)


def cost_so_far(run: BanditRun, states: Sequence[BanditState]) -> str:
    """Tell what choosing among the arms cost so far; empty during the warm-up, or if rewards tell no arm from another."""
    plan = plan_of(run)
    if untold(plan.bandit.reward, [state.rewards for state in states]) is not None:
        return ""
    cost = cost_of(newest_good(plan, states))
    return "" if cost is None else cost_told(cost, _unit(plan))


def _unit(plan: Plan) -> str:
    return f" {plan.metric.unit}" if plan.metric.unit else ""


def cost_told(cost: Cost, unit: str) -> str:
    """Tell what choosing among the arms cost so far, in words. unit: with a space before it, or empty."""

    def said(one: Estimate) -> str:
        return f"{format_number(one.value)}{unit} {format_interval(one.low, one.high)}"

    return f"so far {said(cost.lost)} less than the best arm alone, {said(cost.gained)} more than an A/B test of as many units"


def probability(value: float) -> str:
    """A probability from draws: none is certain."""
    return "more than 99.9%" if value > 0.999 else f"{value:.1%}"


def choice(plan: Plan) -> str:
    """Name the policy of a bandit."""
    return type(plan.bandit.policy).__name__


def _standing(run: BanditRun) -> str:
    if run.ended is not None:
        return f"ended by {run.ended_by}{f': {run.end_reason}' if run.end_reason else ''}"
    return f"runs from {run.starts}{f' to {run.ends}' if run.ends is not None else ''}"


def _known(states: Sequence[BanditState]) -> str:
    if not states:
        return "no rewards are complete yet"
    return f"knows the rewards of {states[0].through} to {states[-1].through} (version {states[-1].version})"
