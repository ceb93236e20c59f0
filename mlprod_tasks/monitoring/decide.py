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
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.monitoring.retraining_limits import BUDGET_DAYS, budget_spent
from mlprod_tasks.monitoring.rules import NOTHING, STALE_TICKS, Ruling, fold
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Decision, Measurement, Promotion, Training

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

    `retrain_now` says whether a training is to be asked for, with `training_reason`; `held_back` why none is, though the rules
    want one. `rules` are those that fired, `news` those of them that had not fired at the tick decided before; `over` whether
    something fired there and nothing fires now.
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
        """What is decided, and what does not follow from it."""
        return f"{self.reason} No training is started: {self.held_back}." if self.held_back else self.reason

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
        asked = _asking(pipeline, ruling, before, trainings, platform.clock.now())
        for one in rulings:
            _write(session, pipeline, one, before, asked if one is ruling else None, platform)
    now, held_back = asked.now, asked.held_back
    log.info("%s: %s: %s%s", pipeline.name, tick, ruling.reason, " A training is asked for." if now else "")
    fired = tuple(one.rule.name for one in ruling.fired)
    last = max((decision for decision in before if decision.tick < tick.date), key=lambda d: d.tick, default=None)
    held = {rule["rule"] for rule in last.rules} if last else set()
    mended = any(decision.rules for decision in before if decision.tick == tick.date) and not fired
    news = tuple(name for name in fired if name not in held)
    reason = ruling.training_reason if now else ""
    over = (bool(held) and not fired) or mended
    return Decided(str(tick), ruling.action, ruling.reason, fired, news, now, reason, over, held_back)


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
    by_hand = [t.as_of for t in trainings if t.state != NOT_TRAINED and t.asker is Asker.PERSON]
    # One that was asked for and never began, or failed, does not use up the cooldown.
    begun = {t.decided_at for t in trainings if t.state != NOT_TRAINED and t.asker is Asker.RULE}
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
        training_asked_at=decision.training_asked_at,
        training_held=decision.training_held,
    )


def _write(
    session: Session,
    pipeline: Pipeline,
    ruling: Ruling,
    before: Sequence[Decision],
    asked: _Asking | None,
    platform: Platform,
) -> None:
    """Write a ruling that is new or says something else than before; its time tells when it came to say so.

    asked: what became of the training that it may want; None: of a later tick, which is not decided now, as it was.
    """
    rules = [one.as_json() for one in ruling.fired]
    old = next((decision for decision in before if decision.tick == ruling.tick), None)
    same = old is not None and _said(old) == (ruling.action, ruling.reason, rules, ruling.retrain)
    if asked is None:
        asked = _Asking(False, old.training_held if old and ruling.retrain else "", old.training_asked_at if old else None)
    session.merge(
        Decision(
            pipeline=pipeline.name,
            tick=ruling.tick,
            action=ruling.action,
            reason=ruling.reason,
            at=old.at if old is not None and same else platform.clock.now(),
            rules=rules,
            retrain=ruling.retrain,
            training_asked_at=asked.at,
            training_held=asked.held_back,
        )
    )


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.action, decision.reason, decision.rules, decision.retrain


@dataclass(frozen=True)
class _Asking:
    """Whether a training is to be asked for now; why not, where the rules want one; and when one was asked for last."""

    now: bool
    held_back: str
    at: datetime | None


def _asking(
    pipeline: Pipeline, ruling: Ruling, before: Sequence[Decision], trainings: Sequence[Training], now: datetime
) -> _Asking:
    """What becomes of the training that a ruling may want.

    Decided again, a tick whose training was asked for asks for no second one, and does not say that it was held back.
    """
    old = next((decision.training_asked_at for decision in before if decision.tick == ruling.tick), None)
    made = [t.at for t in trainings if t.decided_at == ruling.tick and t.asker is Asker.RULE]
    asked_at = old or max(made, default=None)
    if not ruling.retrain:
        return _Asking(False, "", asked_at)
    why = _held_back(pipeline, ruling.tick, before, trainings, now)
    if not why:
        return _Asking(True, "", now)
    return _Asking(False, "" if asked_at else why, asked_at)


def _held_back(pipeline: Pipeline, tick: date, before: Sequence[Decision], trainings: Sequence[Training], now: datetime) -> str:
    """Why no training is to be asked for at a tick; '' where one is.

    A training is under way; or lies within the cooldown of this tick, before or after it; or was asked for by a later tick
    decided before: it may not have begun yet, and its decision may just have given way to this one. Or the budget of some 30
    days around the tick is spent.
    """
    cooldown, most = pipeline.retraining.cooldown, pipeline.retraining.most_a_month
    trained = {training.as_of for training in trainings if training.state != NOT_TRAINED}
    asked = {decision.tick for decision in before if decision.tick > tick and decision.retrain}
    near = min((day for day in trained | asked if _near(day, tick, cooldown)), key=lambda day: abs(day - tick), default=None)
    if near is not None:
        which = "the training" if near in trained else "the one that is asked for"
        return f"{which} as of {near} is within the cooldown of {length(cooldown)}"
    if budget_spent(tick, trained | asked, most):
        return f"the budget of {most} in {BUDGET_DAYS} days is spent"
    doing = next((t for t in trainings if _is_under_way(t, now)), None)
    return "" if doing is None else f"the training as of {doing.as_of} {DOING[doing.state]}"


def _near(one: date, other: date, cooldown: timedelta) -> bool:
    return one == other or abs(one - other) < cooldown
