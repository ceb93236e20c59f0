"""Decide by the gates whether a model is good enough, and record their verdicts."""

from __future__ import annotations

import logging
import re

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gates import GatesRefused, GateVerdict, Passed, Refused, evaluate_gates, name_of
from mlprod_tasks.evaluation.results import read_results
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import GateResult
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

__all__ = ["GateVerdict", "GatesRefused", "Passed", "Refused", "evaluate_gates", "gate", "gates_passed", "name_of"]

log = logging.getLogger(__name__)


def gate(pipeline: Pipeline, training_id: str, platform: Platform) -> Passed:
    """Evaluate the gates of a training.

    Record each verdict in the ledger and on the MLflow run.
    Raises: GatesRefused, after everything is recorded.
    """
    with failing(training_id, platform):
        verdict, run_id = _verdict(pipeline, training_id, platform)
        now = platform.clock.now()
        rows = [
            GateResult(
                training_id=training_id,
                gate=one.gate,
                pipeline=pipeline.name,
                passed=one.passed,
                value=one.value,
                bound=one.bound,
                sentence=one.sentence,
                at=now,
            )
            for one in verdict.gates
        ]
        platform.ledger.put_instead(GateResult, rows, training_id=training_id)
        for one in verdict.gates:
            log.log(
                logging.INFO if one.passed else logging.ERROR, "%s %s", "passed:" if one.passed else "FAILED:", one.sentence
            )
        tags = {"gates": "passed" if isinstance(verdict, Passed) else "refused"}
        tags |= {f"gate.{_tag(one.gate)}": f"{'passed' if one.passed else 'FAILED'}: {one.sentence}" for one in verdict.gates}
        platform.registry.log(run_id, tags=tags)
        if isinstance(verdict, Refused):
            platform.registry.end_run(run_id)
    if isinstance(verdict, Refused):
        update(training_id, platform, state="refused")
        raise GatesRefused(verdict)
    return verdict


def gates_passed(pipeline: Pipeline, training_id: str, platform: Platform) -> Passed:
    """Evaluate the gates again from the stored results, for a step in another process.

    Raises: GatesRefused.
    """
    verdict, _ = _verdict(pipeline, training_id, platform)
    if isinstance(verdict, Refused):
        raise GatesRefused(verdict)
    return verdict


def _verdict(pipeline: Pipeline, training_id: str, platform: Platform) -> tuple[Passed | Refused, str]:
    folder = TrainingFolder(platform, training_id)
    trained = folder.read(Trained)
    return evaluate_gates(pipeline.gates, read_results(folder), trained.digest), trained.run_id


def _tag(name: str) -> str:
    """Return the gate's name in characters that MLflow allows in a tag."""
    worded = name.replace(">=", "at least").replace("<=", "at most").replace("%", " percent")
    return " ".join(re.sub(r"[^\w\-. ]", " ", worded).split())
