"""Where a ramp stands: read from the rollouts in the ledger, so that any process may go on with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mlprod_tasks.declaration import Pipeline, Ramp
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import RampStep, Rollout
from mlprod_tasks.promotion import history

GOES_ON = (RampStep.BEGUN, RampStep.SHARE)


class RampStopped(RuntimeError):
    """No ramp is in force: it has ended, or somebody changed the rollout by hand, which is left as it is."""


@dataclass(frozen=True)
class Ramping:
    """A ramp that is in force.

    share, step_at: the share of entities that the challenger answers, and since when; 0 before the first step, when it scores
    in the shadow. first_at: when the first step was taken, that is, when the challenger began to answer.
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
            return f"version {self.challenger} is loaded and scores in the shadow"
        return f"version {self.challenger} answers {percent(self.share)} of entities since {self.step_at:%Y-%m-%d %H:%M} UTC"


def because(told: str, reason: str) -> str:
    """What is told, with the reason behind it where there is one."""
    return f"{told}: {reason}" if reason else told


def percent(share: float) -> str:
    """'5%', '0.5%'."""
    return f"{100 * share:g}%"


def rollouts(pipeline: Pipeline, platform: Platform) -> list[Rollout]:
    """Every rollout, in the order in which they were put in force."""
    return sorted(platform.ledger.all(Rollout, pipeline=pipeline.name), key=lambda one: one.at)


def ramping(pipeline: Pipeline, platform: Platform) -> Ramping | None:
    """The ramp that is in force; None where there is none, or where a person changed the rollout since."""
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
    """The ramp that is in force, of that challenger where one is named. Raises: RampStopped, saying who did what."""
    found = ramping(pipeline, platform)
    if found is not None and challenger not in (None, found.challenger):
        raise RampStopped(f"{pipeline.name}: version {found.challenger} is being rolled out by now, and not {challenger}")
    if found is None:
        raise RampStopped(f"{pipeline.name}: no ramp is in force{_since(pipeline, platform)}")
    return found


def _since(pipeline: Pipeline, platform: Platform) -> str:
    known = rollouts(pipeline, platform)
    if not known:
        return ""
    last = known[-1]
    of = f" of version {last.challenger}" if last.challenger is not None else ""
    why = f" ({last.reason})" if last.reason else ""
    return (
        f": since {last.at:%Y-%m-%d %H:%M} UTC mode {last.mode!r}{of} holds, as {last.by} wanted it{why}. It is left as it is"
    )


def ramp_of(pipeline: Pipeline) -> Ramp:
    """The declared ramp; the usual one where none is declared."""
    return serving_of(pipeline).ramp or Ramp()


def longest(ramp: Ramp) -> timedelta:
    """How long a step may take."""
    return max(ramp.at_most, ramp.hold)


def with_ramp(pipeline: Pipeline, hold_minutes: float | None = None, rows: int | None = None) -> Pipeline:
    """The same use case with another hold or number of rows, for one run.

    Raises: ValueError for a hold below 0 or not below the declared `at_most`, or fewer rows than 1.
    """
    if (hold_minutes is not None and hold_minutes < 0) or (rows is not None and rows < 1):
        raise ValueError(f"{pipeline.name}: hold_minutes must not be negative and rows at least 1")
    ramp = ramp_of(pipeline)
    if hold_minutes is not None and timedelta(minutes=hold_minutes) >= longest(ramp):
        raise ValueError(
            f"{pipeline.name}: hold_minutes={hold_minutes:g} is no less than the {length(longest(ramp))} that a step may take: "
            "what takes no step for longer is taken back as abandoned. Declare a longer `at_most`"
        )
    hold = ramp.hold if hold_minutes is None else timedelta(minutes=hold_minutes)
    changed = replace(ramp, hold=hold, rows=ramp.rows if rows is None else rows)
    return replace(pipeline, serving=replace(serving_of(pipeline), ramp=changed))
