"""Decide what follows from the measurements of a tick: nothing, an alert, or a retraining."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.monitor.rules import ASKED, NOTHING, RETRAIN, STALE_TICKS, Ruling, fold
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement, Training

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
NOT_TRAINED = "failed"


@dataclass(frozen=True)
class Decided:
    """The decision of one tick.

    `retrain_now` says whether a training is to be asked for, with `reason`. `rules` are those that fired, `news` those of
    them that had not fired at the tick decided before.
    """

    tick: str
    action: str
    reason: str
    rules: tuple[str, ...]
    news: tuple[str, ...]
    retrain_now: bool

    def to_do(self) -> dict[str, Any]:
        """What later tasks need to act on; empty where there is nothing to do."""
        if self.action == NOTHING:
            return {}
        return {"action": self.action, "reason": self.reason, "retrain_now": self.retrain_now}


def decide(pipeline: Pipeline, tick: Tick, platform: Platform) -> Decided:
    """Write what the rules say at a tick, and anew at every later tick that was decided already.

    One transaction, one at a time: in whatever order ticks are decided, twice or at once, the same decisions
    stand in the end. A decision is what the rules say; whether a training follows from it now depends on the
    trainings that there are, see Decided.retrain_now.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/decisions") as session:
        before = _decisions(session, pipeline, tick.date - max(STALE_TICKS * DAY, pipeline.retraining.cooldown))
        trainings = list(session.scalars(select(Training).where(Training.pipeline == pipeline.name)))
        rulings = _rule(pipeline, tick, session, before, trainings)
        ruling = rulings[0]
        for one in rulings:
            _write(session, pipeline, one, before, platform)
        now = ruling.action == RETRAIN and _none_under_way(pipeline, tick, before, trainings)
    log.info("%s: %s: %s%s", pipeline.name, tick, ruling.reason, " A training is asked for." if now else "")
    fired = tuple(one.rule.name for one in ruling.fired)
    last = max((decision for decision in before if decision.tick < tick.date), key=lambda d: d.tick, default=None)
    held = {rule["rule"] for rule in last.rules} if last else set()
    return Decided(str(tick), ruling.action, ruling.reason, fired, tuple(name for name in fired if name not in held), now)


def open_alarms(pipeline: Pipeline, platform: Platform) -> tuple[str, ...]:
    """What fired at the last decided tick, one sentence a rule."""
    with platform.ledger.session() as session:
        last = session.scalars(
            select(Decision).where(Decision.pipeline == pipeline.name).order_by(Decision.tick.desc()).limit(1)
        ).first()
    if last is None:
        return ()
    return tuple(f"{rule['rule']} ({rule['action']}): {rule['measurements'][0]['sentence']}" for rule in last.rules)


def _rule(
    pipeline: Pipeline, tick: Tick, session: Session, before: Sequence[Decision], trainings: Sequence[Training]
) -> list[Ruling]:
    """The rulings of this tick and of every later one that has a decision."""
    oldest = tick.date - (pipeline.label_delay_ticks + max([STALE_TICKS, *(rule.of for rule in pipeline.rules)])) * DAY
    watched = {rule.watch for rule in pipeline.rules}
    measurements = session.scalars(
        select(Measurement).where(
            Measurement.pipeline == pipeline.name, Measurement.tick > oldest, Measurement.what.in_(watched)
        )
    )
    by_hand = [t.as_of for t in trainings if t.state != NOT_TRAINED and not t.reason.startswith(ASKED)]
    earlier = [decision.tick for decision in before if decision.tick < tick.date and decision.action == RETRAIN]
    return fold(
        pipeline.rules,
        pipeline.retraining,
        pipeline.label_delay_ticks,
        list(measurements),
        [tick.date, *(decision.tick for decision in before if decision.tick > tick.date)],
        [*earlier, *by_hand],
    )


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
    )


def _write(session: Session, pipeline: Pipeline, ruling: Ruling, before: Sequence[Decision], platform: Platform) -> None:
    """Write a ruling that is new or says something else than before; its time tells when it came to say so."""
    rules = [one.as_json() for one in ruling.fired]
    old = next((decision for decision in before if decision.tick == ruling.tick), None)
    if old is not None and (old.action, old.reason, old.rules) == (ruling.action, ruling.reason, rules):
        return
    session.merge(
        Decision(
            pipeline=pipeline.name,
            tick=ruling.tick,
            action=ruling.action,
            reason=ruling.reason,
            at=platform.clock.now(),
            rules=rules,
        )
    )


def _none_under_way(pipeline: Pipeline, tick: Tick, before: Sequence[Decision], trainings: Sequence[Training]) -> bool:
    """Whether no training is within the cooldown of this tick, nor asked for by a later tick that was decided before.

    The latter may not have begun yet, and its decision may just have given way to this one.
    """
    cooldown = pipeline.retraining.cooldown
    trained = any(t.state != NOT_TRAINED and _near(t.as_of, tick.date, cooldown) for t in trainings)
    asked = any(d.tick > tick.date and d.action == RETRAIN and _near(d.tick, tick.date, cooldown) for d in before)
    return not trained and not asked


def _near(one: date, other: date, cooldown: timedelta) -> bool:
    return one == other or abs(one - other) < cooldown
