"""Decide what to do about a tick, from nothing to a rollback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.monitoring.holidays import judged_ones, not_judged
from mlprod_tasks.monitoring.incidents import COLUMNS, columns_behind
from mlprod_tasks.monitoring.relevance import ESTIMATED, LAST_YEAR, OF_SHIFTS
from mlprod_tasks.monitoring.retraining_limits import BUDGET, BUDGET_DAYS, budget_spent
from mlprod_tasks.monitoring.rules import NOTHING, STALE_TICKS, Ruling, fold
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Decision, Measurement, Promotion, Training
from mlprod_tasks.promotion.killed import LONGEST as LONGEST_TRAINING
from mlprod_tasks.promotion.killed import close_killed

log = logging.getLogger(__name__)
NOT_TRAINED = "failed"
DOING = {
    "running": "is still running",
    "awaiting approval": "still awaits approval",
    "rolling out": "is still being rolled out",
}


@dataclass(frozen=True)
class Decided:
    """The decision of one tick.

    retrain_now: whether to request a training, with `training_reason`; held_back: why none is requested although the rules
    want one. rules: those that fired; news: those of them that did not fire at the previously decided tick; over: whether a
    rule fired there and none fires now.
    """

    tick: str
    action: str
    reason: str
    rules: tuple[str, ...]
    news: tuple[str, ...]
    retrain_now: bool
    training_reason: str = ""
    over: bool = False
    held_back: str = ""

    @property
    def sentence(self) -> str:
        """The decision, and why no training is started, if one was held back."""
        return f"{self.reason} No training is started: {self.held_back}." if self.held_back else self.reason

    def to_do(self) -> dict[str, Any]:
        """What later tasks need to act; empty if there is nothing to do or to report."""
        if self.action == NOTHING and not self.over:
            return {}
        reason = self.training_reason if self.retrain_now else self.reason
        return {"action": self.action, "reason": reason, "retrain_now": self.retrain_now}


def decide(pipeline: Pipeline, tick: Tick, platform: Platform) -> Decided:
    """Decide a tick, and decide every later tick with a decision again.

    Runs in one transaction under a lock, so the decisions are the same in whatever order ticks are decided, also if they are
    decided twice or at the same time. A decision is what the rules say; whether it starts a training now depends on the
    trainings so far, see Decided.retrain_now.
    """
    close_killed(pipeline, platform)
    with platform.ledger.exclusive(f"{pipeline.name}/decisions") as session:
        before = _decisions(session, pipeline, _looks_back_to(pipeline, tick))
        trainings = list(session.scalars(select(Training).where(Training.pipeline == pipeline.name)))
        rulings = _rule(pipeline, tick, session, before, trainings, platform.clock.now())
        ruling = rulings[0]
        request = _training_request(pipeline, ruling, before, trainings, platform.clock.now())
        for one in rulings:
            _write(session, pipeline, one, before, request if one is ruling else None, platform)
    now, held_back = request.now, request.held_back
    log.info("%s: %s: %s%s", pipeline.name, tick, ruling.reason, " A training is requested." if now else "")
    fired = tuple(one.rule.name for one in ruling.fired)
    last = max((decision for decision in before if decision.tick < tick.name), key=lambda d: d.tick, default=None)
    fired_before = {rule["rule"] for rule in last.rules} if last else set()
    mended = any(decision.rules for decision in before if decision.tick == tick.name) and not fired
    news = tuple(name for name in fired if name not in fired_before)
    reason = ruling.training_reason if now else ""
    over = (bool(fired_before) and not fired) or mended
    return Decided(str(tick), ruling.action, ruling.reason, fired, news, now, reason, over, held_back)


def _looks_back_to(pipeline: Pipeline, tick: Tick) -> TickName:
    """The first tick whose decision matters: STALE_TICKS ticks, the days of the budget and the cooldown before."""
    schedule = pipeline.schedule
    return min(schedule.shift(tick.name, -STALE_TICKS), schedule.back(tick.name, max(BUDGET, pipeline.retraining.cooldown)))


def evidence_of(pipeline: Pipeline, tick: Tick, session: Session) -> list[Measurement]:
    """The measurements that the rules may use to decide a tick or a later one."""
    watched: set[str] = {condition.watch for rule in pipeline.rules for condition in rule.conditions}
    if watched & OF_SHIFTS:  # whether they matter
        watched |= ESTIMATED & {watch.what for watch in pipeline.watches}
        watched |= {LAST_YEAR[what] for what in watched & LAST_YEAR.keys()}
    longest = max(
        [STALE_TICKS, *(max(condition.of, condition.mean_of) for rule in pipeline.rules for condition in rule.conditions)]
    )
    oldest = pipeline.schedule.shift(tick.name, -max(pipeline.label_delay_ticks, 1) - longest)
    chosen = (Measurement.pipeline == pipeline.name) & (Measurement.tick > oldest) & Measurement.what.in_(watched)
    return list(session.scalars(select(Measurement).where(chosen)))


def _rule(
    pipeline: Pipeline,
    tick: Tick,
    session: Session,
    before: Sequence[Decision],
    trainings: Sequence[Training],
    now: datetime,
) -> list[Ruling]:
    """The rulings of this tick and of every later one that has a decision."""
    by_hand = [t.as_of for t in trainings if t.state != NOT_TRAINED and t.asker is Asker.PERSON]
    # A training that was requested but never began, or failed, does not start the cooldown.
    begun = {t.decided_at for t in trainings if t.state != NOT_TRAINED and t.asker is Asker.RULE}
    earlier = [
        decision.tick
        for decision in before
        if decision.tick < tick.name and decision.retrain and (decision.tick in begun or now - decision.at < LONGEST_TRAINING)
    ]
    measured = evidence_of(pipeline, tick, session)
    rulings = fold(
        pipeline.rules,
        pipeline.retraining,
        pipeline.schedule,
        pipeline.label_delay_ticks,
        judged_ones(pipeline, measured),
        [tick.name, *(decision.tick for decision in before if decision.tick > tick.name)],
        [*earlier, *by_hand],
        [(t.as_of, DOING[t.state]) for t in trainings if _is_under_way(t, now)],
        list(session.scalars(select(Promotion).where(Promotion.pipeline == pipeline.name))),
    )
    return [replace(one, reason=f"{one.reason}{not_judged(pipeline, one.tick, measured)}") for one in rulings]


def _is_under_way(training: Training, now: datetime) -> bool:
    """Whether a training still runs.

    A killed one may stay 'running' for LONGEST_TRAINING, until `close_killed` closes it.
    """
    if training.state == "running":
        return now - training.at < LONGEST_TRAINING
    return training.state in DOING


def _decisions(session: Session, pipeline: Pipeline, since: TickName) -> list[Decision]:
    query = select(Decision).where(Decision.pipeline == pipeline.name, Decision.tick >= since)
    return [_copy(decision) for decision in session.scalars(query)]


def _copy(decision: Decision) -> Decision:
    """A copy that does not change when the session's entry is overwritten."""
    return Decision(
        pipeline=decision.pipeline,
        tick=decision.tick,
        action=decision.action,
        reason=decision.reason,
        at=decision.at,
        rules=decision.rules,
        retrain=decision.retrain,
        training_asked_at=decision.training_asked_at,
        training_held=decision.training_held,
    )


