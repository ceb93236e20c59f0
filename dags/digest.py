"""## Digest

Sends one mail in plain words to the business every Monday, once the tick is decided: what acting on the scores earned in the
week, compared with the week before and with the model's test; how accurate the scores were; what happened (alarms, trainings,
rollbacks, refused data, the fallback); and which alarms are open. The mail goes to `digest_to`, or else to `alert_to`.

It is sent only once for each week. If Monday's tick is not decided within twelve hours, it is sent with what is known by then.
To print it: `mlprod digest NAME --to TICK`.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.mails import links
from mlprod_airflow.runs import each_week, tick
from mlprod_airflow.waiting import WaitUntil
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def digest(pipeline: Pipeline) -> None:
    """Define the digest DAG of one use case."""

    @task(trigger_rule="all_done")
    def tell_digest(**context: Any) -> bool:
        return steps.tell_digest(pipeline, tick(pipeline, context), platform(), links(context))

    @dag(f"{pipeline.name}.digest", **each_week(pipeline, __doc__))
    def workflow() -> None:
        WaitUntil(task_id="wait_for_monitor", pipeline=pipeline, what="decided") >> tell_digest()

    workflow()


for pipeline in declared():
    digest(pipeline)
