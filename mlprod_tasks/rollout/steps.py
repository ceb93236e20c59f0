"""The steps of a ramp: begin, take a step, check it, finish, or take it back.

All state is in the ledger, so each function is safe to call again, at any time and from any process. If a person changes the
rollout by hand (`mlprod rollout ...`), the ramp ends: every step then raises RampStopped and keeps that change. If `challenger`
is given, a ramp of another version raises RampStopped too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_count
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

if TYPE_CHECKING:
    from mlprod_tasks.rollout.checks import Pair

log = logging.getLogger(__name__)

RULE = str(ByRule("ramp"))  # recorded in `by` if a failed check takes a challenger back
GRACE = timedelta(hours=1)  # a ramp counts as abandoned this long after the longest time of a step
ROLLING_OUT, TAKEN = "rolling out", "taken back"  # states of the training that made the challenger
AWAITED = ("errors", "latency")  # a step waits until these checks have enough rows
EARLIER_ROWS = " The champion's rows include those of the steps before, because it answers few or none now."
Verdict = Literal["passed", "waiting", "failed"]
# Sends one mail that the newest of these rollouts took a challenger back: see `notifications.rollout_mails.tell_taken_back`.
Tell = Callable[[Sequence[Rollout]], bool]


class CannotRamp(CannotRollOut):
    """The ramp cannot begin; the message says why."""


class Overtaken(CannotRollOut):
    """The challenger cannot be promoted any more, so it gets no larger share; the message names the champion."""


class NotChecked(RuntimeError):
    """The last step of the ramp has not passed its checks, so nothing is promoted."""


@dataclass(frozen=True)
class Checked:
    """The result of checking a step. waiting: the hold is not over, or there are too few rows."""

    verdict: Verdict
    sentence: str
    checks: tuple[RolloutCheck, ...] = ()

    def text(self) -> str:
        """Format as lines: the sentence, then one line per check."""
        marks = {True: "ok    ", False: "FAIL  ", None: "?     "}
        return "\n".join([self.sentence, *(f"  {marks[one.passed]}{one.what:8} {one.sentence}" for one in self.checks)])


@dataclass(frozen=True)
class Finished:
    """Whether the challenger is champion now, and a sentence about it."""

    model_version: int
    promoted: bool
    sentence: str


@dataclass(frozen=True)
class TakenBack:
    """Whether this call took a challenger back, and whether it sent a mail (`told`)."""

    model_version: int | None
    changed: bool
    told: bool
    sentence: str


def begin(pipeline: Pipeline, challenger: int, by: str, reason: str, platform: Platform) -> Ramping:
    """Begin to roll a version out: all replicas load it, and it runs in shadow mode until the first step.

    The version must have passed its gates, be approved if that is declared, and not be overtaken by a newer one; or be a former
    champion. If a ramp of this version is already running, it goes on unchanged.

    Raises: CannotRamp; GatesRefused, NotApproved; BrokenArtifact.
    """
    from mlprod_tasks.rollout.promote import may_become_champion, note

    if not by.strip():
        raise CannotRamp(f"{pipeline.name}: who rolls version {challenger} out? Give a name with `by`")
    running = ramping(pipeline, platform)
    if running is not None and running.challenger == challenger:
        note(pipeline, challenger, ROLLING_OUT, platform)
        return running
    before = current(pipeline, platform)
    if before is not None and before.mode != "champion":
        raise CannotRamp(
            f"{pipeline.name}: {before.by} set mode {before.mode!r} of version {before.challenger}: put the champion back "
            f"first (`mlprod rollout {pipeline.name} champion`)"
        )
    may_become_champion(pipeline, challenger, platform)
    asker = by.strip()
    _write(
        pipeline, platform, before, mode="shadow", by=f"ramp for {asker}", reason=reason, challenger=challenger,
        ramp=RampStep.BEGUN, ramp_for=asker,
    )  # fmt: skip
    note(pipeline, challenger, ROLLING_OUT, platform)
    log.info("%s: %s began to roll out version %d", pipeline.name, by, challenger)
    return in_force(pipeline, platform, challenger)


def take_step(pipeline: Pipeline, share: float, platform: Platform, *, challenger: int | None = None) -> Ramping:
    """Let the challenger answer this share of entities. Never lowers the share.

    Raises: RampStopped; Overtaken, after writing a failed check to the ledger.
    """
    from mlprod_tasks.promotion.eligible import overtaken_by
    from mlprod_tasks.rollout.checks import overtaken

    ramp = in_force(pipeline, platform, challenger)
    if ramp.done or ramp.share >= share:
        return ramp
    if (why := overtaken_by(pipeline, ramp.challenger, platform)) is not None:
        _replace_checks(
            pipeline, ramp, (overtaken(pipeline.name, ramp.challenger, ramp.share, platform.clock.now(), why),), platform
        )
        raise Overtaken(why)
    reason = because(f"version {ramp.challenger} rolled out to {percent(share)}", ramp.reason)
    _write(
        pipeline, platform, ramp.last, mode="canary", by=ramp.last.by, reason=reason, challenger=ramp.challenger,
        share=share, ramp=RampStep.SHARE, ramp_for=ramp.by,
    )  # fmt: skip
    ramp = in_force(pipeline, platform, challenger)
    log.info("%s: %s", pipeline.name, ramp.sentence)
    return ramp


def look(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Checked:
    """Return what `check` would find now. Writes nothing but the collected log. Raises: RampStopped.

    A challenger with significantly more errors, or one that cannot be promoted any more, fails before the step is over. A
    challenger with too few rows after the longest time of a step fails too. Results that `check` has stored are final: a step
    that failed does not pass with later rows, and one that passed does not wait again.

    A step also waits while the champion has too few rows to compare errors or latency. When the longest time is over, the
    champion's rows of the steps before count too.
    """
    from mlprod_tasks.promotion.eligible import overtaken_by
    from mlprod_tasks.rollout.checks import overtaken
    from mlprod_tasks.scoring.collect import collect

    ramp = in_force(pipeline, platform, challenger)
    if ramp.done:
        return Checked("passed", ramp.sentence)
    stored, now = tuple(_stored_checks(pipeline, ramp, platform)), platform.clock.now()
    if any(one.passed is False for one in stored):
        return _failed(ramp, stored)
    if (why := overtaken_by(pipeline, ramp.challenger, platform)) is not None:
        return _failed(ramp, (overtaken(pipeline.name, ramp.challenger, ramp.share, now, why),))
    if not ramp.share:
        return Checked("waiting", ramp.sentence)
    collect(pipeline, platform)
    return _check_rows(pipeline, ramp, stored, now, platform)


def _check_rows(
    pipeline: Pipeline, ramp: Ramping, stored: tuple[RolloutCheck, ...], now: datetime, platform: Platform
) -> Checked:
    """Check the collected rows of the current step. stored: the results that an earlier `check` of the step has stored."""
    from mlprod_tasks.rollout.checks import early_findings, findings, too_few
    from mlprod_tasks.rollout.task_checks import compared

    declared, last, how = ramp_of(pipeline), ramp.share >= 1, compared(pipeline)
    elapsed = now - ramp.step_at
    late, few = elapsed >= declared.at_most, ""
    pair = _rows(pipeline, ramp, elapsed, platform, earlier=last)
    answered = pair.challenger.rows
    over = elapsed >= declared.hold and answered >= declared.rows
    results = findings(pair, declared, how) if over else early_findings(pair, declared)
    if over and not last and any(one.passed is None for one in results if one.what in AWAITED):
        few = f"; the champion's {pair.champion.rows:,} are too few to compare with"
        over = late
        if late:
            results = findings(_rows(pipeline, ramp, elapsed, platform, earlier=True), declared, how)
    if answered < declared.rows and late:
        results = (*results, too_few(pair, declared))
    checks = tuple(one.as_check(pipeline.name, now, ramp.challenger, ramp.share) for one in results)
    note = EARLIER_ROWS if last or (over and few) else ""
    if any(one.passed is False for one in results):
        return _failed(ramp, checks, note)
    if not over and not stored:
        so_far = f"{answered:,} of {declared.rows:,} rows, {_minutes(elapsed)} of {_minutes(declared.hold)}{few}"
        return Checked("waiting", f"version {ramp.challenger} at {percent(ramp.share)} of entities: {so_far}", checks)
    sentence = (
        f"version {ramp.challenger} passes at {percent(ramp.share)} of entities with {format_count(answered, 'row')}.{note}"
    )
    return Checked("passed", sentence, checks if over else stored)


def _rows(pipeline: Pipeline, ramp: Ramping, elapsed: timedelta, platform: Platform, *, earlier: bool) -> Pair:
    """The rows of the current step. earlier: include the champion's rows of the steps before."""
    from mlprod_tasks.rollout.rows import read

    return read(
        pipeline,
        platform,
        history.promotions(pipeline, platform)[-1].model_version,
        ramp.challenger,
        since=ramp.step_at,
        champion_since=ramp.first_at if earlier else ramp.step_at,
        outcomes=elapsed >= ramp_of(pipeline).hold,
    )


