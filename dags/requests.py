"""## Requests

Every ten minutes, **collects** the service's log into the lake, each row once, and puts rows that people decide into the review
queue. Once an hour it deletes files that the lake's table has not used for more than two hours. Then it **measures** every tick
whose rows in the lake have changed: how fast and by which model they were answered, with which features, and how the shadow's
scores differ. The last finished tick is measured even if there were no requests. A breach raises an alarm at the decision of
the next tick. If that decision was made before the last requests arrived, it is **made again**, with its actions and mails;
for a retraining it starts the train DAG with the reason.

It also **takes back** the challenger of a rollout whose run has ended, so that no challenger answers without checks.

It sends a mail (**tell**) about files that do not reach the lake: a file that cannot be read is renamed to `.broken`, single
bad rows are moved to such a file, and each is mailed once; a file that the lake does not take, such as one with a column of
another type, waits and is mailed once a week. No such file or row holds up the others. *The collection is red*: nothing is
lost, the log stays where the service wrote it.
"""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task

from mlprod_airflow.installation import platform, served
from mlprod_airflow.mails import links
from mlprod_airflow.runs import lake_asset, often
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def requests(pipeline: Pipeline) -> None:
    """Define the requests DAG of one use case that answers requests."""

    @task(outlets=[lake_asset(pipeline, "requests")])
    def collect() -> dict[str, int]:
        return steps.collect(pipeline, platform(), tidy=True).causes

    @task
    def tell(causes: dict[str, int], **context: Any) -> list[str]:
        return steps.tell_uncollected(pipeline, causes, platform(), links(context))

    @task
    def measure_requests() -> None:
        steps.measure_collected(pipeline, platform())

    @task
    def decide_again(**context: Any) -> list[dict[str, Any]]:
        return steps.decide_again(pipeline, platform(), links(context))

    @task
    def take_back_abandoned() -> None:
        steps.take_back_abandoned(pipeline, platform())

    @dag(f"{pipeline.name}.requests", **often(pipeline, __doc__))
    def workflow() -> None:
        collected, decided = collect(), decide_again()
        tell(collected)
        collected >> measure_requests() >> decided
        # With the same run id as in the monitor DAG: if both request the training of a tick, it starts once.
        TriggerDagRunOperator.partial(
            task_id="retrain", trigger_dag_id=f"{pipeline.name}.train", logical_date=None, skip_when_already_exists=True
        ).expand_kwargs(decided)
        take_back_abandoned()

    workflow()


for pipeline in served():
    requests(pipeline)
