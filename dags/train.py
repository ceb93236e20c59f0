"""## Train

Makes a model as it could have been made at the start of tick `as_of`, tests it on a later, gapped test window, and promotes it
only if it passes its gates.

- **assemble** builds the training set: features and known labels of the train, validation and test windows.
- **search** looks for better parameters, one task per worker; without a declared search it does nothing.
- **segments** lists what is to be fitted: all rows ('*'), and each segment that is large enough for a model of its own.
- **fit** fits one of them, all candidates of it, and keeps the best on the validation window; one task each.
- **train** puts them together, with a fallback, and opens the MLflow run.
- **evaluate** measures the model on the test window beside baseline and champion, on the same rows, whole and in slices.
- **backtest** trains the model again as of earlier moments, to see how much its quality changes over time.
- **run_checks** checks the model itself, as far as gates ask for it: leaks, behaviour, latency, size, saving and loading.
- **report** writes the pictures, the report and the model card.
- **gate** lets it pass only if every declared gate does.
- **approve**, where `approval` is declared: a person looks at gates and report and answers on the task's *Required Actions*.
- **register** makes it a version in MLflow, **promote** points the alias `champion` at it.
- **roll_out**, where `serving.ramp` is declared and there is a champion: the new version is not promoted here, but handed to
  the rollout DAG, which lets it answer more and more requests and promotes it at the end, or takes it back.

*A red gate*: the mail and the task's log show every gate with its value. The champion stays. Nothing needs to be cleared.
*Rejected*: what follows is skipped, the champion stays, and the ledger and the MLflow run say who and when. Nobody answered in
time: the task is red; clear it to ask again. Further trainings queue while an approval is pending.
*Something else is red*: fix the cause and clear that task. Parts that are fitted already, and trials of the search, are kept.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow import (
    approved,
    as_of,
    decided_at,
    declared,
    lake_asset,
    on_request,
    platform,
    promoted,
    reference,
    requested_by,
    training_id,
    workers,
)
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def train_workflow(pipeline: Pipeline) -> None:
    """Define the train DAG of one use case."""

    @task
    def assemble(**context: Any) -> dict[str, Any]:
        return reference(
            steps.assemble(
                pipeline,
                as_of(pipeline, context),
                training_id(pipeline, context),
                context["params"]["reason"],
                platform(),
                by=requested_by(context),
                decided_at=decided_at(pipeline, context),
            )
        )

    @task
    def search(worker: int, **context: Any) -> dict[str, Any]:
        return reference(steps.search(pipeline, training_id(pipeline, context), platform(), worker))

    @task
    def segments(**context: Any) -> list[str]:
        return steps.segments(pipeline, training_id(pipeline, context), platform())

    @task(map_index_template="{{ task.op_kwargs['segment'] }}")
    def fit(segment: str, **context: Any) -> dict[str, Any]:
        return reference(steps.fit(pipeline, training_id(pipeline, context), segment, platform()))

    @task
    def train(**context: Any) -> dict[str, Any]:
        return reference(steps.train(pipeline, training_id(pipeline, context), platform()))

    @task
    def evaluate(**context: Any) -> dict[str, Any]:
        return reference(steps.evaluate(pipeline, training_id(pipeline, context), platform()))

    @task
    def backtest(**context: Any) -> None:
        steps.backtest(pipeline, training_id(pipeline, context), platform())

    @task
    def run_checks(**context: Any) -> dict[str, Any]:
        return reference(steps.run_checks(pipeline, training_id(pipeline, context), platform()))

    @task
    def report(**context: Any) -> dict[str, Any]:
        return reference(steps.report(pipeline, training_id(pipeline, context), platform()))

    @task(retries=0)  # the same model would be refused again
    def gate(**context: Any) -> str:
        return steps.gate(pipeline, training_id(pipeline, context), platform()).model_digest

    @task
    def register(**context: Any) -> dict[str, Any]:
        return reference(steps.register(pipeline, training_id(pipeline, context), platform()))

    @task(outlets=[lake_asset(pipeline, "champion")])
    def promote(passed_digest: str, **context: Any) -> dict[str, Any]:
        return reference(steps.promote_training(pipeline, training_id(pipeline, context), passed_digest, platform()))

    first = Param(None, type="string", format="date", description="Train as of this tick: nothing known later is used.")
    reason = Param("requested by hand", type="string", description="Why; recorded in the ledger.")
    decision = Param(
        None,
        type=["null", "string"],
        format="date",
        description="The tick whose decision requests it, where the monitor starts it; empty: you do.",
    )

    @dag(f"{pipeline.name}.train", **on_request(pipeline, __doc__, as_of=first, reason=reason, decided_at=decision))
    def workflow() -> None:
        large, passed_digest = segments(), gate()
        fitted = fit.expand(segment=large)
        assemble() >> search.expand(worker=workers(pipeline)) >> large
        fitted >> train() >> evaluate() >> [backtest(), run_checks()] >> report() >> passed_digest
        registered = register()
        approved(pipeline, passed_digest) >> registered
        promoted(pipeline, registered, promote(passed_digest))

    workflow()


for pipeline in declared():
    train_workflow(pipeline)
