"""## Ingest

Loads one tick of all tables into the lake: **extract** from the sources, **audit** against the declaration, **publish** what
passed. Only data that passed its audit reaches the lake. A table that fails does not stop the others.

*A red extract or audit*: the mail names the table and shows the failed expectations and rows. Correct the source, then clear
`extract`: tables that are published already are left alone. *A red publish* says which tables are missing because of that.
*To load history*: trigger with `first` and `last`. *To load some days again*: the Backfill button, or
`airflow backfill create`.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.runs import each_tick, lake_asset, or_missing, reference, tick_param, ticks
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def ingest(pipeline: Pipeline) -> None:
    """Define the ingest DAG of one use case."""
    tables = [lake_asset(pipeline, table.name) for table in pipeline.tables]

    @task
    def extract(**context: Any) -> Any:
        return reference(steps.extract(pipeline, ticks(pipeline, context), platform(), run=context["run_id"]))

    # The same rows would be refused again. It audits the tables that were extracted, whether or not others failed.
    @task(retries=0, trigger_rule="all_done")
    def audit(**context: Any) -> Any:
        return reference(steps.audit(pipeline, ticks(pipeline, context), platform(), run=context["run_id"]))

    @task(trigger_rule="all_done", outlets=tables)
    def publish(**context: Any) -> Any:
        return reference(or_missing(steps.publish, pipeline, ticks(pipeline, context), platform(), run=context["run_id"]))

    @dag(f"{pipeline.name}.ingest", **each_tick(pipeline, __doc__, first=tick_param(pipeline), last=tick_param(pipeline)))
    def workflow() -> None:
        extract() >> audit() >> publish()

    workflow()


for pipeline in declared():
    ingest(pipeline)
