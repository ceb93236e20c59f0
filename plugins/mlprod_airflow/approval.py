"""Airflow's human-in-the-loop task between gates and registry: the question, the people it goes to, and their answer."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from mlprod_airflow.installation import platform
from mlprod_airflow.mails import links
from mlprod_airflow.runs import training_id
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


class NobodyAnswered(AirflowFailException):
    """Nobody answered within the declared time. The question is not asked again automatically."""


class TellApproval(BaseNotifier):
    """Mail that a model waits for approval, with a link to the page to answer on."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def notify(self, context: Any) -> None:
        where = links(context)
        page = context["ti"].log_url.partition("?")[0].rstrip("/")
        to = (("Approve or reject", f"{page}/required_actions"), *where)
        steps.tell_approval(self.pipeline, training_id(self.pipeline, context), platform(), to)


class Approve(ApprovalOperator):
    """Ask a person whether to promote the model. If rejected, later tasks are skipped; without an answer in time it fails."""

    def __init__(self, *, pipeline: Pipeline, **rest: Any) -> None:
        approval = pipeline.approval
        assert approval is not None
        super().__init__(
            subject=f"Promote the new model of {pipeline.name}?",
            defaults=self.REJECT,
            response_timeout=approval.wait,
            assigned_users=[{"id": user, "name": user} for user in approval.by] or None,
            notifiers=TellApproval(pipeline),
            **rest,
        )
        self.pipeline = pipeline

    def execute(self, context: Any) -> Any:
        question = steps.request_approval(self.pipeline, training_id(self.pipeline, context), platform())
        self.subject, self.body = question.subject, question.body
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        result = steps.approve(self.pipeline, training_id(self.pipeline, context), answer_of(event), platform())
        if not event.get("responded_by_user"):
            raise NobodyAnswered(
                f"training {result.training_id} is rejected: nobody answered in time. To ask again, clear this task"
            )
        return super().execute_complete(context, event)


def answer_of(event: dict[str, Any]) -> Any:
    """The answer from Airflow's event; without a person it is a rejection."""
    from mlprod_tasks.promotion.approve import Answer

    user = event.get("responded_by_user") or {}
    by = user.get("name") or user.get("id") or ""
    name_and_id = f"{by} ({user['id']})" if by and user.get("id") not in (None, by) else by
    return Answer(bool(by) and event["chosen_options"] == [Approve.APPROVE], name_and_id, event["responded_at"])
