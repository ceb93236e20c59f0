"""Decide anew what was decided before the last requests of the tick before were measured, and do and tell what follows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.monitoring.act import act
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.requests import ROWS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
LATE = 7  # ticks: what is measured later than that is no news any more


def decide_again(pipeline: Pipeline, platform: Platform, tell: Callable[[Tick], object]) -> list[dict[str, Any]]:
    """Decide, do and tell again from the first tick on that was decided before the requests of the tick before were measured.

    A tick is decided when the one before it has just ended; its last requests are collected some minutes later, or a day later
    where collections failed. Decisions, deeds and mails come once however often this runs, so it looks at all that was
    measured within a day: what was killed in between is made up for.

    tell: mails what was decided of a tick.

    Returns: for each training that is asked for, the arguments of the run of the train DAG, named as the monitor DAG names it.
    """
    trainings = []
    for day in _decided_early(pipeline, platform):
        tick = pipeline.schedule.tick(day)
        decided = decide(pipeline, tick, platform)
        act(pipeline, tick, platform)
        tell(tick)
        if decided.retrain_now:
            told = {"as_of": str(tick), "reason": decided.training_reason, "decided_at": str(tick)}
            trainings.append({"trigger_run_id": f"monitor__{tick}", "conf": told, "note": decided.training_reason})
    return trainings


def _decided_early(pipeline: Pipeline, platform: Platform) -> list[date]:
    """The decided ticks from the first one on whose evidence is newer than its decision."""
    ledger, now = platform.ledger, platform.clock.now()
    decided = {one.tick: one.at for one in ledger.all(Decision, pipeline=pipeline.name)}
    if not decided:
        return []
    measured = ledger.all(Measurement, Measurement.at > now - DAY, pipeline=pipeline.name, what=ROWS)
    early = [one.tick + DAY for one in measured if (at := decided.get(one.tick + DAY)) is not None and at <= one.at]
    first = max(min(early, default=date.max), max(decided) - LATE * DAY)
    return sorted(day for day in decided if day >= first)
