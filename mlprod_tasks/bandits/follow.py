"""Follow bandits tick by tick: record what they know, and end those whose rule says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.freeze import frozen_now
from mlprod_tasks.bandits.policy import warming
from mlprod_tasks.bandits.run import Plan, champion_now, every, plan_of, stop
from mlprod_tasks.bandits.state import at_version, update
from mlprod_tasks.bandits.told import probability
from mlprod_tasks.bandits.untold import all_null, untold
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.bandit import UCB1, AroundModel, EpsilonGreedy, ThompsonSampling
from mlprod_tasks.experiments.metric_sql import MetricFailed
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun, BanditState

log = logging.getLogger(__name__)
# Who ends a bandit, if it is no person.
RULE, LAST_DAY, PROMOTION, METRIC = "its rule", "its last day", "a promotion", "its metric"
ABSENT, DECLARATION = "an arm without rows", "the declaration"
ENDINGS = (RULE, LAST_DAY, PROMOTION, METRIC, ABSENT, DECLARATION)
# An arm that was to have so many rewards in as many ticks and had none is not given: by chance that happens once in 10^8 times.
MOST_ABSENT, ABSENT_TICKS = 20, 3


def follow_bandits(pipeline: Pipeline, tick: Tick, platform: Platform) -> list[str]:
    """Record what bandits know by a tick, and end those that have a winner, are over, or compare what is no longer deployed.

    Returns: the names of those that were ended.
    """
    if pipeline.experiments is None or pipeline.experiments.bandit is None:
        return _undeclared(pipeline, platform)
    ended = []
    for run in every(pipeline, platform):
        if run.starts > tick.name:
            continue
        why: tuple[str, str] | None
        try:
            why = _end(pipeline, run, update(pipeline, run, tick, platform), tick, platform)
        except MetricFailed as error:
            why = METRIC, str(error)
        if run.ended is None and why is not None:
            stop(pipeline, run.name, why[0], why[1], platform)
            ended.append(run.name)
            log.info("%s: bandit %s ended: %s", pipeline.name, run.name, why[1])
    return ended


def _undeclared(pipeline: Pipeline, platform: Platform) -> list[str]:
    """End bandits of a declaration that has none any more: nothing says what they would learn from."""
    ended = [run.name for run in every(pipeline, platform) if run.ended is None]
    for name in ended:
        stop(pipeline, name, DECLARATION, f"{pipeline.name} declares no bandit any more", platform)
    return ended


def absent(plan: Plan, states: Sequence[BanditState]) -> str | None:
    """Return an arm that had no row in the last ticks, though it was to have some; None without one.

    Its version is not registered any more, or fails for every row.
    """
    if len(states) < ABSENT_TICKS:
        return None
    each = np.array([ArmRewards.from_json(state.rewards).n for state in states])
    arms, last = len(plan.arms), each[-ABSENT_TICKS:].sum(axis=0)
    policy = plan.bandit.policy
    if isinstance(policy, AroundModel):
        least = np.full(arms, policy.share / (arms - 1))
    else:  # one that never had any is in its warm-up
        least = np.where(each.sum(axis=0) == 0, 1 / arms, plan.bandit.floor)
    missing = (last == 0) & (least * last.sum() >= MOST_ABSENT)
    return plan.arms[int(missing.argmax())] if missing.any() else None


def winner(plan: Plan, states: Sequence[BanditState]) -> tuple[str, float] | None:
    """Return the arm that a bandit's rule lets win, with its probability to be the best; None if none does.

    It wins with the first version by which it is the best with the declared probability, after the warm-up; later rewards
    do not change that. Arms that are chosen by features, or not by what they earn, have no winner.
    """
    bandit = plan.bandit
    if bandit.best is None or not isinstance(bandit.policy, EpsilonGreedy | UCB1 | ThompsonSampling):
        return None
    had = np.zeros(len(plan.arms))
    for state in states:
        had += ArmRewards.from_json(state.rewards).n
        arm, chance = leader(state)
        if had.min() >= bandit.warm_up and chance >= bandit.best:
            return arm, chance
    return None


def leader(state: BanditState) -> tuple[str, float]:
    """Return the arm that is the best most probably, and with which probability."""
    arm = max(state.best, key=lambda one: float(state.best[one]))
    return arm, float(state.best[arm])


def _end(
    pipeline: Pipeline, run: BanditRun, states: Sequence[BanditState], tick: Tick, platform: Platform
) -> tuple[str, str] | None:
    """By whom and why a bandit ends now; None if it goes on. No rewards end one that is frozen."""
    plan, frozen = plan_of(run), frozen_now(run, platform) is not None
    if not frozen and (found := _by_rewards(plan, states)) is not None:
        return found
    champion = champion_now(pipeline, platform)
    if not plan.acts and champion != plan.variants[0].version:
        return PROMOTION, f"version {champion} became champion: it chose among arms of version {plan.variants[0].version}"
    if frozen:
        return (LAST_DAY, "no arm won; it was frozen") if run.ends is not None and tick.name > run.ends else None
    if (arm := absent(plan, states)) is not None:
        return (
            ABSENT,
            f"{arm} had no row in {ABSENT_TICKS} ticks: its version is not registered any more, or fails for all rows",
        )
    if run.ends is not None and states and states[-1].through >= run.ends:
        arm, chance = leader(states[-1])
        return LAST_DAY, f"no arm won; {arm} is the best with probability {probability(chance)}"
    return None


def _by_rewards(plan: Plan, states: Sequence[BanditState]) -> tuple[str, str] | None:
    """By whom and why a bandit ends by what is known of its arms; None if it goes on."""
    rewards = [state.rewards for state in states]
    if all_null(rewards) and not warming(plan.bandit, at_version(plan, states).known):
        return METRIC, untold(plan.bandit.reward, rewards) or ""
    if (won := winner(plan, states)) is not None:
        return RULE, f"{won[0]} is the best with probability {probability(won[1])}"
    return None
