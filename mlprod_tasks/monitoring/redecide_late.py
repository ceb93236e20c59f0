"""Decide ticks again whose evidence, the last requests, came late."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.act import act
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.requests import ROWS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
LATE = 7  # ticks; measurements later than that are too old to act on


def decide_again(pipeline: Pipeline, platform: Platform, tell: Callable[[Tick], object]) -> list[dict[str, Any]]:
    """Decide, act and mail again, from the first tick whose evidence came late.

    That is the first one decided before the previous tick's requests were measured. A tick is decided right after the previous
    one ended, but the last requests of that one are collected some minutes later, or a day later if collecting failed. Safe to
    run again: each decision, action and mail comes once. It checks all that was measured within the last day, to catch up if an
    earlier run was killed.

    tell: mails the decision of a tick.

    Returns: for each requested training, the arguments of the train DAG's run, with the same run id as by the monitor DAG.
    """
    trainings = []
    for day in _decided_early(pipeline, platform):
        tick = pipeline.schedule.tick(day)
        decided = decide(pipeline, tick, platform)
        act(pipeline, tick, platform)
        tell(tick)
        if decided.retrain_now:
            conf = {"as_of": str(tick), "reason": decided.training_reason, "decided_at": str(tick)}
            trainings.append({"trigger_run_id": f"monitor__{tick}", "conf": conf, "note": decided.training_reason})
    return trainings


def _decided_early(pipeline: Pipeline, platform: Platform) -> list[TickName]:
    """The decided ticks, from the first one whose evidence is newer than its decision."""
    ledger, now = platform.ledger, platform.clock.now()
    decided = {one.tick: one.at for one in ledger.all(Decision, pipeline=pipeline.name)}
    if not decided:
        return []
    measured = ledger.all(Measurement, Measurement.at > now - DAY, pipeline=pipeline.name, what=ROWS)
    shift = pipeline.schedule.shift
    following = [(shift(one.tick, 1), one.at) for one in measured]
    early = [day for day, at in following if day in decided and decided[day] <= at]
    first = max(min(early, default=date.max), shift(max(decided), -LATE))
    return sorted(day for day in decided if day >= first)
