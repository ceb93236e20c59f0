"""Manual approval of a model that passed its gates: the request and the answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents import cell
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.gate import gates_passed
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Approval, GateResult, Promotion, Training
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import StepMissing, StepRecord, TrainingFolder, failing, update

log = logging.getLogger(__name__)

TAG = "approval"


@dataclass(frozen=True)
class ApprovalAsked(StepRecord):
    """The model that approval was requested for. model_digest: of its files."""

    FILE: ClassVar[str] = "approval.json"
    STEP: ClassVar[str] = "gate"

    model_digest: str


class NotApproved(RuntimeError):
    """The declaration requires approval, and this model has none."""


@dataclass(frozen=True)
class Request:
    """A request for approval: a subject, and a body in Markdown with the facts to decide by."""

    training_id: str
    model_digest: str
    subject: str
    body: str


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    by: who answered; '' if nobody did within the declared time.
    """

    approved: bool
    by: str
    at: datetime


def request_approval(pipeline: Pipeline, training_id: str, platform: Platform) -> Request:
    """Request approval of a model, with its gates, metrics and links.

    The training's state becomes 'awaiting approval'.

    Raises: GatesRefused if it did not pass its gates.
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
    """Record an answer in the ledger and on the MLflow run.

    A rejection ends the MLflow run. The answer applies only to the model that approval was requested for. If there is more than
    one answer, the last one counts.

    Raises: StepMissing if approval was never requested; NotApproved if the model has changed since, or if a rejected model is
    champion already.
    """
    folder = TrainingFolder(platform, training_id)
    promoted = platform.ledger.all(Promotion, pipeline=pipeline.name, training_id=training_id)
    digest = _requested_model(pipeline, folder, platform, None if answer.approved else next(iter(promoted), None))
    with failing(training_id, platform):
        given = Approval(
            training_id=training_id,
            model_digest=digest,
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


def _requested_model(pipeline: Pipeline, folder: TrainingFolder, platform: Platform, promoted: Promotion | None) -> str:
    """The digest of the model that awaits an answer.

    promoted: the promotion that rules out a rejection.

    Raises: StepMissing, NotApproved, as `approve`.
    """
    training_id = folder.training_id
    request = folder.find(ApprovalAsked)
    if request is None:
        raise StepMissing(
            f"training {training_id!r} of {pipeline.name} awaits no approval: it has not passed its gates, or the declaration "
            "requires no approval"
        )
    if promoted is not None:
        raise NotApproved(
            f"the model of training {training_id}, version {promoted.model_version}, became champion from tick "
            f"{promoted.effective} on: it cannot be rejected any more. Take it back with `mlprod rollback {pipeline.name}`"
        )
    verdict = gates_passed(pipeline, training_id, platform)
    if verdict.model_digest != request.model_digest:
        raise NotApproved(
            f"{pipeline.name}: training {training_id} now has model {verdict.model_digest[:12]}..., but approval was requested "
            f"for {request.model_digest[:12]}...: request it again"
        )
    return request.model_digest


def required(pipeline: Pipeline, training_id: str, model_digest: str, platform: Platform) -> None:
    """Check that the model is approved, or that none is required. Raises: NotApproved."""
    if pipeline.approval is None:
        return
    given = platform.ledger.get(Approval, training_id, model_digest)
    if given is None:
        raise NotApproved(
            f"{pipeline.name} requires approval, and nobody approved model {model_digest[:12]}... of training {training_id}: "
            f"answer the task 'approve' in Airflow, or run `mlprod approve {pipeline.name} {training_id} --by NAME`"
        )
    if not given.approved:
        raise NotApproved(f"training {training_id} was {sentence(pipeline, given)}: it cannot be promoted")


def sentence(pipeline: Pipeline, given: Approval) -> str:
    """The answer as a sentence."""
    at = f"{given.at:%Y-%m-%d %H:%M} UTC"
    if given.approved:
        return f"approved by {given.by} at {at}"
    if not given.answered:
        waited = f" within {pipeline.approval.wait_in_words}" if pipeline.approval else ""
        return f"rejected at {at}: nobody answered{waited}"
    return f"rejected by {given.by} at {at}"


def _body(pipeline: Pipeline, training: Training, platform: Platform) -> str:
    """The body of the request, in Markdown."""
    gates = platform.ledger.all(GateResult, training_id=training.id)
    lines = [f"Trained because: {cell(training.reason)}.", "", *_links(training, platform)]
    lines += ["| gate | value | bound | in words |", "| --- | --- | --- | --- |"]
    for gate in gates:
        cells = (gate.gate, _number(gate.value), _number(gate.bound), gate.sentence)
        lines.append(f"| {' | '.join(cell(one) for one in cells)} |")
    lines += [
        "",
        "*Approve*: the model is registered and becomes champion. *Reject*: the champion stays, nothing is registered.",
    ]
    if pipeline.approval is not None:
        lines.append(f"If nobody answers within {pipeline.approval.wait_in_words}, the model is rejected.")
    return "\n".join(lines)


def _links(training: Training, platform: Platform) -> list[str]:
    base = platform.settings.mlflow_base_url
    if not base or training.run_id is None:
        return []
    url = platform.registry.run_url(training.run_id, base)
    return [f"[Report]({url}/artifacts/report/report.html), [MLflow run]({url})", ""]


def _number(value: float | None) -> str:
    return "" if value is None else format_number(value)
