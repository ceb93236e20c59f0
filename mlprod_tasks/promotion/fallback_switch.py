"""Switch scoring from the champion to its fallback and back.

The ledger records who did it.
"""

from __future__ import annotations

import logging

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Fallback, Intervention
from mlprod_tasks.promotion.history import promotions
from mlprod_tasks.promotion.operator_actions import Who, intervene, interventions

log = logging.getLogger(__name__)
SWITCHED = "switched to the fallback"


class CannotSwitch(LookupError):
    """There is no champion, or it has no fallback to switch to."""


def switched(pipeline: Pipeline, platform: Platform, as_of: Tick | None = None) -> Intervention | None:
    """The current switch to the fallback; None if the champion answers.

    A switch ends when somebody switches back or a version is promoted. as_of: the state at that tick, instead of now.
    """
    switches = interventions(pipeline, platform, "fallback", "champion")
    promoted = promotions(pipeline, platform)
    if as_of is not None:
        switches = [one for one in switches if _first_tick(pipeline, one) <= as_of.name]
        promoted = [one for one in promoted if one.effective <= as_of.name]
    if not switches or switches[-1].kind == "champion" or any(one.at > switches[-1].at for one in promoted):
        return None
    return switches[-1]


def switch_to_fallback(
    pipeline: Pipeline, by: Who, platform: Platform, *, reason: str = "", tick: TickName | None = None, once: str = ""
) -> Intervention:
    """Let the fallback answer from the next scoring on; its predictions are marked.

    Changes nothing if it does already.

    tick: the tick whose rules decided the switch. once: an identifier of the switch; with the same one it is done only once.

    Raises: CannotSwitch; ValueError if `by` is empty.
    """
    promoted = promotions(pipeline, platform)
    if not promoted:
        raise CannotSwitch(f"{pipeline.name}: there is no champion, and so no fallback: train a model first")
    version = promoted[-1].model_version
    if platform.ledger.get(Fallback, pipeline.name, version) is None:
        raise CannotSwitch(f"{pipeline.name}: there is no fallback beside version {version}: train a model first")
    if (current := switched(pipeline, platform)) is not None:
        return current
    done = intervene(
        pipeline, "fallback", by, platform,
        subject=str(version), model_version=version, reason=reason, tick=tick, once=once,
    )  # fmt: skip
    log.warning("%s: %s by %s: %s", pipeline.name, SWITCHED, done.by, done.reason)
    return done


def switch_to_champion(pipeline: Pipeline, by: str, platform: Platform, *, reason: str = "") -> Intervention | None:
    """Let the champion answer again from the next scoring on; None if it does already.

    Raises: ValueError if `by` is empty.
    """
    if switched(pipeline, platform) is None:
        return None
    done = intervene(pipeline, "champion", by, platform, reason=reason)
    log.warning("%s: switched back to the champion by %s: %s", pipeline.name, done.by, done.reason)
    return done


def sentence(switch: Intervention) -> str:
    """Why the fallback answers; stored with each scoring."""
    when = f"at tick {switch.tick}" if switch.tick else f"at {switch.at:%Y-%m-%d %H:%M} UTC"
    return f"{SWITCHED} by {switch.by} {when}{f': {switch.reason}' if switch.reason else ''}"[:1000]


def _first_tick(pipeline: Pipeline, one: Intervention) -> TickName:
    """The first tick that a switch affects.

    It is the one after the tick that decided it, or the next one after it was made.
    """
    if one.tick is not None:
        return pipeline.schedule.shift(one.tick, 1)
    return pipeline.schedule.next_after(one.at)
