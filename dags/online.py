"""## Online

Updates the features for requests. Waits until the tick's tables are published, then **fills** the online store with the changes
and **checks** a sample of the tick's rows: their features computed from the store and in batch must be equal to the last bit.
The share of rows that differ is a measurement in the ledger; it should be 0.

*The fill is red*: the store keeps its entries, and its features get older until the declared policy for stale features applies.
Fix the cause, then clear `fill_online`. Ticks may be filled in any order: the store keeps the newest.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.installation import platform, served
from mlprod_airflow.runs import each_tick, lake_asset, reference, tick
from mlprod_airflow.waiting import WaitUntil
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def online(pipeline: Pipeline) -> None:
    """Define the online DAG of one use case that answers requests."""

    @task
    def fill_online(**context: Any) -> Any:
        return reference(steps.fill_online(pipeline, tick(pipeline, context), platform()))

    @task
    def check_online(**context: Any) -> Any:
        return reference(steps.check_online(pipeline, tick(pipeline, context), platform()))

    @dag(f"{pipeline.name}.online", **each_tick(pipeline, __doc__))
    def workflow() -> None:
        inlets = [lake_asset(pipeline, table.name) for table in pipeline.tables]
        wait = WaitUntil(task_id="wait_for_ingest", pipeline=pipeline, what="published", inlets=inlets)
        wait >> fill_online() >> check_online()

    workflow()


for pipeline in served():
    online(pipeline)