def _write(
    session: Session,
    pipeline: Pipeline,
    ruling: Ruling,
    before: Sequence[Decision],
    request: _TrainingRequest | None,
    platform: Platform,
) -> None:
    """Write a ruling as the decision of its tick.

    Its time changes only when what it says changes. request: the training request of this tick; None for a later tick, whose
    request stays as it was.
    """
    rules = [one.as_json() for one in ruling.fired]
    rules = [{**one, COLUMNS: columns} if (columns := columns_behind(pipeline, one)) else one for one in rules]
    old = next((decision for decision in before if decision.tick == ruling.tick), None)
    same = old is not None and _content(old) == (ruling.action, ruling.reason, rules, ruling.retrain)
    if request is None:
        request = _TrainingRequest(
            False, old.training_held if old and ruling.retrain else "", old.training_asked_at if old else None
        )
    session.merge(
        Decision(
            pipeline=pipeline.name,
            tick=ruling.tick,
            action=ruling.action,
            reason=ruling.reason,
            at=old.at if old is not None and same else platform.clock.now(),
            rules=rules,
            retrain=ruling.retrain,
            training_asked_at=request.at,
            training_held=request.held_back,
        )
    )


def _content(decision: Decision) -> tuple[object, ...]:
    return decision.action, decision.reason, decision.rules, decision.retrain


@dataclass(frozen=True)
class _TrainingRequest:
    """Whether to request a training now.

    Also why not, if the rules want one, and when one was last requested.
    """

    now: bool
    held_back: str
    at: datetime | None


def _training_request(
    pipeline: Pipeline, ruling: Ruling, before: Sequence[Decision], trainings: Sequence[Training], now: datetime
) -> _TrainingRequest:
    """Whether to request the training that a ruling wants.

    If the tick is decided again after its training was requested, no second one is requested and none counts as held back.
    """
    old = next((decision.training_asked_at for decision in before if decision.tick == ruling.tick), None)
    started = [t.at for t in trainings if t.decided_at == ruling.tick and t.asker is Asker.RULE]
    asked_at = old or max(started, default=None)
    if not ruling.retrain:
        return _TrainingRequest(False, "", asked_at)
    why = _held_back(pipeline, ruling.tick, before, trainings, now)
    if not why:
        return _TrainingRequest(True, "", now)
    return _TrainingRequest(False, "" if asked_at else why, asked_at)


def _held_back(
    pipeline: Pipeline, tick: TickName, before: Sequence[Decision], trainings: Sequence[Training], now: datetime
) -> str:
    """Why no training is requested at a tick; '' if one is.

    The reason is a training under way, or one within the cooldown before or after this tick, or a spent budget of some 30 days
    around it. A training requested by a later tick that was decided earlier counts too: it may not have begun yet, and its
    decision may just have been replaced.
    """
    cooldown, most = pipeline.retraining.cooldown, pipeline.retraining.most_a_month
    trained = {training.as_of for training in trainings if training.state != NOT_TRAINED}
    requested = {decision.tick for decision in before if decision.tick > tick and decision.retrain}

    def apart(day: TickName) -> timedelta:
        return abs(pipeline.schedule.elapsed(day, tick))

    near = min((day for day in trained | requested if day == tick or apart(day) < cooldown), key=apart, default=None)
    if near is not None:
        which = "the training" if near in trained else "the requested one"
        return f"{which} as of {near} is within the cooldown of {length(cooldown)}"
    if budget_spent(tick, trained | requested, most, pipeline.schedule):
        return f"the budget of {most} in {BUDGET_DAYS} days is spent"
    doing = next((t for t in trainings if _is_under_way(t, now)), None)
    return "" if doing is None else f"the training as of {doing.as_of} {DOING[doing.state]}"
