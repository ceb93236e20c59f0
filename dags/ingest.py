"""## Ingest

Loads one tick of every table into the lake: **extract** from the source, **audit** against the declaration, **publish** what
passed. Only data that passed its audit reaches the lake.

*The audit is red*: the mail shows the failed expectations and rows. Correct the source, then clear `extract` of that table.
*To load history*: trigger with `first` and `last`. *To load some days again*: the Backfill button, or
`airflow backfill create`.
"""

from typing import Any

from airflow.sdk import Param, dag, task, task_group

from mlprod_airflow import TICK, daily, declared, lake_asset, platform, reference, ticks
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def ingest(pipeline: Pipeline) -> None:
    """Define the ingest DAG of one use case."""

    @task
    def extract(table: str, **context: Any) -> dict[str, Any]:
        return reference(steps.extract(pipeline, table, ticks(pipeline, context), platform()))

    @task(retries=0)  # the same rows would be refused again
    def audit(table: str, **context: Any) -> dict[str, Any]:
        return reference(steps.audit(pipeline, table, ticks(pipeline, context), platform()))

    @task
    def publish(table: str, **context: Any) -> dict[str, Any]:
        return reference(steps.publish(pipeline, table, ticks(pipeline, context), platform()))

    @dag(f"{pipeline.name}.ingest", **daily(pipeline, __doc__, first=Param(None, **TICK), last=Param(None, **TICK)))
    def workflow() -> None:
        for table in pipeline.tables:

            @task_group(group_id=table.name)
            def way(name: str) -> None:
                extract(name) >> audit(name) >> publish.override(outlets=[lake_asset(pipeline, name)])(name)

            way(table.name)

    workflow()


for pipeline in declared():
    ingest(pipeline)