def check(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Checked:
    """Check the challenger at its current share, on the rows in the log; the results go into the ledger.

    Checking a step again replaces its results. At the last share the champion answers nothing any more: there the challenger is
    compared with the champion's rows of the steps before. This does not take the challenger back: see `take_back`.

    Raises: RampStopped.
    """
    result = look(pipeline, platform, challenger=challenger)
    log.log(logging.ERROR if result.verdict == "failed" else logging.INFO, "%s: %s", pipeline.name, result.sentence)
    if result.verdict == "waiting" or not result.checks:
        return result
    _replace_checks(pipeline, in_force(pipeline, platform, challenger), result.checks, platform)
    return result


def finish(pipeline: Pipeline, platform: Platform, tell: Tell, *, challenger: int | None = None) -> Finished:
    """Make the challenger champion, which then answers everything, with the automation as it was before.

    If a newer version has become champion meanwhile, or an earlier one was brought back, the challenger is taken back instead.
    If a call was killed, or the registry failed, after the promotion was recorded, the next call completes it.

    Raises: RampStopped; NotChecked unless the step at the last share was checked and passed; as `register.promote`.
    """
    from mlprod_tasks.rollout.promote import promote_challenger

    ramp = in_force(pipeline, platform, challenger)
    if not ramp.done:
        _require_last_step_passed(pipeline, ramp, platform)
    promoted = promote_challenger(pipeline, ramp, platform)
    if not promoted.moved:
        taken = take_back(pipeline, RULE, promoted.sentence, platform, tell)
        return Finished(ramp.challenger, False, taken.sentence)
    sentence = because(f"version {ramp.challenger} of {pipeline.name} is champion", ramp.reason)
    _write(
        pipeline, platform, ramp.last, mode="champion", by=ramp.last.by, reason=f"version {ramp.challenger} is champion",
        ramp=RampStep.PROMOTED, ramp_for=ramp.by,
    )  # fmt: skip
    log.info("%s", sentence)
    return Finished(ramp.challenger, True, sentence)


def take_back(
    pipeline: Pipeline,
    by: str,
    reason: str,
    platform: Platform,
    tell: Tell,
    *,
    challenger: int | None = None,
) -> TakenBack:
    """Let the champion answer everything again, and send a mail that says why.

    by: a rule or a person. If no ramp is running, nothing changes; but a mail that could not be sent when a challenger was
    taken back is sent now.

    Raises: the mailer's error if no mail can be sent; the challenger is taken back all the same.
    """
    from mlprod_tasks.rollout.promote import note

    ramp, changed = ramping(pipeline, platform), False
    if ramp is not None and challenger in (None, ramp.challenger):
        changed = _end(pipeline, ramp, by, reason, platform)
        challenger = ramp.challenger
    known = rollouts(pipeline, platform)
    if challenger is not None and ramping(pipeline, platform) is None:  # also if a person ended the ramp
        note(pipeline, challenger, TAKEN, platform, only=ROLLING_OUT)
    latest = next((one.challenger for one in reversed(known) if one.challenger is not None), None)
    if latest is None or challenger not in (None, latest) or known[-1].ramp is not RampStep.TAKEN_BACK:
        return TakenBack(None, False, False, f"{pipeline.name}: there is nothing to take back")
    log.log(logging.WARNING if changed else logging.INFO, "%s: %s", pipeline.name, known[-1].reason)
    sent = tell(known)
    return TakenBack(latest, changed, sent, f"{pipeline.name}: {known[-1].reason}")


def _end(pipeline: Pipeline, ramp: Ramping, by: str, reason: str, platform: Platform) -> bool:
    """End a running ramp; whether its challenger was taken back. If it was promoted meanwhile, it stays champion."""
    from mlprod_tasks.rollout.promote import settle

    if ramp.done:
        settle(pipeline, ramp, platform)
        by, sentence, step = ramp.last.by, ramp.sentence, RampStep.PROMOTED
    else:
        why = reason.strip() or "no reason given"
        sentence = f"taken back: version {ramp.challenger} at {percent(ramp.share)} of entities, {why}"
        step = RampStep.TAKEN_BACK
    try:
        _write(pipeline, platform, ramp.last, mode="champion", by=by, reason=sentence, ramp=step, ramp_for=ramp.by)
    except RampStopped as error:
        log.warning("%s", error)
        return False
    return not ramp.done


def take_back_abandoned(pipeline: Pipeline, platform: Platform, tell: Tell) -> TakenBack:
    """Take back a challenger whose ramp is abandoned.

    A ramp is abandoned after no step or check for one hour more than a step may take.

    The DAG run that drives a ramp takes it back when it ends, but a killed run cannot. Meant to be called regularly: if the
    ramp is not abandoned, nothing changes and no mail is sent.

    Raises: as `take_back`.
    """
    from mlprod_tasks.rollout.promote import note

    ramp = ramping(pipeline, platform)
    if ramp is None:
        for one in platform.ledger.all(Training, pipeline=pipeline.name, state=ROLLING_OUT):
            note(pipeline, one.model_version or 0, TAKEN, platform, only=ROLLING_OUT)
        return TakenBack(None, False, False, f"{pipeline.name}: no ramp is running")
    last = max([ramp.step_at, *(one.at for one in _stored_checks(pipeline, ramp, platform))])
    if platform.clock.now() - last <= longest(ramp_of(pipeline)) + GRACE:
        return TakenBack(None, False, False, f"{pipeline.name}: {ramp.sentence}")
    why = f"its rollout was abandoned: no step or check since {last:%Y-%m-%d %H:%M} UTC"
    return take_back(pipeline, RULE, why, platform, tell, challenger=ramp.challenger)


def _stored_checks(pipeline: Pipeline, ramp: Ramping, platform: Platform) -> list[RolloutCheck]:
    """The ledger's results of the current step."""
    c = RolloutCheck
    return platform.ledger.all(c, c.at >= ramp.step_at, pipeline=pipeline.name, challenger=ramp.challenger, share=ramp.share)


def _replace_checks(pipeline: Pipeline, ramp: Ramping, checks: Sequence[RolloutCheck], platform: Platform) -> None:
    """Write the results of the current step to the ledger, replacing earlier ones."""
    c = RolloutCheck
    of_step = (c.pipeline == pipeline.name) & (c.challenger == ramp.challenger) & (c.share == ramp.share)
    with platform.ledger.session() as session:
        session.execute(delete(c).where(of_step & (c.at >= ramp.step_at)))
        for one in checks:
            session.merge(one)


def _failed(ramp: Ramping, checks: tuple[RolloutCheck, ...], note: str = "") -> Checked:
    why = " ".join(one.sentence for one in checks if one.passed is False)
    return Checked("failed", f"version {ramp.challenger} fails at {percent(ramp.share)} of entities. {why}{note}", checks)


def _require_last_step_passed(pipeline: Pipeline, ramp: Ramping, platform: Platform) -> None:
    checks = _stored_checks(pipeline, ramp, platform)
    if ramp.share < 1 or not checks or any(one.passed is False for one in checks):
        raise NotChecked(
            f"{pipeline.name}: version {ramp.challenger} has not passed the last step of its ramp, so it is not promoted: "
            f"{ramp.sentence}"
        )


def _write(pipeline: Pipeline, platform: Platform, before: Rollout | None, **changed: Any) -> None:
    """Write a rollout that replaces `before`, with the same automation and band."""
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
    return format_count(round(span.total_seconds() / 60), "minute")
