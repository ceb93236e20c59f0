"""Mail each failure once, in whatever way the task failed."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline

log = logging.getLogger(__name__)


class TaskKilled(RuntimeError):
    """A task's process ended without an error: it ran out of memory or was killed."""


class TablesNotPublished(AirflowFailException):
    """Tables are missing that an earlier task failed to extract or audit. Not retried, since trying again changes nothing."""


class TellFailure(BaseNotifier):
    """Mail a task that failed after its last retry."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def notify(self, context: Any) -> None:
        from mlprod_airflow.installation import platform
        from mlprod_tasks.notifications.events import Failure

        error = self._error(context)
        if error is None or (self._may_be_mailed(error) and self._already_mailed(context)):
            return
        task = context["ti"]
        key = f"{task.dag_id}/{task.run_id}/{task.task_id}/{task.map_index}/{task.try_number}"
        where = f"{task.dag_id} {task.task_id}{_tick(context)}"
        sent = steps.tell_failure(self.pipeline, Failure(key, where, error, links(context), _run(context)), platform())
        log.info("%s", "mail sent" if sent else "mail was already sent")

    def _error(self, context: Any) -> BaseException | None:
        error = context.get("exception")
        return error if isinstance(error, BaseException) else RuntimeError(str(error or "no reason given"))

    def _may_be_mailed(self, error: BaseException) -> bool:
        """Whether the mail of another task of the run says this already, if there is one."""
        return isinstance(error, TablesNotPublished)

    def _already_mailed(self, context: Any) -> bool:
        from mlprod_airflow.installation import platform
        from mlprod_tasks.notifications.events import failure_mailed

        began = context["dag_run"].start_date
        return began is not None and failure_mailed(self.pipeline, _run(context), began, platform())


class TellKilled(TellFailure):
    """Mail a run whose task was killed and so could not send a mail: no failure of the run has been mailed."""

    def _error(self, context: Any) -> BaseException | None:
        if context.get("ti") is None:
            return None
        return TaskKilled(
            "The task's process ended without an error: it was killed, or the machine ran out of memory. See its log."
        )

    def _may_be_mailed(self, error: BaseException) -> bool:
        return True


def links(context: Any) -> tuple[tuple[str, str], ...]:
    """Links for a mail: the task's log and the run."""
    log_url: str = context["ti"].log_url
    return (("Log of the task", log_url), ("Run in Airflow", log_url.split("/tasks/")[0]))


def _tick(context: Any) -> str:
    key = context["dag_run"].partition_key
    return f" of {key}" if key else ""


def _run(context: Any) -> str:
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"
