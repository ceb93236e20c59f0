"""Decide what follows from the measurements of a tick: nothing, a note, an alert, a retraining, the fallback, a rollback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.monitoring.retraining_limits import BUDGET_DAYS, budget_spent
from mlprod_tasks.monitoring.rules import ASKED, NOTHING, STALE_TICKS, Ruling, fold
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement, Promotion, Training

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
NOT_TRAINED = "failed"
DOING = {
    "running": "is still running",
    "awaiting approval": "still awaits approval",
    "rolling out": "is still being rolled out",
}
LONGEST_TRAINING = timedelta(days=2)


@dataclass(frozen=True)
class Decided:
    """The decision of one tick.

    `retrain_now` says whether a training is to be asked for, with `training_reason`. `rules` are those that fired, `news` those
    of them that had not fired at the tick decided before; `over` whether something fired there and nothing fires now.
    """

    tick: str
    action: str
    reason: str
    rules: tuple[str, ...]
    news: tuple[str, ...]
    retrain_now: bool
    training_reason: str = ""
    over: bool = False

    def to_do(self) -> dict[str, Any]:
        """What later tasks need to act on; empty where there is nothing to do or to tell."""
        if self.action == NOTHING and not self.over:
            return {}
        reason = self.training_reason if self.retrain_now else self.reason
        return {"action": self.action, "reason": reason, "retrain_now": self.retrain_now}


def decide(pipeline: Pipeline, tick: Tick, platform: Platform) -> Decided:
    """Write what the rules say at a tick, and anew at every later tick that was decided already.

    One transaction, one at a time: in whatever order ticks are decided, twice or at once, the same decisions
    stand in the end. A decision is what the rules say; whether a training follows from it now depends on the
    trainings that there are, see Decided.retrain_now.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/decisions") as session:
        look_back = max(STALE_TICKS * DAY, BUDGET_DAYS * DAY, pipeline.retraining.cooldown)
        before = _decisions(session, pipeline, tick.date - look_back)
        trainings = list(session.scalars(select(Training).where(Training.pipeline == pipeline.name)))
        rulings = _rule(pipeline, tick, session, before, trainings, platform.clock.now())
        ruling = rulings[0]
        for one in rulings:
            _write(session, pipeline, one, before, platform)
        now = ruling.retrain and _none_under_way(pipeline, tick, before, trainings, platform.clock.now())
    log.info("%s: %s: %s%s", pipeline.name, tick, ruling.reason, " A training is asked for." if now else "")
    fired = tuple(one.rule.name for one in ruling.fired)
    last = max((decision for decision in before if decision.tick < tick.date), key=lambda d: d.tick, default=None)
    held = {rule["rule"] for rule in last.rules} if last else set()
    mended = any(decision.rules for decision in before if decision.tick == tick.date) and not fired
    news = tuple(name for name in fired if name not in held)
    reason = ruling.training_reason if now else ""
    return Decided(str(tick), ruling.action, ruling.reason, fired, news, now, reason, (bool(held) and not fired) or mended)


def evidence_of(pipeline: Pipeline, tick: Tick, session: Session) -> list[Measurement]:
    """The measurements that the rules may look at when a tick, or a later one, is decided."""
    watched = {condition.watch for rule in pipeline.rules for condition in rule.conditions}
    longest = max([STALE_TICKS, *(condition.of for rule in pipeline.rules for condition in rule.conditions)])
    oldest = tick.date - (max(pipeline.label_delay_ticks, 1) + longest) * DAY
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
    by_hand = [t.as_of for t in trainings if t.state != NOT_TRAINED and not t.reason.startswith(ASKED)]
    # One that was asked for and never began, or failed, does not use up the cooldown.
    begun = {t.as_of for t in trainings if t.state != NOT_TRAINED}
    earlier = [
        decision.tick
        for decision in before
        if decision.tick < tick.date and decision.retrain and (decision.tick in begun or now - decision.at < LONGEST_TRAINING)
    ]
    return fold(
        pipeline.rules,
        pipeline.retraining,
        pipeline.label_delay_ticks,
        evidence_of(pipeline, tick, session),
        [tick.date, *(decision.tick for decision in before if decision.tick > tick.date)],
        [*earlier, *by_hand],
        [(t.as_of, DOING[t.state]) for t in trainings if _is_under_way(t, now)],
        list(session.scalars(select(Promotion).where(Promotion.pipeline == pipeline.name))),
    )


def _is_under_way(training: Training, now: datetime) -> bool:
    """One that was killed is said to be running for ever: after a while it counts no more."""
    if training.state == "running":
        return now - training.at < LONGEST_TRAINING
    return training.state in DOING


def _decisions(session: Session, pipeline: Pipeline, since: date) -> list[Decision]:
    found = select(Decision).where(Decision.pipeline == pipeline.name, Decision.tick >= since)
    return [_copy(decision) for decision in session.scalars(found)]


def _copy(decision: Decision) -> Decision:
    """A copy that stays as it is while the session's own entry is written over."""
    return Decision(
        pipeline=decision.pipeline,
        tick=decision.tick,
        action=decision.action,
        reason=decision.reason,
        at=decision.at,
        rules=decision.rules,
        retrain=decision.retrain,
    )


def _write(session: Session, pipeline: Pipeline, ruling: Ruling, before: Sequence[Decision], platform: Platform) -> None:
    """Write a ruling that is new or says something else than before; its time tells when it came to say so."""
    rules = [one.as_json() for one in ruling.fired]
    old = next((decision for decision in before if decision.tick == ruling.tick), None)
    if old is not None and _said(old) == (ruling.action, ruling.reason, rules, ruling.retrain):
        return
    session.merge(
        Decision(
            pipeline=pipeline.name,
            tick=ruling.tick,
            action=ruling.action,
            reason=ruling.reason,
            at=platform.clock.now(),
            rules=rules,
            retrain=ruling.retrain,
        )
    )


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.action, decision.reason, decision.rules, decision.retrain


def _none_under_way(
    pipeline: Pipeline, tick: Tick, before: Sequence[Decision], trainings: Sequence[Training], now: datetime
) -> bool:
    """Whether no training is under way, or within the cooldown of this tick, or asked for by a later tick decided before.

    The last may not have begun yet, and its decision may just have given way to this one. Nor may the budget of any 30 days
    around the tick be spent.
    """
    cooldown, most = pipeline.retraining.cooldown, pipeline.retraining.most_a_month
    trained = {training.as_of for training in trainings if training.state != NOT_TRAINED}
    asked = {decision.tick for decision in before if decision.tick > tick.date and decision.retrain}
    if any(_near(day, tick.date, cooldown) for day in trained | asked):
        return False
    return not budget_spent(tick.date, trained | asked, most) and not any(_is_under_way(one, now) for one in trainings)


def _near(one: date, other: date, cooldown: timedelta) -> bool:
    return one == other or abs(one - other) < cooldown
