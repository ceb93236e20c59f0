"""Decide which version answers which requests.

The ledger stores it; all replicas follow within seconds.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.bandit_entries import BanditRun
from mlprod_tasks.platform.experiment_entries import ROLLED_OUT, ExperimentRun
from mlprod_tasks.platform.ledger import RampStep, Rollout, newest
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.promotion import history

Mode = Literal["champion", "blue-green", "shadow", "canary"]
Automation = Literal["shadow", "assist", "band", "full"]
BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Routing:
    """The fields of a rollout that each request needs.

    Plain values are faster to read than a ledger entry.
    """

    mode: str
    challenger: int | None
    share: float
    automation: str
    band_low: float | None
    band_high: float | None
    salt: bytes = b""

    @property
    def splits(self) -> bool:
        """Whether another version than the champion answers, to some entities or to all."""
        return self.mode in ROLLED_OUT

    @property
    def propensity(self) -> float | None:
        """The probability with which the challenger of a canary answers for an entity; None in other modes."""
        return _challenger_buckets(self.share) / BUCKETS if self.mode == "canary" else None


class CannotRollOut(ValueError):
    """The rollout is invalid; the message says what is wrong."""


class RolledOutMeanwhile(RuntimeError):
    """Somebody else changed the rollout that was to be replaced."""


def current(pipeline: Pipeline, platform: Platform) -> Rollout | None:
    """The current rollout.

    Returns None if there never was one: then the champion answers everything.
    """
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
    """Record how requests are answered from now on.

    mode: 'champion': the champion answers. 'blue-green': the challenger answers everything, the champion stays loaded to switch
    back to. 'shadow': the challenger scores everything and answers nothing. 'canary': it answers `share` of the entities: the
    same ones as long as it stays the challenger, and different ones than in any earlier rollout.
    automation: 'full': the model decides; 'band': people decide on scores in `band`; 'assist': people decide everything;
    'shadow': responses carry no decision. Of classes the band is one of the margin, the probability of the likeliest class less
    that of the second, and the answer keeps its class. instead_of: write only if the current rollout is still the one of this
    time.
    ramp, ramp_for: if a ramp writes it: the step it is at, and who started the ramp.

    Raises: CannotRollOut; RolledOutMeanwhile.
    """
    if mode not in get_args(Mode) or automation not in get_args(Automation):
        raise CannotRollOut(f"mode is one of {', '.join(get_args(Mode))}; automation one of {', '.join(get_args(Automation))}")
    if mode in ROLLED_OUT:
        _check_experiments(pipeline, mode, platform)
    if mode == "champion":
        challenger = None
    else:
        _check_challenger(pipeline, challenger, mode, platform)
    if automation not in ("full", *pipeline.of_task.reviews):
        others = "".join(f" or {one!r}" for one in pipeline.of_task.reviews)
        raise CannotRollOut(
            f"{pipeline.name}: automation {automation!r} is not for predicted {pipeline.of_task.outputs}: make it "
            f"'full'{others}"
        )
    _check_share_and_band(pipeline, mode, share, automation, band)
    low, high = band or (None, None)
    rollout = Rollout(
        pipeline=pipeline.name, at=platform.clock.now(), mode=mode, by=by, reason=reason, challenger=challenger,
        share=share if mode == "canary" else 0.0, automation=automation, band_low=low, band_high=high, ramp=ramp,
        ramp_for=ramp_for,
    )  # fmt: skip
    return _put_in_force(pipeline, rollout, instead_of, platform)


def _put_in_force(pipeline: Pipeline, rollout: Rollout, instead_of: datetime | None, platform: Platform) -> Rollout:
    """Write a rollout with its salt, unless another was written since `instead_of`.

    Raises: RolledOutMeanwhile.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/rollout") as session:
        mine = select(Rollout).where(Rollout.pipeline == pipeline.name)
        before = session.scalars(mine.order_by(Rollout.at.desc()).limit(1)).first()
        if instead_of is not None and (before is None or before.at != instead_of):
            changed_at = "" if before is None else f" at {before.at:%Y-%m-%d %H:%M:%S} UTC"
            raise RolledOutMeanwhile(f"{pipeline.name}: somebody else changed the rollout{changed_at}; that change is kept")
        if before is not None:
            # Always later than the one before: another machine's clock may be ahead.
            rollout.at = max(rollout.at, before.at + timedelta(microseconds=1))
        rollout.salt = _salt(session, pipeline, rollout.challenger, before)
        session.add(rollout)
    return rollout


