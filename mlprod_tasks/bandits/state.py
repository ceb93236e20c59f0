"""What a bandit knows: a version for each tick whose rewards are complete, the same whenever it is computed.

The rewards of a tick are read as they were known when they were due, and their sums are kept with the version. A version
follows from these sums of the ticks before it, not from the version before it, so ticks may be updated in any order, twice,
or late.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.arm_rewards import ArmRewards, remembered
from mlprod_tasks.bandits.freeze import freezes, frozen_now, version_for
from mlprod_tasks.bandits.logged import ArmLog, LoggedTick, logged_tick
from mlprod_tasks.bandits.policy import RowShares, best_probabilities, shares
from mlprod_tasks.bandits.run import Plan, plan_of
from mlprod_tasks.declaration import Pipeline, Tick, UnitMetric
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.looks import complete
from mlprod_tasks.experiments.units import waits
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun, BanditState, BanditTick

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What a bandit knows. version: how many ticks of rewards it rests on.

    known: all rewards; counted: those that are not forgotten, with their weights. own: the shares that were recorded with the
    version, (arms,); None if they follow from the rewards.
    """

    plan: Plan
    version: int
    known: ArmRewards
    counted: ArmRewards
    proportion: bool
    own: Floats | None = None

    @property
    def seed(self) -> int:
        """Of what is drawn by chance with this version."""
        return self.plan.bandit.seed * 1_000_003 + self.version

    def shares(self) -> Floats | None:
        """The share of each arm, (arms,); None if it depends on features."""
        if self.plan.bandit.features:
            return None
        if self.own is not None:
            return self.own
        return shares(self.plan.bandit, self.known, self.counted, self.seed, self.proportion)

    def row_shares(self, features: Floats) -> Floats:
        """The share of each arm for each row, (rows, arms), by features, (rows, features)."""
        mine = self.shares()
        return self.by_features().of_rows(features) if mine is None else np.tile(mine, (len(features), 1))

    def by_features(self) -> RowShares:
        """What gives the shares of the arms by a row's features."""
        return RowShares(self.plan.bandit, self.known, self.counted, self.seed)

    def best(self) -> Floats:
        """The probability of each arm to be the best for all units alike, (arms,)."""
        return best_probabilities(self.counted, self.seed, self.proportion, by_tick=self.plan.bandit.by_tick)


def delay_ticks(pipeline: Pipeline, metric: UnitMetric) -> int:
    """Return the number of ticks after which a tick's rewards are complete."""
    return max(ticks for _, ticks in waits(pipeline, (metric,)))


def rewards_of(plan: Plan, metric: UnitMetric, logged: LoggedTick) -> ArmRewards:
    """Return the sums of what the arms earned in a tick; more is always better."""
    positions = {name: i for i, name in enumerate(plan.arms)}
    arm = np.array([positions[name] for name in logged.arm], np.int64)
    value = logged.value if metric.better == "higher" else (1.0 if metric.of == "proportion" else 0.0) - logged.value
    return ArmRewards.of(len(plan.arms), arm, value, logged.features, logged.null)


def update(pipeline: Pipeline, run: BanditRun, tick: Tick, platform: Platform) -> list[BanditState]:
    """Record the versions that are due at a tick and were not recorded yet; return all that were due by then, in order.

    While the bandit is frozen, none is recorded. Those of ticks that were not scored, or whose outcomes are not published,
    wait, and so do the later ones.

    Raises: MetricFailed.
    """
    plan, schedule = plan_of(run), pipeline.schedule
    metric = plan.metric
    delay = delay_ticks(pipeline, metric)
    states = recorded(pipeline, run, platform)
    last = _last(pipeline, run, schedule.shift(tick.name, -delay))
    if last >= run.starts and schedule.ticks_between(run.starts, last) + 1 > len(states) and not frozen_now(run, platform):
        done = list(complete(pipeline, plan.rows, run.starts, last, waits(pipeline, (metric,)), platform))
        for through in done[len(states) :]:
            states.append(_next(pipeline, run, plan, metric, states, through, delay, platform))
    return list(takewhile(lambda one: one.tick <= tick.name, states))


def recorded(pipeline: Pipeline, run: BanditRun, platform: Platform) -> list[BanditState]:
    """Return the versions of a bandit's state, in order."""
    states = platform.ledger.all(BanditState, pipeline=pipeline.name, name=run.name)
    return sorted(states, key=lambda one: one.version)


