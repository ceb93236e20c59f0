"""Record in the ledger how long tasks waited for a worker. Only Airflow's own database knows when a task was queued.

The waits are recorded when a run of a DAG ends, in a thread of the process that ended it, so that a slow or broken ledger does
not delay the scheduler. If they cannot be recorded, that is logged.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Protocol

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)

WORKFLOWS = ("ingest", "train", "score", "monitor", "verify", "online")


class MlprodListener(AirflowPlugin):
    """Register this module's hooks, which Airflow calls when a run ends."""

    name = "mlprod_listener"
    listeners: ClassVar[list[Any]] = [sys.modules[__name__]]


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    _note_beside(dag_run.dag_id, dag_run.run_id)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    _note_beside(dag_run.dag_id, dag_run.run_id)


class TaskTimes(Protocol):
    """The fields of a task instance that say which step it was and how long it waited."""

    task_id: str
    map_index: int
    rendered_map_index: str | None
    queued_dttm: datetime | None
    start_date: datetime | None
    end_date: datetime | None


def waits_of(tasks: Iterable[TaskTimes]) -> list[Any]:
    """The waits of a run's tasks at their last try, without deferred tasks, which waited for data and not for a worker."""
    from mlprod_tasks.platform.step_runs import Wait

    return [
        Wait(step_of(task), task.start_date, task.end_date, (task.start_date - task.queued_dttm).total_seconds())
        for task in tasks
        if task.queued_dttm and task.start_date and task.end_date and task.queued_dttm <= task.start_date
    ]


def step_of(task: TaskTimes) -> str:
    """The step's name in the ledger: that of the task; of a mapped task with its part: 'fit B6' for 'fit' mapped over 'B6'."""
    return f"{task.task_id} {task.rendered_map_index or task.map_index}" if task.map_index >= 0 else task.task_id


def note(dag_id: str, run_id: str) -> int:
    """Write a run's waits into the ledger. Returns the number of steps."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from mlprod_tasks.platform.ledger_store import Ledger
    from mlprod_tasks.platform.settings import from_environment
    from mlprod_tasks.platform.step_runs import note_waits

    with create_session() as session:
        tasks = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id))
        waits = waits_of(tasks)
    # A separate connection: this process may fork tasks later, and they must not share it.
    ledger = Ledger(from_environment().ledger_url)
    try:
        return note_waits(dag_id.rpartition(".")[0], waits, ledger)
    finally:
        ledger.engine.dispose()


def _note_beside(dag_id: str, run_id: str) -> None:
    if dag_id.rpartition(".")[2] in WORKFLOWS:
        threading.Thread(target=_noted, args=(dag_id, run_id), name="mlprod-queue-wait", daemon=True).start()


def _noted(dag_id: str, run_id: str) -> None:
    try:
        noted = note(dag_id, run_id)
        log.info("%s %s: recorded how long %d steps waited for a worker", dag_id, run_id, noted)
    except Exception:
        log.warning("%s %s: could not record how long its tasks waited for a worker", dag_id, run_id, exc_info=True)
