"""What a policy would have earned on the units that an experiment or a bandit split by chance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits import run as bandits
from mlprod_tasks.bandits.arm_rewards import ArmRewards, remembered
from mlprod_tasks.bandits.logged import ArmLog, LoggedTick, logged_tick
from mlprod_tasks.bandits.run import Plan
from mlprod_tasks.bandits.state import State, delay_ticks, rewards_of
from mlprod_tasks.bandits.told import choice
from mlprod_tasks.declaration import Pipeline, Tick, UnitMetric
from mlprod_tasks.declaration.experiment import VARIANT, Rows
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_interval, format_number
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.looks import complete
from mlprod_tasks.experiments.metric_sql import MetricFailed
from mlprod_tasks.experiments.units import waits
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun
from mlprod_tasks.statistics.off_policy import Logged, NoOverlap, OffPolicy, Value
from mlprod_tasks.statistics.off_policy import evaluate as value_of

Floats = NDArray[np.float64]
ALPHA = 0.05
log = logging.getLogger(__name__)


class CannotEvaluate(ValueError):
    """The log does not tell what the policy would earn; the message says why."""


@dataclass(frozen=True)
class Evaluated:
    """What a policy would have earned. policy: in words; first, last: the ticks whose units were read."""

    policy: str
    metric: UnitMetric
    first: TickName
    last: TickName
    value: OffPolicy


@dataclass(frozen=True)
class _Log:
    """Who split the units by chance.

    arm: the column that names what a row was given; reward: the name of the metric; rows: where they are.
    """

    name: str
    arms: tuple[str, ...]
    arm: str
    starts: TickName
    last: TickName
    reward: str
    rows: Rows


def evaluate(
    pipeline: Pipeline, name: str, tick: Tick, platform: Platform, *, shares: Mapping[str, float] | None = None
) -> Evaluated:
    """Return what a policy would have earned on the units of an experiment or bandit, from outcomes complete by a tick.

    shares: with which share the policy gives each arm; None replays the declared bandit: at each tick its shares follow from
    the rewards that were complete by then, those of the logged units.

    Raises: CannotEvaluate, NoOverlap, NoExperiment, MetricFailed.
    """
    rows = _log(pipeline, name, tick, platform)
    assert pipeline.experiments is not None
    metric = pipeline.experiments.metric(rows.reward)
    plan = Plan(bandits.declared(pipeline), metric, rows.arms, ()) if shares is None else None
    features = () if plan is None else plan.bandit.features
    delay = delay_ticks(pipeline, metric)
    last = min(rows.last, pipeline.schedule.shift(tick.name, -delay))
    read = waits(pipeline, (metric,))
    ticks = list(complete(pipeline, rows.rows, rows.starts, last, read, platform)) if last >= rows.starts else []
    found = [
        logged_tick(
            pipeline, ArmLog(name, rows.arm, rows.rows, features), one, metric,
            pipeline.schedule.tick(pipeline.schedule.shift(one, delay)), platform,
        )
        for one in ticks
    ]  # fmt: skip
    if not sum(len(one.unit) for one in found):
        raise CannotEvaluate(f"{pipeline.name}: no unit of {name!r} has a complete outcome yet")
    if plan is None:
        assert shares is not None
        target = np.tile(_given(rows, shares), (sum(len(one.unit) for one in found), 1))
        policy = ", ".join(f"{arm} {share:.0%}" for arm, share in shares.items())
    else:
        target, policy = _replay(pipeline, plan, metric, found, delay), f"the declared {choice(plan)}"
    return Evaluated(policy, metric, ticks[0], ticks[-1], value_of(_all(rows, found), target))


def replayed(pipeline: Pipeline, arms: Sequence[str], tick: Tick, platform: Platform) -> tuple[str, Evaluated] | None:
    """Return what the declared bandit would have earned on the newest log of just these arms, and whose log that is.

    None if no experiment or bandit had these arms, or if its log does not tell.
    """
    plans = [(run.at, run.name, bandits.plan_of(run).arms) for run in bandits.every(pipeline, platform)]
    tests = [(run.at, run.name, experiments.plan_of(run).variants) for run in experiments.every(pipeline, platform)]
    plans += [(at, name, tuple(one.name for one in variants)) for at, name, variants in tests]
    for _, name, given in sorted(plans, reverse=True):
        if set(given) == set(arms):
            try:
                return name, evaluate(pipeline, name, tick, platform)
            except (CannotEvaluate, NoOverlap, MetricFailed) as error:
                log.info("%s: the rows of %s do not tell what the bandit would earn: %s", pipeline.name, name, error)
    return None


def replay_told(pipeline: Pipeline, run: BanditRun, platform: Platform) -> str:
    """Tell what a bandit that is started would have earned on units that were given the same arms before."""
    before = replayed(pipeline, bandits.plan_of(run).arms, pipeline.schedule.last_at(platform.clock.now()), platform)
    if before is None:
        return "no log of these arms to replay it on"
    return f"replayed on the units of {before[0]}:\n{told(before[1])}"


def told(evaluated: Evaluated) -> str:
    """Tell what a policy would have earned, in words."""
    value, metric = evaluated.value, evaluated.metric
    unit = f" {metric.unit}" if metric.unit else ""

    def said(name: str, one: Value) -> str:
        return f"  {name}: {format_number(one.value)}{unit} {format_interval(*one.interval(ALPHA))}"

    return "\n".join(
        [
            f"{metric.name} of a unit in a tick, {evaluated.first} to {evaluated.last}, {value.rows:,} units",
            said("as they were given their arms", value.logged),
            f"with {evaluated.policy}, of which they tell as much as {value.effective:,.0f} units of its own:",
            said("inverse propensity", value.ips),
            said("self-normalised", value.snips),
            said("doubly robust", value.doubly_robust),
        ]
    )


def _log(pipeline: Pipeline, name: str, tick: Tick, platform: Platform) -> _Log:
    if (run := platform.ledger.get(BanditRun, pipeline.name, name)) is not None:
        plan = bandits.plan_of(run)
        ends = [one for one in (run.ends, run.ended and pipeline.schedule.shift(run.ended, -1), tick.name) if one is not None]
        return _Log(name, plan.arms, plan.gives, run.starts, min(ends), plan.bandit.reward, plan.rows)
    experiment = experiments.get(pipeline, name, platform)
    planned = experiments.plan_of(experiment)
    arms = tuple(one.name for one in planned.variants)
    return _Log(
        name, arms, VARIANT, experiment.starts, experiments.last_of(pipeline, experiment), planned.wanted.metric,
        planned.wanted.rows,
    )  # fmt: skip


def _given(log: _Log, shares: Mapping[str, float]) -> Floats:
    """The shares of the arms, (arms,)."""
    for arm, share in shares.items():
        if arm not in log.arms:
            raise CannotEvaluate(f"{log.name!r} has no arm {arm!r}; its arms are {', '.join(log.arms)}")
        if not 0 <= share <= 1:
            raise CannotEvaluate(f"the share {share} of {arm!r} must be at least 0 and at most 1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise CannotEvaluate(f"the shares add up to {sum(shares.values()):g}: give shares that add up to 1")
    return np.array([shares.get(arm, 0.0) for arm in log.arms])


def _replay(pipeline: Pipeline, plan: Plan, metric: UnitMetric, ticks: Sequence[LoggedTick], delay: int) -> Floats:
    """The declared bandit's shares for each unit, (units, arms), as it would have learned from the logged rewards."""
    bandit = plan.bandit
    if bandit.actions and set(bandit.actions) != set(plan.arms):
        raise CannotEvaluate(f"the declared actions {', '.join(bandit.actions)} are not the arms {', '.join(plan.arms)}")
    by_tick: dict[int, ArmRewards] = {}
    found = []
    for i, tick in enumerate(ticks):
        if i >= delay:
            by_tick[i - delay] = rewards_of(plan, metric, ticks[i - delay])
        nothing = ArmRewards.none(len(plan.arms), len(bandit.features))
        known = remembered(by_tick, i - delay) if by_tick else nothing
        counted = remembered(by_tick, i - delay, bandit.discount, bandit.window) if by_tick else nothing
        state = State(plan, len(by_tick), known, counted, metric.of == "proportion")
        found.append(state.row_shares(tick.features))
    return np.concatenate(found)


def _all(log: _Log, ticks: Sequence[LoggedTick]) -> Logged:
    positions = {arm: i for i, arm in enumerate(log.arms)}
    units = {unit: i for i, unit in enumerate(sorted({unit for one in ticks for unit in one.unit}))}
    return Logged(
        np.array([positions[arm] for one in ticks for arm in one.arm], np.int64),
        np.concatenate([one.value for one in ticks]),
        np.concatenate([one.propensity for one in ticks]),
        np.array([units[unit] for one in ticks for unit in one.unit], np.int64),
    )
