"""The workflows in one process, without Airflow: the same steps, in the same order, as the DAGs run task by task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.progress import tracked

if TYPE_CHECKING:
    from mlprod_tasks.monitoring.verify import Verified
    from mlprod_tasks.rollout.steps import TakenBack

log = logging.getLogger(__name__)
AGAIN = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0)  # seconds before a challenger is tried to be taken back again


def ingest(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> dict[str, int]:
    """Extract, audit and publish the ticks of every table (or of some). Returns the rows published of each table.

    A table that fails does not keep the others out. Raises: TablesFailed with the first step that failed, after all tables had
    their turn.
    """
    from mlprod_tasks.ingest.tables import TablesFailed

    wanted = tables or [table.name for table in pipeline.tables]
    failed: list[TablesFailed] = []
    for step in (steps.extract, steps.audit):
        try:
            wanted = list(step(pipeline, ticks, platform, wanted).rows)
        except TablesFailed as error:
            failed.append(error)
            wanted = [table for table in wanted if table not in error.errors]
        if not wanted:
            raise failed[0]
    published = dict(steps.publish(pipeline, ticks, platform, wanted).rows)
    if failed:
        raise failed[0]
    return published


def training_id(pipeline: Pipeline, as_of: Tick, now: datetime) -> str:
    """A name for a new training: what it is of, as of when, and when it was asked for."""
    return f"{pipeline.name[:30]}-{as_of}-{now:%Y%m%dT%H%M%S%f}"


def train(
    pipeline: Pipeline, as_of: Tick, reason: str, platform: Platform, *, by: str = "", decided_at: Tick | None = None
) -> int:
    """Assemble, search, fit, evaluate, run checks, report, gate, register, promote. The new version's number.

    decided_at: where rules ask for it, the tick of their decision; else a person does, `by`.

    If the same was asked for before and the process was killed, that training is continued: it makes no second version.

    Raises: GatesRefused where the model is not good enough; NotApproved where a person's approval is declared: see `approve`.
    The champion then stays.
    """
    from mlprod_tasks.promotion import killed

    request = killed.TrainingRequest(
        as_of.name, reason, "" if decided_at else by.strip(), decided_at.name if decided_at else None
    )
    training = killed.to_continue(pipeline, request, platform)
    if training is None:
        training = training_id(pipeline, as_of, platform.clock.now())
    else:
        log.info("%s: continuing training %s, which was killed", pipeline.name, training)
    with killed.running(training, platform):
        killed.close_killed(pipeline, platform)
        if killed.is_promoted(pipeline, training, platform):
            return _promote(pipeline, training, platform)
        return _train(pipeline, as_of, training, reason, platform, by, decided_at)


def _train(
    pipeline: Pipeline, as_of: Tick, training: str, reason: str, platform: Platform, by: str, decided_at: Tick | None
) -> int:
    steps.assemble(pipeline, as_of, training, reason, platform, by=by, decided_at=decided_at)
    order = (steps.search, steps.train, steps.evaluate, steps.backtest, steps.run_checks, steps.report, steps.gate)
    for step in tracked(order, "training:", lambda step: step.__name__):
        step(pipeline, training, platform)
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
    if not approved:
        return None
    from mlprod_tasks.promotion import killed

    with killed.running(training, platform):
        return _promote(pipeline, training, platform)


def _promote(pipeline: Pipeline, training: str, platform: Platform) -> int:
    from mlprod_tasks.evaluation.gate import gates_passed
    from mlprod_tasks.promotion.register import ramp_wanted

    model = steps.register(pipeline, training, platform)
    if ramp_wanted(pipeline, model.version, platform):
        return model.version  # it is to be rolled out, share by share: see `mlprod ramp`
    steps.promote(pipeline, model, gates_passed(pipeline, training, platform), platform)
    return model.version


def score(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform, *, as_of: bool = False) -> int:
    """Score each tick. Rows scored.

    What Airflow waits for is only warned of here: a tick without some of its tables is scored by what there is.
    """
    from mlprod_tasks.ingest.unpublished import unpublished

    rows = 0
    for tick in tracked(list(ticks), "score"):
        if missing := unpublished(pipeline, tick.name, platform):
            log.warning(
                "%s: %s: %s not ingested for this tick: rows and features lack what it holds. Ingest it, then score again",
                pipeline.name, tick, f"{', '.join(map(repr, missing))} {'is' if len(missing) == 1 else 'are'}",
            )  # fmt: skip
        rows += steps.score(pipeline, tick, platform, as_of=as_of).rows
    return rows


def monitor(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform) -> list[str]:
    """Measure each tick, decide, and do what is decided, but for trainings. What was decided, a line a tick."""
    decisions = []
    for tick in tracked(list(ticks), "monitor"):
        steps.measure(pipeline, tick, platform)
        decided = steps.decide_and_act(pipeline, tick, platform)
        decisions.append(f"{tick}  {decided.action:8}  {decided.sentence}")
    return decisions


def verify(pipeline: Pipeline, ticks: Iterable[Tick], platform: Platform) -> list[Verified]:
    """Check the models in production against each tick's predictions, and against golden predictions."""
    return [steps.verify(pipeline, tick, platform) for tick in tracked(list(ticks), "verify")]


