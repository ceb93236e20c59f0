"""## Score

Waits until the tick's tables are published, then **scores** its rows with the champion (or, with `as_of`, with the version
that was champion at that tick), and writes the predictions to the lake and the business database. Safe to run again: the
predictions of the tick are replaced.

*The fallback scored*: the mail says why. Fix the cause, then clear `score` of the tick.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.mails import links
from mlprod_airflow.runs import each_tick, lake_asset, tick
from mlprod_airflow.waiting import WaitUntil
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def score_workflow(pipeline: Pipeline) -> None:
    """Define the score DAG of one use case."""

    @task.short_circuit(outlets=[lake_asset(pipeline, "predictions")])
    def score(**context: Any) -> str | None:
        return steps.score(pipeline, tick(pipeline, context), platform(), as_of=context["params"]["as_of"]).fallback_reason

    @task
    def tell_fallback(**context: Any) -> bool:
        return steps.tell_fallback(pipeline, tick(pipeline, context), platform(), links(context))

    @dag(f"{pipeline.name}.score", **each_tick(pipeline, __doc__, as_of=Param(False, type="boolean")))
    def workflow() -> None:
        inlets = [lake_asset(pipeline, table.name) for table in pipeline.tables]
        wait = WaitUntil(task_id="wait_for_ingest", pipeline=pipeline, what="published", inlets=inlets)
        wait >> score() >> tell_fallback()

    workflow()


for pipeline in declared():
    score_workflow(pipeline)
