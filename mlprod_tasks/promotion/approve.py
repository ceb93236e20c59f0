"""Manual approval: what a person is shown of a model that passed its gates, and the answer, in ledger and MLflow."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents import cell
from mlprod_tasks.evaluation.gate import gates_passed
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Approval, GateResult, Promotion, Training
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import StepMissing, StepRecord, TrainingFolder, failing, update

log = logging.getLogger(__name__)

TAG = "approval"


@dataclass(frozen=True)
class ApprovalAsked(StepRecord):
    """Which model a person was asked about. model_digest: of its files."""

    FILE: ClassVar[str] = "approval.json"
    STEP: ClassVar[str] = "gate"

    model_digest: str


class NotApproved(RuntimeError):
    """The declaration asks for a person's approval, and this very model has none."""


@dataclass(frozen=True)
class Request:
    """What a person is asked: a headline, and in Markdown what to decide by."""

    training_id: str
    model_digest: str
    subject: str
    body: str


@dataclass(frozen=True)
class Answer:
    """What was answered. by: who, or '' where nobody was within the declared time."""

    approved: bool
    by: str
    at: datetime


def request_approval(pipeline: Pipeline, training_id: str, platform: Platform) -> Request:
    """Ask whether the model may be promoted: its gates, metrics and where to look further. Noted as the training's state.

    Raises: GatesRefused where it did not pass its gates.
    """
    verdict = gates_passed(pipeline, training_id, platform)
    with failing(training_id, platform):
        training = platform.ledger.get(Training, training_id)
        assert training is not None
        TrainingFolder(platform, training_id).write(ApprovalAsked(verdict.model_digest))
        subject = f"Promote the new model of {pipeline.name} as of {training.as_of}?"
        request = Request(training_id, verdict.model_digest, subject, _body(pipeline, training, platform))
        update(training_id, platform, state="awaiting approval")
    log.info("%s: training %s passed its gates and awaits approval", pipeline.name, training_id)
    return request


def approve(pipeline: Pipeline, training_id: str, answer: Answer, platform: Platform) -> Approval:
    """Record an answer in the ledger and on the MLflow run; a model that is rejected ends its training there.

    The answer is about the model that was asked about, and about no other. Once more with another answer, the last one counts.

    Raises: StepMissing where nobody was asked; NotApproved where the training holds another model by now, or where what is
    rejected has become champion.
    """
    folder = TrainingFolder(platform, training_id)
    asked = folder.find(ApprovalAsked)
    if asked is None:
        raise StepMissing(
            f"training {training_id!r} of {pipeline.name} awaits no approval: it has not passed its gates, or none was declared"
        )
    promoted = platform.ledger.all(Promotion, pipeline=pipeline.name, training_id=training_id)
    if promoted and not answer.approved:
        raise NotApproved(
            f"the model of training {training_id}, version {promoted[0].model_version}, became champion from tick "
            f"{promoted[0].effective} on: it cannot be rejected any more. Take it back with `mlprod rollback {pipeline.name}`"
        )
    verdict = gates_passed(pipeline, training_id, platform)
    if verdict.model_digest != asked.model_digest:
        raise NotApproved(
            f"{pipeline.name}: training {training_id} holds model {verdict.model_digest[:12]}... by now, but approval was "
            f"asked for of {asked.model_digest[:12]}...: ask again"
        )
    with failing(training_id, platform):
        given = Approval(
            training_id=training_id,
            model_digest=asked.model_digest,
            pipeline=pipeline.name,
            approved=answer.approved,
            by=answer.by or "nobody",
            at=answer.at,
            answered=bool(answer.by),
        )
        platform.ledger.put(given)
        run_id = folder.read(Trained).run_id
        platform.registry.log(run_id, tags={TAG: sentence(pipeline, given)})
        if not answer.approved:
            platform.registry.end_run(run_id)
    if not promoted:
        update(training_id, platform, state="running" if answer.approved else "rejected")
    log.log(logging.INFO if answer.approved else logging.WARNING, "%s: %s", pipeline.name, sentence(pipeline, given))
    return given


def required(pipeline: Pipeline, training_id: str, model_digest: str, platform: Platform) -> None:
    """Let pass what was approved, and what needs no approval. Raises: NotApproved."""
    if pipeline.approval is None:
        return
    given = platform.ledger.get(Approval, training_id, model_digest)
    if given is None:
        raise NotApproved(
            f"{pipeline.name} declares `approval`, and nobody approved model {model_digest[:12]}... of training {training_id}: "
            f"answer the task 'approve' in Airflow, or run `mlprod approve {pipeline.name} {training_id} --by NAME`"
        )
    if not given.approved:
        raise NotApproved(f"training {training_id} was {sentence(pipeline, given)}: it cannot be promoted")


def sentence(pipeline: Pipeline, given: Approval) -> str:
    """The answer in words."""
    at = f"{given.at:%Y-%m-%d %H:%M} UTC"
    if given.approved:
        return f"approved by {given.by} at {at}"
    if not given.answered:
        waited = f" within {pipeline.approval.wait_in_words}" if pipeline.approval else ""
        return f"rejected at {at}: nobody answered{waited}"
    return f"rejected by {given.by} at {at}"


def _body(pipeline: Pipeline, training: Training, platform: Platform) -> str:
    """The question in Markdown."""
    gates = platform.ledger.all(GateResult, training_id=training.id)
    lines = [f"Trained because: {cell(training.reason)}.", "", *_links(training, platform)]
    lines += ["| gate | value | bound | in words |", "| --- | --- | --- | --- |"]
    for gate in gates:
        cells = (gate.gate, _number(gate.value), _number(gate.bound), gate.sentence)
        lines.append(f"| {' | '.join(cell(one) for one in cells)} |")
    lines += ["", "*Approve*: it is registered and becomes champion. *Reject*: the champion stays, nothing is registered."]
    if pipeline.approval is not None:
        lines.append(f"Without an answer within {pipeline.approval.wait_in_words} it is rejected.")
    return "\n".join(lines)


def _links(training: Training, platform: Platform) -> list[str]:
    base = platform.settings.mlflow_base_url
    if not base or training.run_id is None:
        return []
    url = platform.registry.run_url(training.run_id, base)
    return [f"[Report]({url}/artifacts/report/report.html), [MLflow run]({url})", ""]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
