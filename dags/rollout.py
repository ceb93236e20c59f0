"""## Rollout

Lets a new version, the challenger, answer requests of more and more entities beside the champion, and checks it at each share.

- **begin** makes every replica load it; it scores in the shadow and answers no request yet.
- For each declared share: **take_step** lets it answer that share of entities, always the same ones; **wait** until the share
  was held long enough and enough rows were answered, without occupying a worker; **check** compares it with the champion's rows
  of the same time: errors, latency, scores, and quality where outcomes have arrived.
- **finish** makes it champion. Then the champion answers everything again, with the automation of before.
- **take_back** runs at the end of every run, however it ends. If the challenger is still being rolled out then, since a check
  failed or anything else went wrong, the champion answers everything again within seconds, and one mail says why.

Started by training where `serving.ramp` is declared, or by hand with the number of the version; `hold_minutes` and `rows`
replace the declared ones for this run. A version that did not pass its gates is refused; one that was champion before is
brought back as a rollback does.

*A red check*: the challenger is worse, and the mail has the numbers. It was taken back; nothing needs to be cleared. To try
again, start a new run. *Something else is red*: it was taken back too; fix the cause and start a new run.
*The rollout was changed by hand meanwhile* (`mlprod rollout`, or on the page): what is left of the run is skipped, and what was
set by hand holds. To end a run, mark it as failed: the challenger is taken back.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow import (
    PATIENT,
    challenger,
    each_share,
    links,
    on_request,
    passed,
    platform,
    reference,
    requested_by,
    served,
    telling,
    unless_stopped,
    why_ended,
    with_run_params,
)
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
    def finish(**context: Any) -> dict[str, Any]:
        return reference(
            unless_stopped(steps.finish, with_run_params(pipeline, context), platform(), challenger=challenger(context))
        )

    @task(**PATIENT)
    def take_back(**context: Any) -> dict[str, Any]:
        return reference(
            steps.take_back(
                pipeline, "rule ramp", why_ended(context), platform(), links(context), challenger=challenger(context)
            )
        )

    version = Param(None, type="integer", minimum=1, description="The number of the version to roll out.")
    by = Param(
        None,
        type=["null", "string"],
        description="Who requests it, recorded in the ledger; by default the user who triggers it.",
    )
    reason = Param("requested by hand", type="string", description="Why; recorded in the ledger.")
    hold = Param(
        None,
        type=["null", "number"],
        minimum=0,
        description="Minutes at each share, below at_most; by default as declared.",
    )
    rows = Param(None, type=["null", "integer"], minimum=1, description="Rows needed at each share; by default as declared.")
    params = {"challenger": version, "by": by, "reason": reason, "hold_minutes": hold, "rows": rows}

    @dag(f"{pipeline.name}.rollout", **telling(pipeline, on_request(pipeline, __doc__, **params)))
    def workflow() -> None:
        every = each_share(pipeline, begin(), take_step, check, finish())
        every >> take_back().as_teardown()

    workflow()


for pipeline in served():
    rollout(pipeline)