def _check_share_and_band(
    pipeline: Pipeline, mode: str, share: float, automation: str, band: tuple[float, float] | None
) -> None:
    if mode == "canary" and not 0 < share <= 1:
        raise CannotRollOut(f"{pipeline.name}: a canary's share {share} must be above 0 and at most 1")
    if (automation == "band") != (band is not None) or (band is not None and not 0 <= band[0] < band[1] <= 1):
        raise CannotRollOut(
            f"{pipeline.name}: automation 'band' needs a band of scores such as 0.3 to 0.6; the other values take none"
        )


def _salt(session: Session, pipeline: Pipeline, challenger: int | None, before: Rollout | None) -> str:
    """Keep the current salt while the challenger stays the same.

    For another challenger, use the number of this rollout.
    """
    if challenger is None:
        return ""
    if before is not None and before.challenger == challenger:
        return before.salt
    return str(1 + (session.scalar(select(func.count()).select_from(Rollout).filter_by(pipeline=pipeline.name)) or 0))


def _check_challenger(pipeline: Pipeline, challenger: int | None, mode: str, platform: Platform) -> None:
    if challenger is None:
        raise CannotRollOut(f"{pipeline.name}: mode {mode!r} needs a challenger: the number of a registered version")
    try:
        platform.registry.version(names.registered_model(pipeline), challenger)
    except BrokenArtifact as error:
        raise CannotRollOut(f"{pipeline.name}: {error}") from error
    promoted = [one.model_version for one in history.promotions(pipeline, platform)]
    if promoted and promoted[-1] == challenger:
        raise CannotRollOut(f"{pipeline.name}: version {challenger} is champion already")


def _check_experiments(pipeline: Pipeline, mode: str, platform: Platform) -> None:
    """Raise CannotRollOut while an experiment or bandit assigns units, or is to: they would see another version, too."""
    tick = pipeline.schedule.last_at(platform.clock.now()).name
    runs = platform.ledger.all(ExperimentRun, ExperimentRun.ends >= tick, pipeline=pipeline.name)
    if (run := next((one for one in runs if one.ended is None), None)) is not None:
        raise CannotRollOut(
            f"{pipeline.name}: experiment {run.name!r} assigns units until {run.ends}, and mode {mode!r} would show them "
            f"another version: wait, or end it with `mlprod experiment stop {pipeline.name} {run.name}`"
        )
    bandits = platform.ledger.all(BanditRun, pipeline=pipeline.name)
    giving = (one for one in bandits if one.ended is None and (one.ends is None or one.ends >= tick))
    # With declared actions the rollout decides which version answers, and the bandit what is done.
    if (bandit := next((one for one in giving if not one.plan["bandit"]["actions"]), None)) is not None:
        raise CannotRollOut(
            f"{pipeline.name}: bandit {bandit.name!r} chooses which version answers, and mode {mode!r} would take that from "
            f"it: end it with `mlprod bandit stop {pipeline.name} {bandit.name}`"
        )


def bucket(pipeline: str, key: str, salt: bytes = b"") -> int:
    """The bucket of an entity, from 0 to BUCKETS - 1.

    It is the same on every replica and in every run.

    salt: the salt of the rollout, so that different rollouts pick different entities; at most 16 bytes.
    """
    return int.from_bytes(hashlib.blake2b(f"{pipeline}/{key}".encode(), digest_size=8, salt=salt).digest()) % BUCKETS


def routing(rollout: Rollout) -> Routing:
    """The fields of a rollout that a request needs."""
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
    """Which of the two models answers for an entity."""
    if rollout is None or rollout.challenger is None or rollout.mode == "shadow":
        return "champion"
    if rollout.mode == "blue-green":
        return "challenger"
    # The first buckets: when the share grows, the entities of the smaller share stay with the challenger.
    return "challenger" if bucket(pipeline, key, rollout.salt) < _challenger_buckets(rollout.share) else "champion"


def _challenger_buckets(share: float) -> int:
    """The number of buckets that the challenger answers.

    It is rounded up if the share has more than four decimals.
    """
    # 0.07 * 10_000 is 700.0000000000001 in floating point: without the rounding, bucket 700 would be let in.
    return math.ceil(round(share * BUCKETS, 6))
