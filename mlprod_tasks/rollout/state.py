"""The state of a ramp, read from the rollouts in the ledger, so that any process can continue it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mlprod_tasks.declaration import Pipeline, Ramp
from mlprod_tasks.documents.formatting import format_number, length
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import RampStep, Rollout
from mlprod_tasks.promotion import history

GOES_ON = (RampStep.BEGUN, RampStep.SHARE)


class RampStopped(RuntimeError):
    """No ramp is running: it has ended, or somebody changed the rollout by hand.

    That change is kept.
    """


@dataclass(frozen=True)
class Ramping:
    """A running ramp.

    share, step_at: the share of entities that the challenger answers, and since when; 0 before the first step, while it runs
    in shadow mode. first_at: when the first step was taken, that is, when the challenger began to answer.
    """

    challenger: int
    by: str
    reason: str
    begun_at: datetime
    share: float
    step_at: datetime
    first_at: datetime
    last: Rollout
    done: bool  # the challenger has become champion

    @property
    def sentence(self) -> str:
        if self.done:
            return f"version {self.challenger} is champion already"
        if not self.share:
            return f"version {self.challenger} is loaded and scores in shadow mode"
        return (
            f"version {self.challenger} has answered {percent(self.share)} of entities since {self.step_at:%Y-%m-%d %H:%M} UTC"
        )


def because(sentence: str, reason: str) -> str:
    """The sentence followed by the reason, if there is one."""
    return f"{sentence}: {reason}" if reason else sentence


def percent(share: float) -> str:
    """Format a share as '5%' or '0.5%'."""
    return f"{format_number(100 * share)}%"


def rollouts(pipeline: Pipeline, platform: Platform) -> list[Rollout]:
    """All rollouts, oldest first."""
    return sorted(platform.ledger.all(Rollout, pipeline=pipeline.name), key=lambda one: one.at)


def ramping(pipeline: Pipeline, platform: Platform) -> Ramping | None:
    """The running ramp.

    Returns None if there is none or a person has changed the rollout since.
    """
    known = rollouts(pipeline, platform)
    steps: list[Rollout] = []
    for one in reversed(known):
        if one.ramp not in GOES_ON or (steps and one.challenger != steps[0].challenger):
            break
        steps.insert(0, one)
        if one.ramp is RampStep.BEGUN:
            break
    if not steps or steps[0].ramp is not RampStep.BEGUN:
        return None
    begun, last = steps[0], steps[-1]
    promoted = history.promotions(pipeline, platform)
    return Ramping(
        challenger=last.challenger or 0,
        by=begun.ramp_for or "",
        reason=begun.reason,
        begun_at=begun.at,
        share=last.share,
        step_at=last.at,
        first_at=steps[min(1, len(steps) - 1)].at,
        last=last,
        done=bool(promoted) and promoted[-1].model_version == last.challenger,
    )


def in_force(pipeline: Pipeline, platform: Platform, challenger: int | None = None) -> Ramping:
    """The running ramp (of `challenger`, if given).

    Raises: RampStopped, saying who changed what.
    """
    ramp = ramping(pipeline, platform)
    if ramp is None:
        raise RampStopped(f"{pipeline.name}: no ramp is running{_last_change(pipeline, platform)}")
    if challenger not in (None, ramp.challenger):
        raise RampStopped(f"{pipeline.name}: version {ramp.challenger} is being rolled out now, not version {challenger}")
    return ramp


def _last_change(pipeline: Pipeline, platform: Platform) -> str:
    known = rollouts(pipeline, platform)
    if not known:
        return ""
    last = known[-1]
    of = f" of version {last.challenger}" if last.challenger is not None else ""
    why = f" ({last.reason})" if last.reason else ""
    return f": {last.by} set mode {last.mode!r}{of} at {last.at:%Y-%m-%d %H:%M} UTC{why}. The rollout was not changed"


def ramp_of(pipeline: Pipeline) -> Ramp:
    """The declared ramp, or the default one."""
    return serving_of(pipeline).ramp or Ramp()


def longest(ramp: Ramp) -> timedelta:
    """The longest time that a step may take."""
    return max(ramp.at_most, ramp.hold)


def with_ramp(pipeline: Pipeline, hold_minutes: float | None = None, rows: int | None = None) -> Pipeline:
    """The use case with a different hold or number of rows, for one run.

    Raises: ValueError if the hold is negative or not below the declared `at_most`, or if rows is below 1.
    """
    if (hold_minutes is not None and not 0 <= hold_minutes < math.inf) or (rows is not None and rows < 1):
        raise ValueError(f"{pipeline.name}: hold_minutes must be a number of at least 0, and rows at least 1")
    ramp = ramp_of(pipeline)
    if hold_minutes is not None and timedelta(minutes=hold_minutes) >= longest(ramp):
        raise ValueError(
            f"{pipeline.name}: hold_minutes={format_number(hold_minutes)} must be less than the {length(longest(ramp))} that a "
            "step may take: after that, a ramp counts as abandoned and is taken back. Declare a longer `at_most`"
        )
    hold = ramp.hold if hold_minutes is None else timedelta(minutes=hold_minutes)
    changed = replace(ramp, hold=hold, rows=ramp.rows if rows is None else rows)
    return replace(pipeline, serving=replace(serving_of(pipeline), ramp=changed))
