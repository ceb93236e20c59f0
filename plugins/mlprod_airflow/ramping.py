"""Parts of the rollout DAG: tasks for each declared share, waits between checks, and mails when a rollout ends early."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, TaskGroup, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from mlprod_airflow.installation import platform
from mlprod_airflow.mails import TellFailure, TellKilled
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline

P = ParamSpec("P")
T = TypeVar("T")
ROLL_OUT = "roll_out"
# Retries of the task that takes a challenger back: for some hours, while the ledger or the mail server is down.
PATIENT: dict[str, Any] = {"retries": 150, "retry_delay": timedelta(seconds=5), "max_retry_delay": timedelta(minutes=2)}


class ChallengerFailed(AirflowFailException):
    """The challenger failed a check. The task is not retried; the challenger is taken back."""


def with_run_params(pipeline: Pipeline, context: Any) -> Pipeline:
    """The use case with this run's `hold_minutes` and `rows` instead of the declared ones."""
    from mlprod_tasks.rollout.state import with_ramp

    params = context["params"]
    return with_ramp(pipeline, params.get("hold_minutes"), params.get("rows"))


def challenger(context: Any) -> int:
    """The version that this run rolls out."""
    return int(context["params"]["challenger"])


def requested_by(context: Any) -> str:
    """The name in the parameter `by`, or else the user who triggered the run."""
    return str(context["params"].get("by") or context["dag_run"].triggering_user_name or "somebody")


def unless_stopped(step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run a step of the rollout. If the rollout was changed by hand, skip this task and those after it, with the reason.

    Raises: ChallengerFailed if the challenger can no longer be promoted.
    """
    from mlprod_tasks.rollout.state import RampStopped
    from mlprod_tasks.rollout.steps import Overtaken

    try:
        return step(*args, **named)
    except RampStopped as error:
        raise AirflowSkipException(str(error)) from error
    except Overtaken as error:
        raise ChallengerFailed(str(error)) from error


def passed(checked: Any) -> str:
    """The sentence of a passed check. Raises: ChallengerFailed; ValueError if the share still waits for rows or time."""
    if checked.verdict == "failed":
        raise ChallengerFailed(checked.sentence)
    if checked.verdict == "waiting":
        raise ValueError(f"{checked.sentence}: not finished yet. Clear the wait task before this one")
    return str(checked.sentence)


def each_share(pipeline: Pipeline, begun: Any, take_step: Any, check: Any, finished: Any) -> list[Any]:
    """Chain a group of tasks for each declared share between begin and finish. Returns all tasks."""
    from mlprod_tasks.declaration import Ramp

    declared = pipeline.serving.ramp if pipeline.serving is not None else None
    before, tasks = begun, [begun]
    for share in (declared or Ramp()).shares:
        with TaskGroup(f"to_{100 * share:g}_percent".replace(".", "_")):
            stepped, wait, checked = take_step(share), WaitForAnswers(task_id="wait", pipeline=pipeline), check()
            before >> stepped >> wait >> checked
        before = checked
        tasks += [stepped, wait, checked]
    before >> finished
    return [*tasks, finished]


class WaitForAnswers(BaseOperator):
    """Wait until a share has lasted long enough and the challenger has answered enough rows, or until a check fails.

    The next task reads the results from the ledger. No worker is occupied between two checks.
    """

    def __init__(self, *, pipeline: Pipeline, **rest: Any) -> None:
        super().__init__(**rest)
        self.pipeline = pipeline

    def execute(self, context: Any) -> None:
        self.resume(context)

    def resume(self, context: Any, event: Any = None) -> None:
        from mlprod_tasks.rollout.checks import between
        from mlprod_tasks.rollout.state import ramp_of

        pipeline = with_run_params(self.pipeline, context)
        result = unless_stopped(steps.check, pipeline, platform(), challenger=challenger(context))
        self.log.info("%s", result.sentence)
        if result.verdict == "waiting":
            self.defer(trigger=TimeDeltaTrigger(between(ramp_of(pipeline))), method_name="resume")


class TellEnd(TellFailure):
    """Mail a failed task, except a failed check, whose results are in the mail about the challenger taken back."""

    def _error(self, context: Any) -> BaseException | None:
        error = super()._error(context)
        return None if isinstance(error, ChallengerFailed) else error


class TellRunEnd(TellKilled):
    """Mail a failed run about which no other mail was sent."""

    def _error(self, context: Any) -> BaseException | None:
        from mlprod_tasks.notifications.rollout_mails import KIND
        from mlprod_tasks.platform.ledger import Mail

        began = context["dag_run"].start_date
        mails = platform().ledger.all(Mail, Mail.at >= began, pipeline=self.pipeline.name, kind=KIND)
        return None if mails else super()._error(context)


def telling(pipeline: Pipeline, given: dict[str, Any]) -> dict[str, Any]:
    """Set a DAG's failure callbacks so that only one mail is sent about a challenger that was taken back."""
    defaults = given["default_args"] | {"on_failure_callback": TellEnd(pipeline)}
    return given | {"default_args": defaults, "on_failure_callback": TellRunEnd(pipeline)}


def why_ended(context: Any) -> str:
    """Say why a run ended early, with the tasks that failed."""
    ti, run = context["ti"], context["dag_run"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    failed = [name for name, state in states.items() if state == "failed"]
    at = f" at {', '.join(failed)}" if failed else ""
    return f"its rollout's run {run.run_id!r} stopped{at}"


class RollOut(TriggerDagRunOperator):
    """Start the rollout DAG once for the version that a training registered."""

    def __init__(self, *, pipeline: Pipeline, registered: str, **rest: Any) -> None:
        super().__init__(
            trigger_dag_id=f"{pipeline.name}.rollout",
            trigger_run_id=f"train__v{{{{ ti.xcom_pull('{registered}')['version'] }}}}",
            conf={
                "challenger": f"{{{{ ti.xcom_pull('{registered}')['version'] }}}}",
                "by": "training",
                "reason": "{{ params.reason }}",
            },
            logical_date=None,
            skip_when_already_exists=True,  # a rerun of the training starts no second rollout
            **rest,
        )

    def execute(self, context: Any) -> None:
        self.conf = {**(self.conf or {}), "challenger": int((self.conf or {})["challenger"])}
        super().execute(context)


def promoted(pipeline: Pipeline, registered: Any, promote: Any) -> None:
    """Add what follows registration: a rollout if a ramp is declared and there is a champion, else the promotion."""
    if pipeline.serving is None or pipeline.serving.ramp is None:
        registered >> promote
        return
    branch = _rollout_or_promotion(pipeline, promote.operator.task_id)(registered)
    branch >> [promote, RollOut(task_id=ROLL_OUT, pipeline=pipeline, registered=registered.operator.task_id)]


def _rollout_or_promotion(pipeline: Pipeline, promotion: str) -> Any:
    @task.branch(task_id="how")
    def how(registered: dict[str, Any]) -> str:
        from mlprod_tasks.promotion.register import ramp_wanted

        return ROLL_OUT if ramp_wanted(pipeline, int(registered["version"]), platform()) else promotion

    return how
