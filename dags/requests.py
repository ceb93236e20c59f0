"""## Requests

Every ten minutes, **collects** what the service has logged into the lake, each row once, and puts rows whose decision is left
to people into the review queue; then **measures** every tick that got rows: how fast and by whom they were answered, with
which features, and how the shadow differs. What leaves its bounds raises an alarm at the next decision.

*A red collection*: nothing is lost, the log waits where the service wrote it. A file that cannot be read is set aside beside
the others, as `.broken`; one that has a column of another type than the lake waits, and the task's log says which.
"""

from airflow.sdk import dag, task

from mlprod_airflow import lake_asset, often, platform, served
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def requests(pipeline: Pipeline) -> None:
    """Define the requests DAG of one use case that answers requests."""

    @task(outlets=[lake_asset(pipeline, "requests")])
    def collect() -> list[str]:
        return list(steps.collect(pipeline, platform()).ticks)

    @task
    def measure_requests(days: list[str]) -> None:
        steps.measure_collected(pipeline, days, platform())

    @dag(f"{pipeline.name}.requests", **often(pipeline, __doc__))
    def workflow() -> None:
        measure_requests(collect())  # type: ignore[arg-type]

    workflow()


for pipeline in served():
    requests(pipeline)
