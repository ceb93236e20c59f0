"""## Verify

Checks the models in production in the night after each tick, off-peak. A sample of the tick's logged predictions is scored
again by the version that made them; the scores must be the same, bit for bit. And the champion, loaded again from the registry,
must reproduce the golden predictions that were registered with it. The features of scored rows, computed again from the lake as
it is now, must be those that they were scored with: else the source changed rows of the past.

The results are measurements in the ledger: a difference raises an alarm at the next decision. The task itself is red only if
the checks could not run, for example because the registry does not answer. Then clear it.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.runs import nightly, reference, tick
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def verify_workflow(pipeline: Pipeline) -> None:
    """Define the verify DAG of one use case."""

    @task
    def verify(**context: Any) -> Any:
        return reference(steps.verify(pipeline, tick(pipeline, context), platform()))

    @dag(f"{pipeline.name}.verify", **nightly(pipeline, __doc__))
    def workflow() -> None:
        verify()

    workflow()


for pipeline in declared():
    verify_workflow(pipeline)
