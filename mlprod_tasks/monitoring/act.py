"""Carry out a decision: switch to the fallback or roll back, once per tick."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.decide import Decided, decide
from mlprod_tasks.monitoring.rules import FALLBACK, NOTHING, ROLLBACK
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention, newest
from mlprod_tasks.promotion.fallback_switch import CannotSwitch, switch_to_champion, switch_to_fallback, switched
from mlprod_tasks.promotion.history import champion_stack, promotions
from mlprod_tasks.promotion.operator_actions import ByRule, intervene, interventions, is_rule, known
from mlprod_tasks.promotion.rollback import CannotRollBack, rollback

__all__ = ["Acted", "NotDecided", "act", "retraining_asked", "switch_to_champion", "switch_to_fallback"]

log = logging.getLogger(__name__)
NOT_DONE = "not done"


class NotDecided(LookupError):
    """The tick has no decision."""


@dataclass(frozen=True)
class Acted:
    """What was done at a tick: nothing, fallback or rollback.

    sentence: what was done, or why it was not.
    """

    tick: str
    done: str
    sentence: str


def decide_and_act(pipeline: Pipeline, tick: Tick, platform: Platform) -> Decided:
    """Decide what follows from a tick's measurements, and carry it out as far as it is a switch or a rollback."""
    decided = decide(pipeline, tick, platform)
    act(pipeline, tick, platform)
    return decided


def act(pipeline: Pipeline, tick: Tick, platform: Platform) -> Acted:
    """Carry out the action of a tick's decision, if it is about the current champion.

    If the tick was decided late and another version is champion by now, nothing is done. Safe to run again, even after it
    was killed: an action is done once per tick. An action that could not be done goes to the ledger with the reason.

    Raises: NotDecided.
    """
    decision = platform.ledger.get(Decision, pipeline.name, tick.name)
    if decision is None:
        raise NotDecided(f"{pipeline.name}: tick {tick} has no decision: decide it first (`mlprod monitor`)")
    rule = next((one for one in decision.rules if one["action"] == decision.action and not one.get("held")), None)
    if decision.action not in (FALLBACK, ROLLBACK) or rule is None:
        return Acted(str(tick), NOTHING, f"nothing to do: {decision.action}")
    do = _fall_back if decision.action == FALLBACK else _roll_back
    try:
        done, sentence = do(pipeline, tick, rule, platform)
    except (CannotRollBack, CannotSwitch) as error:
        done, sentence = NOTHING, str(error)
        intervene(
            pipeline,
            NOT_DONE,
            ByRule(rule["rule"]),
            platform,
            subject=decision.action,
            reason=sentence,
            tick=tick.name,
            once=f"{tick}/{decision.action}",
        )
    log.warning("%s: %s: %s: %s", pipeline.name, tick, decision.action, sentence)
    return Acted(str(tick), done, sentence)


def retraining_asked(pipeline: Pipeline, as_of: TickName, by: str, platform: Platform, *, reason: str = "") -> Intervention:
    """Record in the ledger that a person requested a training."""
    return intervene(pipeline, "retrain", by, platform, subject=str(as_of), reason=reason)


def _fall_back(pipeline: Pipeline, tick: Tick, rule: dict[str, Any], platform: Platform) -> tuple[str, str]:
    if (before := known(pipeline, platform, "fallback", str(tick))) is not None:
        return FALLBACK, f"already done at {before.at:%Y-%m-%d %H:%M} UTC"
    _check_not_outdated(pipeline, tick, platform, CannotSwitch)
    _check_champion(pipeline, rule, platform, CannotSwitch)
    if (switch := switched(pipeline, platform)) is not None:
        return NOTHING, f"the fallback already answers: {switch.by} switched to it"
    back = _switch_back_by_person(pipeline, platform)
    if back is not None:
        raise CannotSwitch(
            f"{back.by} switched back to the champion at {back.at:%Y-%m-%d %H:%M} UTC, and no version has been promoted since"
        )
    reason = f"{rule['rule']}: {rule['measurements'][0]['sentence']}"
    done = switch_to_fallback(pipeline, ByRule(rule["rule"]), platform, reason=reason, tick=tick.name, once=str(tick))
    return FALLBACK, f"the fallback answers from the next scoring on, because {done.reason}"


def _roll_back(pipeline: Pipeline, tick: Tick, rule: dict[str, Any], platform: Platform) -> tuple[str, str]:
    by = ByRule(rule["rule"])
    before = next(
        (one for one in interventions(pipeline, platform, "rollback") if is_rule(one) and one.tick == tick.name), None
    )
    history = promotions(pipeline, platform)
    if before is not None:
        if history and history[-1].at == before.at:  # it may have been killed before it moved the aliases: move them now
            rollback(pipeline, platform, to=before.model_version, reason=before.reason, by=by, tick=tick.name)
        return (
            ROLLBACK,
            f"already done at {before.at:%Y-%m-%d %H:%M} UTC: version {before.model_version} was made champion again",
        )
    _check_not_outdated(pipeline, tick, platform, CannotRollBack)
    version = _check_champion(pipeline, rule, platform, CannotRollBack)
    champions = champion_stack(history, version)
    if len(champions) < 2:
        raise CannotRollBack(f"version {version} is the first champion, so there is no earlier one to go back to")
    # The target is named, so that the second of two concurrent runs has nothing left to do.
    reason = f"{rule['rule']}: {rule['measurements'][0]['sentence']}"
    done = rollback(pipeline, platform, to=champions[-2], reason=reason, by=by, tick=tick.name)
    return ROLLBACK, done.sentence


def _check_not_outdated(pipeline: Pipeline, tick: Tick, platform: Platform, refusal: type[LookupError]) -> None:
    """Refuse to act on an old tick if a later one was decided and is quiet."""
    later = newest(platform.ledger.all(Decision, Decision.tick > tick.name, pipeline=pipeline.name), "tick")
    if later is not None and later.action == NOTHING:
        raise refusal(f"the later tick {later.tick} has been decided, and no rule fires there")


def _check_champion(pipeline: Pipeline, rule: dict[str, Any], platform: Platform, refusal: type[LookupError]) -> int:
    """The champion's version; refuses if another version was measured."""
    champion, measured = platform.registry.champion(pipeline), rule["measurements"][0]["model_version"]
    if champion is None or champion.version != measured:
        now = "no version" if champion is None else f"version {champion.version}"
        raise refusal(f"version {measured} was measured, but {now} is champion now")
    return champion.version


def _switch_back_by_person(pipeline: Pipeline, platform: Platform) -> Intervention | None:
    """A person's switch back to the current champion.

    It holds until another version is promoted.
    """
    switches = interventions(pipeline, platform, "fallback", "champion")
    newest = max((one.at for one in promotions(pipeline, platform)), default=None)
    last = switches[-1] if switches else None
    if last is None or last.kind != "champion" or is_rule(last) or (newest is not None and newest > last.at):
        return None
    return last
