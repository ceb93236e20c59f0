"""## Requests

Every ten minutes, **collects** what the service has logged into the lake, each row once, and puts rows whose decision is left
to people into the review queue; once an hour it deletes what the lake's table held more than two hours ago. Then it
**measures** every tick of which the lake has other rows than were measured, whoever collected them: how fast and by whom they
were answered, with which features, how the shadow differs; and the last tick that is over, if nobody asked at all. What leaves
its bounds raises an alarm at the decision of the next tick; where that was made before the last requests came, it is **decided
again**, done and told; a retraining starts the train DAG with the reason.

Beside that it **takes back** a ramp whose run is gone, so that no challenger goes on answering unwatched.

It **tells** by mail of files that do not reach the lake: one that cannot be read is set aside beside the others as `.broken`,
and told of once; one that has a column of another type than the lake waits, and is told of once a week. *A red collection*:
nothing is lost, the log waits where the service wrote it.
"""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task

from mlprod_airflow import lake_asset, links, often, platform, served
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
        # As the monitor DAG starts it, and under the same name: of the two that ask for a tick's training, one starts it.
        TriggerDagRunOperator.partial(
            task_id="retrain", trigger_dag_id=f"{pipeline.name}.train", logical_date=None, skip_when_already_exists=True
        ).expand_kwargs(decided)
        take_back_abandoned()

    workflow()


for pipeline in served():
    requests(pipeline)
