"""## Digest

Every Monday, once the tick is decided, one mail for the business in plain words: what acting on the scores earned in the week,
compared with the week before and with the test that the model passed; how accurate the scores were; what happened (alarms,
trainings, rollbacks, refused data, the fallback); and which alarms are open. It goes to `digest_to`, else to `alert_to`.

It is sent once a week. If Monday's tick is not decided within twelve hours, it is sent with what is known then. From a shell:
`mlprod digest NAME --to TICK`.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow import WaitUntil, declared, links, platform, tick, weekly
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def digest(pipeline: Pipeline) -> None:
    """Define the digest DAG of one use case."""

    @task(trigger_rule="all_done")
    def tell_digest(**context: Any) -> bool:
        return steps.tell_digest(pipeline, tick(pipeline, context), platform(), links(context))

    @dag(f"{pipeline.name}.digest", **weekly(pipeline, __doc__))
    def workflow() -> None:
        WaitUntil(task_id="wait_for_monitor", pipeline=pipeline, what="decided") >> tell_digest()

    workflow()


for pipeline in declared():
    digest(pipeline)
