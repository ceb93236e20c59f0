"""The steps of a ramp: begin, take a step, check it, and finish; or take the challenger back.

Where it stands is in the ledger alone, so each may be called again, and by another process, at any time. What a person changes
by hand meanwhile (`mlprod rollout ...`) ends the ramp: every step then raises RampStopped and leaves that as it is. Who names
the `challenger` goes on with no ramp of another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import delete

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import RampStep, Rollout, RolloutCheck, Training
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.operator_actions import ByRule
from mlprod_tasks.rollout.routing import CannotRollOut, RolledOutMeanwhile, current, roll_out
from mlprod_tasks.rollout.state import (
    Ramping,
    RampStopped,
    because,
    in_force,
    longest,
    percent,
    ramp_of,
    ramping,
    rollouts,
)

log = logging.getLogger(__name__)

RULE = str(ByRule("ramp"))  # who takes a challenger back where a check does
GRACE = timedelta(hours=1)  # beyond the longest time that a step may take, until a ramp counts as abandoned
ROLLING_OUT, TAKEN = "rolling out", "taken back"  # states of the training that made the challenger
TOLD = ("errors", "latency")  # what a step waits for until it can be told
BESIDE = " The champion's rows are those of the steps before, too: it answers few or none any more."
Verdict = Literal["passed", "waiting", "failed"]
# Mails that the newest of these rollouts took a challenger back, once: see `notifications.rollout_mails.tell_taken_back`.
Tell = Callable[[Sequence[Rollout]], bool]


class CannotRamp(CannotRollOut):
    """A ramp that cannot begin: says why."""


class Overtaken(CannotRollOut):
    """A challenger that could not be promoted any more, so that it is not let to answer more: says what is champion."""


class NotChecked(RuntimeError):
    """The last step of a ramp has not passed its checks, so nothing is promoted."""


@dataclass(frozen=True)
class Checked:
    """What was found of a challenger at a step. waiting: it has not held long enough, or not answered enough rows."""

    verdict: Verdict
    sentence: str
    checks: tuple[RolloutCheck, ...] = ()

    def text(self) -> str:
        """Write it in lines: the sentence, and one line per check."""
        marks = {True: "ok    ", False: "FAIL  ", None: "?     "}
        return "\n".join([self.sentence, *(f"  {marks[one.passed]}{one.what:8} {one.sentence}" for one in self.checks)])


@dataclass(frozen=True)
class Finished:
    """Whether the challenger is champion now, and what happened."""

    model_version: int
    promoted: bool
    sentence: str


@dataclass(frozen=True)
class TakenBack:
    """Whether a challenger was taken back now, and whether a mail told so."""

    model_version: int | None
    changed: bool
    told: bool
    sentence: str


def begin(pipeline: Pipeline, challenger: int, by: str, reason: str, platform: Platform) -> Ramping:
    """Begin to roll a version out: every replica loads it, and it scores in the shadow until the first step is taken.

    It is a version that passed its gates, is approved where that is declared, and was not overtaken by a newer one; or one that
    was champion before. Begun already for this version, the ramp goes on as it is.

    Raises: CannotRamp; GatesRefused, NotApproved; BrokenArtifact.
    """
    from mlprod_tasks.rollout.promote import may_become_champion, note

    if not by.strip():
        raise CannotRamp(f"{pipeline.name}: who rolls version {challenger} out? Give a name with `by`")
    there = ramping(pipeline, platform)
    if there is not None and there.challenger == challenger:
        note(pipeline, challenger, ROLLING_OUT, platform)
        return there
    before = current(pipeline, platform)
    if before is not None and before.mode != "champion":
        raise CannotRamp(
            f"{pipeline.name}: mode {before.mode!r} of version {before.challenger} is in force, as {before.by} wanted it: put "
            f"the champion back first (`mlprod rollout {pipeline.name} champion`)"
        )
    may_become_champion(pipeline, challenger, platform)
    asker = by.strip()
    _write(
        pipeline, platform, before, mode="shadow", by=f"ramp for {asker}", reason=reason, challenger=challenger,
        ramp=RampStep.BEGUN, ramp_for=asker,
    )  # fmt: skip
    note(pipeline, challenger, ROLLING_OUT, platform)
    log.info("%s: version %d is being rolled out, for %s", pipeline.name, challenger, by)
    return in_force(pipeline, platform, challenger)


def take_step(pipeline: Pipeline, share: float, platform: Platform, *, challenger: int | None = None) -> Ramping:
    """Let the challenger answer that share of entities. A share that it has already is not lowered.

    Raises: RampStopped; Overtaken, with a finding of it in the ledger.
    """
    from mlprod_tasks.rollout.checks import overtaken
    from mlprod_tasks.rollout.promote import overtaken_by

    there = in_force(pipeline, platform, challenger)
    if there.done or there.share >= share:
        return there
    if (why := overtaken_by(pipeline, there.challenger, platform)) is not None:
        _keep(pipeline, there, (overtaken(pipeline.name, there.challenger, there.share, platform.clock.now(), why),), platform)
        raise Overtaken(why)
    reason = because(f"version {there.challenger} rolled out to {percent(share)}", there.reason)
    _write(
        pipeline, platform, there.last, mode="canary", by=there.last.by, reason=reason, challenger=there.challenger,
        share=share, ramp=RampStep.SHARE, ramp_for=there.by,
    )  # fmt: skip
    made = in_force(pipeline, platform, challenger)
    log.info("%s: %s", pipeline.name, made.sentence)
    return made


def look(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Checked:
    """What `check` would say now; nothing is written but the collected log. Raises: RampStopped.

    Before a step is over, a challenger that surely fails to answer fails it already, and so does one that could not be promoted
    any more. Where it has not answered enough rows within the longest time that a step may take, the step fails, too. What
    `check` has found of a step holds: one that failed does not pass with later rows, one that passed does not wait again.

    A step is not over, either, while the champion has too few rows to tell errors or latency by. In the end, those of the
    steps before count, too.
    """
    from mlprod_tasks.rollout.checks import early_findings, findings, overtaken, too_few
    from mlprod_tasks.rollout.promote import overtaken_by
    from mlprod_tasks.rollout.rows import read
    from mlprod_tasks.scoring.collect import collect

    there = in_force(pipeline, platform, challenger)
    if there.done:
        return Checked("passed", there.sentence)
    known, now = tuple(_found(pipeline, there, platform)), platform.clock.now()
    if any(one.passed is False for one in known):
        return _failed(there, known)
    if (why := overtaken_by(pipeline, there.challenger, platform)) is not None:
        return _failed(there, (overtaken(pipeline.name, there.challenger, there.share, now, why),))
    if not there.share:
        return Checked("waiting", there.sentence)
    collect(pipeline, platform)
    ramp, last = ramp_of(pipeline), there.share >= 1
    held = now - there.step_at
    late, few = held >= ramp.at_most, ""
    judged = partial(
        read, pipeline, platform, history.promotions(pipeline, platform)[-1].model_version, there.challenger,
        since=there.step_at, outcomes=held >= ramp.hold,
    )  # fmt: skip
    pair = judged(champion_since=there.first_at if last else there.step_at)
    answered = pair.challenger.rows
    enough = answered >= ramp.rows
    over = held >= ramp.hold and enough
    found = findings(pair, ramp) if over else early_findings(pair, ramp)
    if over and not last and any(one.passed is None for one in found if one.what in TOLD):
        few = f"; the champion's {pair.champion.rows:,} are too few to judge it by"
        over = late
        if late:
            found = findings(judged(champion_since=there.first_at), ramp)
    if not enough and late:
        found = (*found, too_few(pair, ramp))
    checks = tuple(one.as_check(pipeline.name, now, there.challenger, there.share) for one in found)
    beside = BESIDE if last or (over and few) else ""
    if any(one.passed is False for one in found):
        return _failed(there, checks, beside)
    if not over and not known:
        so_far = f"{answered:,} of {ramp.rows:,} rows, {_minutes(held)} of {_minutes(ramp.hold)}{few}"
        return Checked("waiting", f"version {there.challenger} at {percent(there.share)} of entities: {so_far}", checks)
    told = f"version {there.challenger} passes at {percent(there.share)} of entities with {answered:,} rows.{beside}"
    return Checked("passed", told, checks if over else known)


def check(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Checked:
    """Judge the challenger at the share that it has, by what the log tells since; what was found goes into the ledger.

    Done again for a step that passed, the findings are replaced. At the last share the champion answers nothing any more: there
    the challenger is compared with the champion's rows of the steps before. It is not taken back here: see `take_back`.

    Raises: RampStopped.
    """
    found = look(pipeline, platform, challenger=challenger)
    log.log(logging.ERROR if found.verdict == "failed" else logging.INFO, "%s: %s", pipeline.name, found.sentence)
    if found.verdict == "waiting" or not found.checks:
        return found
    _keep(pipeline, in_force(pipeline, platform, challenger), found.checks, platform)
    return found


def finish(pipeline: Pipeline, platform: Platform, tell: Tell, *, challenger: int | None = None) -> Finished:
    """Make the challenger champion, and let the champion answer everything again, by itself as far as before.

    Where something newer became champion meanwhile, or an earlier one was brought back, the challenger is taken back instead.

    Killed, or kept by the registry from moving the aliases, after it was promoted: called again, it brings that to its end.

    Raises: RampStopped; NotChecked unless the step at the last share was checked and passed; as `register.promote`.
    """
    from mlprod_tasks.rollout.promote import promote_challenger

    there = in_force(pipeline, platform, challenger)
    if not there.done:
        _last_step_passed(pipeline, there, platform)
    promoted = promote_challenger(pipeline, there, platform)
    if not promoted.moved:
        taken = take_back(pipeline, RULE, promoted.sentence, platform, tell)
        return Finished(there.challenger, False, taken.sentence)
    told = because(f"version {there.challenger} of {pipeline.name} is champion", there.reason)
    _write(
        pipeline, platform, there.last, mode="champion", by=there.last.by, reason=f"version {there.challenger} is champion",
        ramp=RampStep.PROMOTED, ramp_for=there.by,
    )  # fmt: skip
    log.info("%s", told)
    return Finished(there.challenger, True, told)


def take_back(
    pipeline: Pipeline,
    by: str,
    reason: str,
    platform: Platform,
    tell: Tell,
    *,
    challenger: int | None = None,
) -> TakenBack:
    """Let the champion answer everything again, and have people told why. By a rule or a person.

    Where no ramp is in force, nothing is changed; a mail that could not be sent when a challenger was taken back is sent then.

    Raises: the mailer's error where nobody can be told; the challenger is taken back all the same.
    """
    from mlprod_tasks.rollout.promote import note, settle

    there, changed = ramping(pipeline, platform), False
    if there is not None and challenger in (None, there.challenger):
        # Promoted meanwhile, it stays champion, and there is nothing to tell.
        if there.done:
            settle(pipeline, there, platform)
        why = reason.strip() or "no reason given"
        told = f"taken back: version {there.challenger} at {percent(there.share)} of entities, {why}"
        try:
            _write(
                pipeline, platform, there.last, mode="champion", by=there.last.by if there.done else by,
                reason=there.sentence if there.done else told,
                ramp=RampStep.PROMOTED if there.done else RampStep.TAKEN_BACK, ramp_for=there.by,
            )  # fmt: skip
            changed = not there.done
        except RampStopped as error:
            log.warning("%s", error)
        challenger = there.challenger
    known = rollouts(pipeline, platform)
    if challenger is not None and ramping(pipeline, platform) is None:  # a person may have ended it, too
        note(pipeline, challenger, TAKEN, platform, only=ROLLING_OUT)
    asked = next((one.challenger for one in reversed(known) if one.challenger is not None), None)
    if asked is None or challenger not in (None, asked) or known[-1].ramp is not RampStep.TAKEN_BACK:
        return TakenBack(None, False, False, f"{pipeline.name}: there is nothing to take back")
    log.log(logging.WARNING if changed else logging.INFO, "%s: %s", pipeline.name, known[-1].reason)
    sent = tell(known)
    return TakenBack(asked, changed, sent, f"{pipeline.name}: {known[-1].reason}")


def take_back_abandoned(pipeline: Pipeline, platform: Platform, tell: Tell) -> TakenBack:
    """Take back a challenger that nobody watches any more: its last step and check are older than a step may take, and an hour.

    What drives a ramp takes it back when it ends; one that was killed cannot. For a caller that comes by every now and then:
    where all is well, nothing is changed and nobody is told.

    Raises: as `take_back`.
    """
    from mlprod_tasks.rollout.promote import note

    there = ramping(pipeline, platform)
    if there is None:
        for one in platform.ledger.all(Training, pipeline=pipeline.name, state=ROLLING_OUT):
            note(pipeline, one.model_version or 0, TAKEN, platform, only=ROLLING_OUT)
        return TakenBack(None, False, False, f"{pipeline.name}: no ramp is in force")
    last = max([there.step_at, *(one.at for one in _found(pipeline, there, platform))])
    if platform.clock.now() - last <= longest(ramp_of(pipeline)) + GRACE:
        return TakenBack(None, False, False, f"{pipeline.name}: {there.sentence}")
    why = f"nobody has gone on with its rollout since {last:%Y-%m-%d %H:%M} UTC"
    return take_back(pipeline, RULE, why, platform, tell, challenger=there.challenger)


def _found(pipeline: Pipeline, there: Ramping, platform: Platform) -> list[RolloutCheck]:
    """What was found of a ramp's last step."""
    c = RolloutCheck
    return platform.ledger.all(c, c.at >= there.step_at, pipeline=pipeline.name, challenger=there.challenger, share=there.share)


