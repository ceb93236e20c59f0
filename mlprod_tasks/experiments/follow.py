"""Follow experiments tick by tick: read each one while its outcomes come in."""

from __future__ import annotations

import logging

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.experiments.conclude import conclude
from mlprod_tasks.experiments.read_out import Reading, read_out, verdict_of
from mlprod_tasks.experiments.run import every
from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)


def follow(pipeline: Pipeline, tick: Tick, platform: Platform) -> list[Reading]:
    """Read the experiments that have begun by this tick and have no verdict yet, and record what they show.

    What the plan says of a verdict is done, too, once.

    An experiment whose outcomes are published late is read until it has one.
    """
    if pipeline.experiments is None:
        return []
    readings = []
    for run in every(pipeline, platform):
        if run.starts > tick.name or run.concluded_at is not None:
            continue
        reading = verdict_of(pipeline, run, platform)
        if reading is None:
            reading = read_out(pipeline, run, tick, platform)
            readings.append(reading)
            log.info("%s: experiment %s at %s: %s: %s", pipeline.name, run.name, tick, reading.verdict, reading.sentence)
        conclude(pipeline, run, reading, platform)
    return readings
