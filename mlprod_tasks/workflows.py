"""The workflows in one process, without Airflow: the same steps, in the same order, as the DAGs run task by task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform

if TYPE_CHECKING:
    from mlprod_tasks.monitoring.verify import Verified

log = logging.getLogger(__name__)


def ingest(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> dict[str, int]:
    """Extract, audit and publish the ticks of every table (or of some). Rows published per table.

    A refused table does not keep the others out. Raises: the first refusal, after all tables had their turn.
    """
    from mlprod_tasks.ingest.audit import BatchRefused

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
    """Assemble, search, fit, evaluate, examine, report, gate, register, promote. The new version's number.

    Raises: GatesRefused where the model is not good enough; NotApproved where a person's approval is declared: see `approve`.
    The champion then stays.
    """
    training = training_id(pipeline, as_of, platform.clock.now())
    steps.assemble(pipeline, as_of, training, reason, platform)
    steps.search(pipeline, training, platform)
    steps.train(pipeline, training, platform)
    steps.evaluate(pipeline, training, platform)
    steps.backtest(pipeline, training, platform)
    steps.examine(pipeline, training, platform)
    steps.report(pipeline, training, platform)
    steps.gate(pipeline, training, platform)
    if pipeline.approval is not None:
        from mlprod_tasks.promotion.approve import NotApproved

        steps.request_approval(pipeline, training, platform)
        raise NotApproved(
            f"training {training} passed its gates and awaits a person's approval; the champion stays until then. Look at its "
            f"report, then run `mlprod approve {pipeline.name} {training} --by NAME`, or the same with --reject"
        )
    return _promote(pipeline, training, platform)


def approve(pipeline: Pipeline, training: str, by: str, platform: Platform, *, approved: bool = True) -> int | None:
    """Answer for a training that awaits approval; with approval, register and promote it. The new version's number.

    Raises: ValueError where `by` is not among those who may; StepMissing; NotApproved; GatesRefused.
    """
    from mlprod_tasks.promotion.approve import Answer

    may = pipeline.approval.by if pipeline.approval else ()
    if not by.strip() or (may and by not in may):
        raise ValueError(
            f"{pipeline.name}: {by!r} may not approve; approval.by names {', '.join(may) or 'anyone, but somebody'}"
        )
    steps.approve(pipeline, training, Answer(approved, by, platform.clock.now()), platform)
    return _promote(pipeline, training, platform) if approved else None


def _promote(pipeline: Pipeline, training: str, platform: Platform) -> int:
    from mlprod_tasks.evaluation.gate import passed
    from mlprod_tasks.promotion.register import ramp_wanted

    model = steps.register(pipeline, training, platform)
    if ramp_wanted(pipeline, model.version, platform):
        return model.version  # it is to be rolled out, share by share: see `mlprod ramp`
    steps.promote(pipeline, model, passed(pipeline, training, platform), platform)
    return model.version


def score(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform, *, as_of: bool = False) -> int:
    """Score each tick. Rows scored."""
    return sum(steps.score(pipeline, tick, platform, as_of=as_of).rows for tick in ticks)


def monitor(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform) -> list[str]:
    """Measure each tick, decide, and do what is decided, but for trainings. What was decided, a line a tick."""
    decisions = []
    for tick in ticks:
        steps.measure(pipeline, tick, platform)
        decided = steps.decide(pipeline, tick, platform)
        steps.act(pipeline, tick, platform)
        decisions.append(f"{tick}  {decided.action:8}  {decided.reason}")
    return decisions


def verify(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform) -> list[Verified]:
    """Check the models in production against each tick's predictions, and against canned rows."""
    return [steps.verify(pipeline, tick, platform) for tick in ticks]
