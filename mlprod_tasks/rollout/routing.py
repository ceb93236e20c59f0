"""Roll a version out: which version answers which requests, kept in the ledger, in force on all replicas within seconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import RampStep, Rollout, newest
from mlprod_tasks.platform.registry import BrokenArtifact
from mlprod_tasks.promotion import history

Mode = Literal["champion", "blue-green", "shadow", "canary"]
Automation = Literal["shadow", "assist", "band", "full"]
BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Routing:
    """A rollout as every request reads it: plain values, which are faster than those of an entry of the ledger."""

    mode: str
    challenger: int | None
    share: float
    automation: str
    band_low: float | None
    band_high: float | None
    salt: bytes = b""


class CannotRollOut(ValueError):
    """A rollout that makes no sense: says what is missing."""


class RolledOutMeanwhile(RuntimeError):
    """Another rollout was put in force than the one that was to be replaced."""


def current(pipeline: Pipeline, platform: Platform) -> Rollout | None:
    """The rollout in force; None where none was ever declared: the champion answers everything."""
    return newest(platform.ledger.all(Rollout, pipeline=pipeline.name), "at")


def roll_out(
    pipeline: Pipeline,
    platform: Platform,
    *,
    mode: str,
    by: str,
    reason: str,
    challenger: int | None = None,
    share: float = 0.0,
    automation: str = "full",
    band: tuple[float, float] | None = None,
    instead_of: datetime | None = None,
    ramp: RampStep | None = None,
    ramp_for: str | None = None,
) -> Rollout:
    """Write how requests are answered from now on.

    champion: the champion answers. blue-green: the challenger answers all, the champion stays loaded to switch back to. shadow:
    the challenger scores everything and answers nothing. canary: it answers `share` of the entities, the same ones every time
    as long as it stays the challenger, and others than in any rollout before.
    automation: 'full' decides; 'band' leaves scores in `band` to people; 'assist' leaves every decision to people; 'shadow'
    answers no decision at all. `instead_of`: only where the one in force is still that of this moment. ramp, ramp_for: where
    a ramp writes it: at which of its steps, and who asked for it.

    Raises: CannotRollOut; RolledOutMeanwhile.
    """
    if mode not in get_args(Mode) or automation not in get_args(Automation):
        raise CannotRollOut(f"mode is one of {', '.join(get_args(Mode))}; automation one of {', '.join(get_args(Automation))}")
    if mode != "champion":
        _exists(pipeline, challenger, mode, platform)
    if mode == "canary" and not 0 < share <= 1:
        raise CannotRollOut(f"{pipeline.name}: a canary's share {share} must lie above 0 and be at most 1")
    if (automation == "band") != (band is not None) or (band is not None and not 0 <= band[0] < band[1] <= 1):
        raise CannotRollOut(
            f"{pipeline.name}: automation 'band' needs a band of scores such as 0.3 to 0.6, and no other takes one"
        )
    with platform.ledger.exclusive(f"{pipeline.name}/rollout") as session:
        mine = select(Rollout).where(Rollout.pipeline == pipeline.name)
        before = session.scalars(mine.order_by(Rollout.at.desc()).limit(1)).first()
        newest_at = before.at if before is not None else None
        if instead_of is not None and newest_at != instead_of:
            raise RolledOutMeanwhile(f"{pipeline.name}: the rollout was changed at {newest_at}: that one holds")
        now, challenger = platform.clock.now(), None if mode == "champion" else challenger
        made = Rollout(
            pipeline=pipeline.name,
            # After the one in force, also where another machine's clock is ahead.
            at=now if newest_at is None else max(now, newest_at + timedelta(microseconds=1)),
            mode=mode,
            by=by,
            reason=reason,
            challenger=challenger,
            share=share if mode == "canary" else 0.0,
            automation=automation,
            band_low=band[0] if band else None,
            band_high=band[1] if band else None,
            ramp=ramp,
            ramp_for=ramp_for,
            salt=_salt(session, pipeline, challenger, before),
        )
        session.add(made)
    return made


def _salt(session: Session, pipeline: Pipeline, challenger: int | None, before: Rollout | None) -> str:
    """That of the rollout in force while its challenger stays; for another one the number of this rollout."""
    if challenger is None:
        return ""
    if before is not None and before.challenger == challenger:
        return before.salt
    return str(1 + (session.scalar(select(func.count()).select_from(Rollout).filter_by(pipeline=pipeline.name)) or 0))


def _exists(pipeline: Pipeline, challenger: int | None, mode: str, platform: Platform) -> None:
    if challenger is None:
        raise CannotRollOut(f"{pipeline.name}: mode {mode!r} needs a challenger: the number of a registered version")
    try:
        platform.registry.version(names.registered_model(pipeline), challenger)
    except BrokenArtifact as error:
        raise CannotRollOut(f"{pipeline.name}: {error}") from error
    promoted = [one.model_version for one in history.promotions(pipeline, platform)]
    if promoted and promoted[-1] == challenger:
        raise CannotRollOut(f"{pipeline.name}: version {challenger} is champion already")


def bucket(pipeline: str, key: str, salt: bytes = b"") -> int:
    """The place of an entity among BUCKETS, the same at every replica and in every run.

    salt: a rollout's own, so that its entities are not those of the rollout before; at most 16 bytes.
    """
    return int.from_bytes(hashlib.blake2b(f"{pipeline}/{key}".encode(), digest_size=8, salt=salt).digest()) % BUCKETS


def routing(rollout: Rollout) -> Routing:
    """What a request needs to know of a rollout."""
    return Routing(
        rollout.mode,
        rollout.challenger,
        rollout.share,
        rollout.automation,
        rollout.band_low,
        rollout.band_high,
        rollout.salt.encode(),
    )


def answers(rollout: Routing | None, pipeline: str, key: str) -> Literal["champion", "challenger"]:
    """Which of the two answers an entity."""
    if rollout is None or rollout.challenger is None or rollout.mode == "shadow":
        return "champion"
    if rollout.mode == "blue-green":
        return "challenger"
    # Ramped up, the entities of a smaller share stay with the challenger.
    return "challenger" if bucket(pipeline, key, rollout.salt) < rollout.share * BUCKETS else "champion"