def at_version(plan: Plan, states: Sequence[BanditState]) -> State:
    """Return what a bandit knows from the rewards of its first ticks. states: recorded versions 1, 2, ..., in order.

    Raises: ValueError, KeyError or TypeError if they cannot be read.
    """
    bandit = plan.bandit
    by_tick = {one.version - 1: ArmRewards.from_json(one.rewards) for one in states}
    proportion = plan.metric.of == "proportion"
    if not by_tick:
        nothing = ArmRewards.none(len(plan.arms), len(bandit.features))
        return State(plan, 0, nothing, nothing, proportion)
    last = len(by_tick) - 1
    counted = remembered(by_tick, last, bandit.discount, bandit.window)
    # As recorded, not drawn anew: another machine's draws could differ in the last digit.
    written = states[-1].shares
    own = np.array([written[arm] for arm in plan.arms], float) if written else None
    if own is not None and not (np.isfinite(own).all() and own.min() >= 0 and abs(own.sum() - 1) < 1e-6):
        raise ValueError(f"the shares of version {states[-1].version} are {written}")
    return State(plan, len(by_tick), remembered(by_tick, last), counted, proportion, own)


def newest_good(plan: Plan, states: Sequence[BanditState]) -> State:
    """Return what a bandit knows by the newest version that can be read. states: as of `at_version`."""
    for version in range(len(states), 0, -1):
        try:
            return at_version(plan, states[:version])
        except (ValueError, KeyError, TypeError):
            log.exception("version %d of bandit %s of %s cannot be read", version, states[0].name, states[0].pipeline)
    return at_version(plan, [])


def for_tick(pipeline: Pipeline, run: BanditRun, tick: Tick, platform: Platform) -> State:
    """Return the state by which the rows of a tick are given their arms: the newest due, or the one that was used before.

    In a tick at which the bandit was frozen, it is the one of then.

    If the rewards cannot be read, arms follow from those that were read before, and if a version cannot, from the one before:
    nothing goes unscored.
    """
    used = platform.ledger.get(BanditTick, pipeline.name, run.name, tick.name)
    try:
        states = update(pipeline, run, tick, platform) if used is None else recorded(pipeline, run, platform)
    except Exception:
        log.exception("%s: bandit %s cannot read the rewards that are due at %s", pipeline.name, run.name, tick)
        states = [one for one in recorded(pipeline, run, platform) if one.tick <= tick.name]
    version = version_for(tick.name, len(states), freezes(run, platform))
    if used is None:
        mine = BanditTick(
            pipeline=pipeline.name, name=run.name, tick=tick.name, version=version, at=platform.clock.now()
        )  # fmt: skip
        if not platform.ledger.add_once(mine):  # another process was first
            used = platform.ledger.get(BanditTick, pipeline.name, run.name, tick.name)
    return newest_good(plan_of(run), states[: version if used is None else used.version])


def _last(pipeline: Pipeline, run: BanditRun, due: TickName) -> TickName:
    """The last tick of a bandit whose rewards are due."""
    ends = [due]
    if run.ends is not None:
        ends.append(run.ends)
    if run.ended is not None:
        ends.append(pipeline.schedule.shift(run.ended, -1))
    return min(ends)


def _next(
    pipeline: Pipeline,
    run: BanditRun,
    plan: Plan,
    metric: UnitMetric,
    before: Sequence[BanditState],
    through: TickName,
    delay: int,
    platform: Platform,
) -> BanditState:
    """Read one more tick's rewards as they were known when they were due, and record the version that follows."""
    due = pipeline.schedule.shift(through, delay)
    as_of = pipeline.schedule.tick(due)
    arms = ArmLog(run.name, plan.gives, plan.rows, plan.bandit.features)
    logged = logged_tick(pipeline, arms, through, metric, as_of, platform)
    made = BanditState(
        pipeline=pipeline.name, name=run.name, version=len(before) + 1, through=through, tick=due, at=platform.clock.now(),
        rewards=rewards_of(plan, metric, logged).as_json(), best={}, shares={},
    )  # fmt: skip
    state = at_version(plan, [*before, made])
    made.best = dict(zip(plan.arms, state.best().tolist(), strict=True))
    own = state.shares()
    made.shares = {} if own is None else dict(zip(plan.arms, own.tolist(), strict=True))
    platform.ledger.add_once(made)
    log.info("%s: bandit %s: version %d, with the rewards of %s", pipeline.name, run.name, made.version, through)
    return made
