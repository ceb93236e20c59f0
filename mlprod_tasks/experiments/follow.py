"""Follow experiments tick by tick: read each one while its outcomes come in, and end one that does harm."""

from __future__ import annotations

import logging

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.experiments.read_out import Reading, read_out
from mlprod_tasks.experiments.run import every, stop
from mlprod_tasks.experiments.units import MetricFailed
from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)
GUARDRAIL = "guardrail"


def follow(pipeline: Pipeline, tick: Tick, platform: Platform) -> list[Reading]:
    """Read the experiments whose outcomes come in at this tick; one that a guardrail finds harmful is ended.

    Looks of a sequential design are those that are read here, so each of its weeks has one.
    """
    if pipeline.experiments is None:
        return []
    readings = []
    for run in every(pipeline, platform):
        if not run.starts <= tick.name <= pipeline.schedule.shift(run.ends, pipeline.label_delay_ticks):
            continue
        try:
            reading = read_out(pipeline, run, tick, platform)
        except MetricFailed as error:
            log.error("%s: experiment %s cannot be read at %s: %s", pipeline.name, run.name, tick, error)
            continue
        readings.append(reading)
        log.info("%s: experiment %s at %s: %s: %s", pipeline.name, run.name, tick, reading.verdict, reading.sentence)
        if reading.verdict == "harmful" and run.ended is None:
            stop(pipeline, run.name, GUARDRAIL, reading.sentence, platform)
    return readings