def ramp(
    pipeline: Pipeline, challenger: int, by: str, reason: str, platform: Platform, wait: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Roll a version out to its end, or to where it is taken back; what happens, sentence by sentence.

    However it ends before its end, by an error, by Ctrl-C or because nobody asks for more, the challenger is taken back.

    Raises: as the steps.
    """
    from mlprod_tasks.rollout.routing import CannotRollOut
    from mlprod_tasks.rollout.state import RampStopped, percent
    from mlprod_tasks.rollout.steps import Overtaken

    why = f"the rollout that {by} started was ended before its end"
    refused = False
    try:
        try:
            begun = steps.begin(pipeline, challenger, by, reason, platform)
        except CannotRollOut:
            refused = True  # so there is nothing of ours to take back
            raise
        yield f"{pipeline.name}: {begun.sentence}"
        failed_at = yield from _each_share(pipeline, challenger, platform, wait)
        if failed_at is None:
            yield steps.finish(pipeline, platform, challenger=challenger).sentence
        else:
            why = f"it fails at {percent(failed_at)}"
    except RampStopped as error:
        yield str(error)
    except Overtaken as error:
        why = "it could not be promoted any more"
        yield str(error)
    except Exception as error:
        why = f"the rollout stopped: {type(error).__name__}: {error}"
        raise
    finally:
        taken = None if refused else _taken_back(pipeline, why, platform, challenger, wait)
    if taken is not None and taken.changed:
        yield taken.sentence


def _each_share(
    pipeline: Pipeline, challenger: int, platform: Platform, wait: Callable[[float], None]
) -> Generator[str, None, float | None]:
    """Let the challenger answer each declared share, and check it there; the share at which it fails, if it does."""
    from mlprod_tasks.rollout.checks import between
    from mlprod_tasks.rollout.state import ramp_of

    declared = ramp_of(pipeline)
    for share in declared.shares:
        yield steps.take_step(pipeline, share, platform, challenger=challenger).sentence
        told = ""
        while (found := steps.check(pipeline, platform, challenger=challenger)).verdict == "waiting":
            if found.sentence != told:
                yield (told := found.sentence)
            wait(between(declared).total_seconds())
        yield found.text()
        if found.verdict == "failed":
            return share
    return None


def _taken_back(pipeline: Pipeline, why: str, platform: Platform, challenger: int, wait: Callable[[float], None]) -> TakenBack:
    """Take back, for some minutes again and again: what is down now may be what ended the ramp, and come back."""
    from mlprod_tasks.rollout.steps import RULE

    for seconds in AGAIN:
        try:
            return steps.take_back(pipeline, RULE, why, platform, challenger=challenger)
        except Exception as error:
            log.warning("%s: version %d is not taken back yet: %s; again in %g s", pipeline.name, challenger, error, seconds)
            wait(seconds)
    return steps.take_back(pipeline, RULE, why, platform, challenger=challenger)