def _keep(pipeline: Pipeline, there: Ramping, found: Sequence[RolloutCheck], platform: Platform) -> None:
    """Write what was found of a ramp's last step, in the place of what was found before."""
    c = RolloutCheck
    of_step = (c.pipeline == pipeline.name) & (c.challenger == there.challenger) & (c.share == there.share)
    with platform.ledger.session() as session:
        session.execute(delete(c).where(of_step & (c.at >= there.step_at)))
        for one in found:
            session.merge(one)


def _failed(there: Ramping, found: tuple[RolloutCheck, ...], beside: str = "") -> Checked:
    why = " ".join(one.sentence for one in found if one.passed is False)
    return Checked("failed", f"version {there.challenger} fails at {percent(there.share)} of entities. {why}{beside}", found)


def _last_step_passed(pipeline: Pipeline, there: Ramping, platform: Platform) -> None:
    found = _found(pipeline, there, platform)
    if there.share < 1 or not found or any(one.passed is False for one in found):
        raise NotChecked(
            f"{pipeline.name}: version {there.challenger} has not passed the last step of its ramp, so it is not promoted: "
            f"{there.sentence}"
        )


def _write(pipeline: Pipeline, platform: Platform, before: Rollout | None, **changed: Any) -> None:
    """Put a rollout in force in the place of `before`, of which automation and band are kept."""
    band = (
        None if before is None or before.band_low is None or before.band_high is None else (before.band_low, before.band_high)
    )
    try:
        roll_out(
            pipeline,
            platform,
            automation=before.automation if before else "full",
            band=band,
            instead_of=before.at if before else None,
            **changed,
        )
    except RolledOutMeanwhile as error:
        raise RampStopped(str(error)) from error


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:,.0f} minutes"
