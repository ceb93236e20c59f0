"""## Rollout

Lets a new version, the challenger, answer requests of more and more entities beside the champion, and judges it at each share.

- **begin** has every replica load it; it scores in the shadow, and nobody is answered by it yet.
- For each declared share: **take_step** lets it answer that share of entities, always the same ones; **wait** until the share
  was held long enough and enough rows were answered, without holding a worker; **check** compares it with the champion's rows
  of the same time: errors, latency, scores, and quality where outcomes have arrived.
- **finish** makes it champion. Then the champion answers everything again, as automatically as before.
- **take_back** runs at the end of every run, however it ends. If the challenger is still being rolled out then, since a check
  failed or anything else went wrong, the champion answers everything again within seconds, and one mail says why.

Started by training where `serving.ramp` is declared, or by hand with the number of the version; `hold_minutes` and `rows` take
the place of the declared ones for this run. A version that did not pass its gates is refused; one that was champion before is
brought back as a rollback does.

*A red check*: the challenger is worse, and the mail has the numbers. It was taken back; nothing needs to be cleared. To try
again, start a new run. *Something else is red*: it was taken back, too; mend the cause and start a new run.
*The rollout was changed by hand meanwhile* (`mlprod rollout`, or on the page): what is left of the run is skipped, and what was
set by hand holds. To end a run, mark it as failed: the challenger is taken back.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow import (
    PATIENT,
    asked_by,
    challenger,
    each_share,
    links,
    on_request,
    passed,
    platform,
    ramped,
    reference,
    served,
    telling,
    unless_stopped,
    why_ended,
)
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def rollout(pipeline: Pipeline) -> None:
    """Define the rollout DAG of one use case that answers requests."""

    @task
    def begin(**context: Any) -> str:
        return steps.begin(pipeline, challenger(context), asked_by(context), context["params"]["reason"], platform()).sentence

    @task
    def take_step(share: float, **context: Any) -> str:
        return unless_stopped(
            steps.take_step, ramped(pipeline, context), share, platform(), challenger=challenger(context)
        ).sentence

    @task
    def check(**context: Any) -> str:
        return passed(unless_stopped(steps.check, ramped(pipeline, context), platform(), challenger=challenger(context)))

    @task
    def finish(**context: Any) -> dict[str, Any]:
        return reference(unless_stopped(steps.finish, ramped(pipeline, context), platform(), challenger=challenger(context)))

    @task(**PATIENT)
    def take_back(**context: Any) -> dict[str, Any]:
        return reference(
            steps.take_back(
                pipeline, "rule ramp", why_ended(context), platform(), links(context), challenger=challenger(context)
            )
        )

    version = Param(None, type="integer", minimum=1, description="The number of the version that is rolled out.")
    by = Param(None, type=["null", "string"], description="Who asks for it, kept in the ledger; else who triggers it.")
    reason = Param("asked for by hand", type="string", description="Why; kept in the ledger.")
    hold = Param(
        None,
        type=["null", "number"],
        minimum=0,
        description="Minutes that each share is held, below at_most; else as declared.",
    )
    rows = Param(None, type=["null", "integer"], minimum=1, description="Rows needed at each share; else as declared.")
    asked = {"challenger": version, "by": by, "reason": reason, "hold_minutes": hold, "rows": rows}

    @dag(f"{pipeline.name}.rollout", **telling(pipeline, on_request(pipeline, __doc__, **asked)))
    def workflow() -> None:
        every = each_share(pipeline, begin(), take_step, check, finish())
        every >> take_back().as_teardown()

    workflow()


for pipeline in served():
    rollout(pipeline)
