"""## Train

Builds a training set as it could have been known at the start of tick `as_of`, fits, evaluates on a later, gapped test window,
**gates**, and only then registers the model and makes it champion.

*A red gate*: the mail and the task's log show every gate with its value. The champion stays. Nothing needs to be cleared.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow import as_of, declared, lake_asset, on_request, platform, reference, training_id
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def train(pipeline: Pipeline) -> None:
    """Define the train DAG of one use case."""

    @task
    def assemble(**context: Any) -> dict[str, Any]:
        return reference(
            steps.assemble(
                pipeline, as_of(pipeline, context), training_id(pipeline, context), context["params"]["reason"], platform()
            )
        )

    @task
    def fit(**context: Any) -> dict[str, Any]:
        return reference(steps.train(pipeline, training_id(pipeline, context), platform()))

    @task
    def evaluate(**context: Any) -> dict[str, Any]:
        return reference(steps.evaluate(pipeline, training_id(pipeline, context), platform()))

    @task(retries=0)  # the same model would be refused again
    def gate(**context: Any) -> str:
        return steps.gate(pipeline, training_id(pipeline, context), platform()).model_digest

    @task
    def register(**context: Any) -> dict[str, Any]:
        return reference(steps.register(pipeline, training_id(pipeline, context), platform()))

    @task(outlets=[lake_asset(pipeline, "champion")])
    def promote(judged: str, **context: Any) -> dict[str, Any]:
        return reference(steps.promote_training(pipeline, training_id(pipeline, context), judged, platform()))

    first = Param(None, type="string", format="date", description="The tick to stand at: nothing known later is used.")
    reason = Param("asked for by hand", type="string", description="Why; kept in the ledger.")

    @dag(f"{pipeline.name}.train", **on_request(pipeline, __doc__, as_of=first, reason=reason))
    def workflow() -> None:
        judged = gate()
        assemble() >> fit() >> evaluate() >> judged >> register() >> promote(judged)

    workflow()


for pipeline in declared():
    train(pipeline)
