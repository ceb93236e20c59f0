"""## Rollout

Lets a new version, the challenger, answer requests of more and more entities beside the champion, and checks it at each share.

- **begin** makes every replica load it. It scores as a shadow and does not answer requests yet.
- For each declared share: **take_step** lets it answer that share of entities, always the same ones. **wait** waits, without
  occupying a worker, until the share has lasted long enough and enough rows were answered. **check** compares it with the
  champion's rows of the same time: errors, latency, scores, and quality if outcomes have arrived.
- **finish** makes it champion, and it answers all requests with the previous automation.
- **take_back** runs at the end of every run, however it ends. If the challenger is still being rolled out, because a check
  failed or something else went wrong, the champion answers all requests again within seconds, and one mail says why.

Training starts it if `serving.ramp` is declared; you can start it by hand with the number of a version. `hold_minutes` and
`rows` replace the declared values for this run. A version that did not pass its gates is refused; a version that was champion
before is promoted as a rollback.

*A check is red*: the challenger is worse, and the mail has the numbers. It was taken back; nothing needs to be cleared. To try
again, start a new run. *Something else is red*: the challenger was taken back, too; fix the cause and start a new run.
*The rollout was changed by hand in the meantime* (with `mlprod rollout` or on the page): the rest of the run is skipped, and
the change by hand stays in force. To stop a run, mark it as failed: the challenger is taken back.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow.installation import platform, served
from mlprod_airflow.mails import links
from mlprod_airflow.ramping import (
    PATIENT,
    challenger,
    each_share,
    passed,
    requested_by,
    telling,
    unless_stopped,
    why_ended,
    with_run_params,
)
from mlprod_airflow.runs import on_request, reference
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def rollout(pipeline: Pipeline) -> None:
    """Define the rollout DAG of one use case that answers requests."""

    @task
    def begin(**context: Any) -> str:
        return steps.begin(
            pipeline, challenger(context), requested_by(context), context["params"]["reason"], platform()
        ).sentence

    @task
    def take_step(share: float, **context: Any) -> str:
        return unless_stopped(
            steps.take_step, with_run_params(pipeline, context), share, platform(), challenger=challenger(context)
        ).sentence

    @task
    def check(**context: Any) -> str:
        return passed(
            unless_stopped(steps.check, with_run_params(pipeline, context), platform(), challenger=challenger(context))
        )

    @task
    def finish(**context: Any) -> Any:
        return reference(
            unless_stopped(steps.finish, with_run_params(pipeline, context), platform(), challenger=challenger(context))
        )

    @task(**PATIENT)
    def take_back(**context: Any) -> Any:
        return reference(
            steps.take_back(
                pipeline, "rule ramp", why_ended(context), platform(), links(context), challenger=challenger(context)
            )
        )

    @dag(f"{pipeline.name}.rollout", **telling(pipeline, on_request(pipeline, __doc__, **_params())))
    def workflow() -> None:
        each_share(pipeline, begin(), take_step, check, finish()) >> take_back().as_teardown()

    workflow()


def _params() -> dict[str, Param]:
    by = "Who requests it, recorded in the ledger; by default the user who triggers it."
    hold = "Minutes at each share, less than at_most; by default as declared."
    rows = "Rows needed at each share; by default as declared."
    return {
        "challenger": Param(None, type="integer", minimum=1, description="The number of the version to roll out."),
        "by": Param(None, type=["null", "string"], description=by),
        "reason": Param("requested by hand", type="string", description="Why; recorded in the ledger."),
        "hold_minutes": Param(None, type=["null", "number"], minimum=0, description=hold),
        "rows": Param(None, type=["null", "integer"], minimum=1, description=rows),
    }


for pipeline in served():
    rollout(pipeline)
