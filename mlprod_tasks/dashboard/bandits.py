"""Read what the page shows about bandits: their arms and the versions of what they knew, as the ledger holds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.bandits.untold import untold
from mlprod_tasks.dashboard.bandit_schemas import ArmRow, BanditRow, DeclaredBandit
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.bandit_entries import BanditFreeze, BanditRun, BanditState

MOST_BANDITS = 5


def bandits(session: Session, pipeline: Pipeline, until: datetime, last: TickName | None = None) -> tuple[BanditRow, ...]:
    """Read the newest bandits as they stood at a moment, the newest first.

    last: the newest tick whose versions are shown; None for all.
    """
    mine = select(BanditRun).where(BanditRun.pipeline == pipeline.name, BanditRun.at <= until)
    runs = list(session.scalars(mine.order_by(BanditRun.at.desc()).limit(MOST_BANDITS)))
    if not runs:
        return ()
    of_runs = select(BanditState).where(
        BanditState.pipeline == pipeline.name, BanditState.name.in_([run.name for run in runs])
    )  # fmt: skip
    states: dict[str, list[BanditState]] = {run.name: [] for run in runs}
    for one in session.scalars(of_runs.order_by(BanditState.version)):
        if last is None or one.tick <= last:
            states[one.name].append(one)
    frozen = {
        one.name: one
        for one in session.scalars(select(BanditFreeze).where(BanditFreeze.pipeline == pipeline.name, BanditFreeze.at <= until))
        if one.thawed_at is None or one.thawed_at > until
    }
    return tuple(_row(pipeline, run, states[run.name], frozen.get(run.name), until) for run in runs)


def declared_bandit(pipeline: Pipeline) -> DeclaredBandit | None:
    """Return the bandit that may be started; None if none is declared."""
    bandit = None if pipeline.experiments is None else pipeline.experiments.bandit
    return None if bandit is None else DeclaredBandit(type(bandit.policy).__name__, bandit.reward, bandit.actions)


def _row(
    pipeline: Pipeline, run: BanditRun, states: Sequence[BanditState], frozen: BanditFreeze | None, until: datetime
) -> BanditRow:
    bandit = run.plan["bandit"]
    declared = pipeline.experiments.metrics if pipeline.experiments is not None else ()
    metric = next((one for one in declared if one.name == bandit["reward"]), None)
    ended = run.ended if run.ended_at is not None and run.ended_at <= until else None
    shared = [one for one in states if one.shares]
    return BanditRow(
        name=run.name, by=run.by, reason=run.reason, starts=str(run.starts), ends=None if run.ends is None else str(run.ends),
        ended=None if ended is None else str(ended), ended_by="" if ended is None else run.ended_by,
        end_reason="" if ended is None else run.end_reason, metric=bandit["reward"],
        unit="" if metric is None else metric.unit, policy=bandit["policy"]["type"], version=len(states),
        last=str(states[-1].through) if states else None,
        arms=tuple(_arm(name, i, states, _turned(metric)) for i, name in enumerate(run.plan["arms"])),
        ticks=tuple(str(one.tick) for one in shared), rows=run.plan.get("rows", "batch"),
        may_end=ended is None and (run.ends is None or pipeline.schedule.moment(pipeline.schedule.shift(run.ends, 1)) > until),
        untold=untold(bandit["reward"], [one.rewards for one in states]) or "",
        frozen="" if frozen is None or ended is not None else frozen.sentence,
        cost=_cost(run, states),
    )  # fmt: skip


def _cost(run: BanditRun, states: Sequence[BanditState]) -> str:
    if not states:
        return ""
    # Only now: what is known of arms is computed, and most pages have none.
    from mlprod_tasks.bandits.told import cost_so_far

    return cost_so_far(run, states)


def _turned(metric: object) -> tuple[float, float]:
    """How a mean reward becomes the metric's mean: less may be better."""
    if getattr(metric, "better", "higher") == "higher":
        return 0.0, 1.0
    return (1.0 if getattr(metric, "of", "") == "proportion" else 0.0), -1.0


def _arm(name: str, position: int, states: Sequence[BanditState], turned: tuple[float, float]) -> ArmRow:
    n, total = (sum(one.rewards[what][position] for one in states) for what in ("n", "total"))
    newest = states[-1] if states else None
    return ArmRow(
        name=name,
        rewards=round(n),
        mean=turned[0] + turned[1] * total / n if n else None,
        best=None if newest is None else newest.best[name],
        share=None if newest is None else newest.shares.get(name),
        shares=tuple(one.shares[name] for one in states if one.shares),
    )
