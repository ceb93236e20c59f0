"""Freeze a bandit: shares stay as they are, and nothing is learned, until it is thawed.

A person does that who doubts the rewards, or wants no change for some days. Rows are given arms meanwhile, and logged; after a
thaw, their rewards are learned from like any others.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mlprod_tasks.bandits.run import NoBandit
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditFreeze, BanditRun, BanditState


class CannotFreeze(ValueError):
    """The bandit cannot be frozen or thawed; the message says why."""


def freeze(pipeline: Pipeline, name: str, by: str, reason: str, platform: Platform) -> BanditFreeze:
    """Freeze a bandit, unless it is frozen: rows of the newest tick that are not scored yet, and requests within seconds, are
    given arms by the version of its state that is the newest now.

    Raises: NoBandit; CannotFreeze if it is over.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        _check_not_over(session, pipeline, name, platform)
        if (frozen := _frozen(session, pipeline, name)) is not None:
            return frozen
        mine = BanditState.pipeline == pipeline.name, BanditState.name == name
        version = session.scalar(select(func.count()).select_from(BanditState).where(*mine)) or 0
        now = platform.clock.now()
        since = pipeline.schedule.last_at(now).name
        made = BanditFreeze(pipeline=pipeline.name, name=name, at=now, by=by, reason=reason, version=version, since=since)
        session.add(made)
        return made


def thaw(pipeline: Pipeline, name: str, by: str, reason: str, platform: Platform) -> BanditFreeze:
    """Let a frozen bandit learn again, also from the rewards that came meanwhile; its shares change from the next tick on.

    Raises: NoBandit; CannotFreeze if it is not frozen, or over.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        _check_not_over(session, pipeline, name, platform)
        frozen = _frozen(session, pipeline, name)
        if frozen is None:
            raise CannotFreeze(f"bandit {name!r} is not frozen")
        now, schedule = platform.clock.now(), pipeline.schedule
        frozen.until = max(frozen.since, schedule.shift(schedule.last_at(now).name, 1))
        frozen.thawed_at, frozen.thawed_by, frozen.thaw_reason = now, by, reason
        return frozen


def freezes(run: BanditRun, platform: Platform) -> list[BanditFreeze]:
    """Return when a bandit was frozen, in order."""
    return sorted(platform.ledger.all(BanditFreeze, pipeline=run.pipeline, name=run.name), key=lambda one: one.at)


def frozen_now(run: BanditRun, platform: Platform) -> BanditFreeze | None:
    """Return how a bandit is frozen now; None if it is not, or has ended: then its last rewards are learned."""
    if run.ended is not None:
        return None
    return next((one for one in freezes(run, platform) if one.thawed_at is None), None)


def version_for(tick: TickName, due: int, frozen: Sequence[BanditFreeze]) -> int:
    """Return the version that gives the rows of a tick their arms. due: the newest of the tick; frozen: as of `freezes`."""
    held = [one.version for one in frozen if one.since <= tick and (one.until is None or tick < one.until)]
    return min([due, *held])


def _frozen(session: Session, pipeline: Pipeline, name: str) -> BanditFreeze | None:
    return session.scalar(
        select(BanditFreeze).where(
            BanditFreeze.pipeline == pipeline.name, BanditFreeze.name == name, BanditFreeze.thawed_at.is_(None)
        )
    )


def _check_not_over(session: Session, pipeline: Pipeline, name: str, platform: Platform) -> None:
    run = session.scalar(select(BanditRun).filter_by(pipeline=pipeline.name, name=name))
    if run is None:
        raise NoBandit(f"{pipeline.name} has no bandit {name!r}")
    over = run.ends is not None and pipeline.schedule.last_at(platform.clock.now()).name > run.ends
    if run.ended is not None or over:
        raise CannotFreeze(f"bandit {name!r} is over: its shares do not change any more")
