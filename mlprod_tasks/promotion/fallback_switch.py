"""Let the fallback answer instead of the champion, and back again; who wanted it stays in the ledger."""

from __future__ import annotations

import logging
from datetime import date, timedelta

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Fallback, Intervention
from mlprod_tasks.promotion.history import promotions
from mlprod_tasks.promotion.operator_actions import Who, intervene, interventions

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
SWITCHED = "switched to the fallback"


class CannotSwitch(LookupError):
    """There is no fallback beside the champion that could answer."""


def switched(pipeline: Pipeline, platform: Platform, as_of: Tick | None = None) -> Intervention | None:
    """The switch to the fallback that stands; None where the champion answers.

    It stands until somebody switches back, and until a version is promoted after it. as_of: at that tick, instead of now.
    """
    found = interventions(pipeline, platform, "fallback", "champion")
    made = promotions(pipeline, platform)
    if as_of is not None:
        found = [one for one in found if _first(pipeline, one) <= as_of.date]
        made = [one for one in made if one.effective <= as_of.date]
    if not found or found[-1].kind == "champion" or any(one.at > found[-1].at for one in made):
        return None
    return found[-1]


def switch_to_fallback(
    pipeline: Pipeline, by: Who, platform: Platform, *, reason: str = "", tick: date | None = None, once: str = ""
) -> Intervention:
    """From the next scoring on the fallback answers, marked as such. Where it does so already, nothing changes.

    tick: the tick whose decision asked for it, and `once` a word by which it is known, so that it is done once.

    Raises: CannotSwitch; ValueError where nobody is named.
    """
    made = promotions(pipeline, platform)
    if not made or platform.ledger.get(Fallback, pipeline.name, made[-1].model_version) is None:
        beside = f"version {made[-1].model_version}" if made else "no champion"
        raise CannotSwitch(f"{pipeline.name}: there is no fallback beside {beside}: train a model first")
    if (standing := switched(pipeline, platform)) is not None:
        return standing
    version = made[-1].model_version
    done = intervene(
        pipeline, "fallback", by, platform,
        subject=str(version), model_version=version, reason=reason, tick=tick, once=once,
    )  # fmt: skip
    log.warning("%s: %s by %s: %s", pipeline.name, SWITCHED, done.by, done.reason)
    return done


def switch_to_champion(pipeline: Pipeline, by: str, platform: Platform, *, reason: str = "") -> Intervention | None:
    """From the next scoring on the champion answers again; None where it does so already. Raises: ValueError."""
    if switched(pipeline, platform) is None:
        return None
    done = intervene(pipeline, "champion", by, platform, reason=reason)
    log.warning("%s: switched back to the champion by %s: %s", pipeline.name, done.by, done.reason)
    return done


def sentence(switch: Intervention) -> str:
    """Why the fallback answers, as each prediction's scoring keeps it."""
    when = f"at tick {switch.tick}" if switch.tick else f"at {switch.at:%Y-%m-%d %H:%M} UTC"
    return f"{SWITCHED} by {switch.by} {when}{f': {switch.reason}' if switch.reason else ''}"[:1000]


def _first(pipeline: Pipeline, one: Intervention) -> date:
    """The first tick that a switch answers for: the one after the tick that decided it, or after the moment it was made."""
    if one.tick is not None:
        return one.tick + DAY
    day = one.at.astimezone(pipeline.schedule.zone).date()
    return day if pipeline.schedule.moment(day) > one.at else day + DAY
