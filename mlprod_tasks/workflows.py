"""The four workflows in one process, without Airflow: the same steps, in the same order, as the DAGs run task by task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)


def ingest(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> dict[str, int]:
    """Extract, audit and publish the ticks of every table (or of some). Rows published per table.

    A refused table does not keep the others out. Raises: the first refusal, after all tables had their turn.
    """
    from mlprod_tasks.audit import BatchRefused

    published: dict[str, int] = {}
    refused: list[BatchRefused] = []
    for table in tables or [table.name for table in pipeline.tables]:
        steps.extract(pipeline, table, ticks, platform)
        try:
            steps.audit(pipeline, table, ticks, platform)
        except BatchRefused as error:
            log.error("%s", error)
            refused.append(error)
            continue
        published[table] = steps.publish(pipeline, table, ticks, platform).rows
    if refused:
        raise refused[0]
    return published


def training_id(pipeline: Pipeline, as_of: Tick, now: datetime) -> str:
    """A name for a new training: what it is of, as of when, and when it was asked for."""
    return f"{pipeline.name[:30]}-{as_of}-{now:%Y%m%dT%H%M%S%f}"


def train(pipeline: Pipeline, as_of: Tick, reason: str, platform: Platform) -> int:
    """Assemble, fit, evaluate, gate, register, promote. The new version's number.

    Raises: GatesRefused where the model is not good enough; the champion then stays.
    """
    training = training_id(pipeline, as_of, platform.clock.now())
    steps.assemble(pipeline, as_of, training, reason, platform)
    steps.train(pipeline, training, platform)
    steps.evaluate(pipeline, training, platform)
    verdict = steps.gate(pipeline, training, platform)
    model = steps.register(pipeline, training, platform)
    steps.promote(pipeline, model, verdict, platform)
    return model.version


def score(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform, *, as_of: bool = False) -> int:
    """Score each tick. Rows scored."""
    return sum(steps.score(pipeline, tick, platform, as_of=as_of).rows for tick in ticks)


def monitor(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform) -> list[str]:
    """Measure and decide each tick. What was decided, a line a tick."""
    decisions = []
    for tick in ticks:
        steps.measure(pipeline, tick, platform)
        decided = steps.decide(pipeline, tick, platform)
        decisions.append(f"{tick}  {decided.action:8}  {decided.reason}")
    return decisions
