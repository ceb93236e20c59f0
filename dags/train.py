"""## Train

Trains a model with what was known at the start of tick `as_of`, tests it on a test window after a gap, and promotes it only if
it passes its gates.

- **assemble** builds the training set: features and known labels of the train, validation and test windows.
- **search** looks for better parameters, one task per worker; without a declared search it does nothing.
- **segments** lists what to fit: all rows ('*'), and each segment that is large enough for a separate model.
- **fit** fits all candidates of one of them and keeps the best on the validation window; one task for each.
- **train** combines them into the model, adds a fallback, and opens the MLflow run.
- **evaluate** measures model, baseline and champion on the same rows of the test window, in total and in slices.
- **backtest** trains the model again as of earlier ticks, to see how much its quality changes over time.
- **run_checks** runs the checks of the model that gates need: leaks, behaviour, latency, size, saving and loading.
- **report** writes the plots, the report and the model card.
- **gate** passes only if every declared gate passes.
- **approve**, if `approval` is declared: a person reads gates and report and answers on the task's *Required Actions*.
- **register** makes the model a version in MLflow, **promote** points the alias `champion` at it.
- **roll_out**, if `serving.ramp` is declared and there is a champion: instead of promoting the new version here, it starts the
  rollout DAG, which lets it answer more and more requests and promotes it at the end, or takes it back.

*The gate is red*: the mail and the task's log show every gate with its value. The champion stays. Nothing needs to be cleared.
*The model was rejected*: later tasks are skipped, the champion stays, and ledger and MLflow run say who rejected it and when.
*Nobody answered in time*: the task is red; clear it to ask again. Other trainings queue while an approval is pending.
*Something else is red*: fix the cause and clear that task. Segments that are already fitted and trials of the search are kept.
"""

from typing import Any

from airflow.sdk import Param, dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.ramping import promoted, requested_by
from mlprod_airflow.runs import as_of, decided_at, lake_asset, reference, tick_param, to_train, training_id
from mlprod_airflow.training import approved, workers
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def train_workflow(pipeline: Pipeline) -> None:
    """Define the train DAG of one use case."""
    first = tick_param(pipeline, "Train as of this tick: nothing known later is used.", required=True)
    reason = Param("requested by hand", type="string", description="Why; recorded in the ledger.")
    decision = tick_param(pipeline, "The tick whose decision requests it: set by the monitor, leave it empty.")

    @dag(f"{pipeline.name}.train", **to_train(pipeline, __doc__, as_of=first, reason=reason, decided_at=decision))
    def workflow() -> None:
        passed_digest = _test_model(pipeline, _fit_model(pipeline))
        _promote_model(pipeline, passed_digest)

    workflow()


def _fit_model(pipeline: Pipeline) -> Any:
    """Add the tasks from the training set to the model. Returns the last one."""

    @task
    def assemble(**context: Any) -> Any:
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
    def search(worker: int, **context: Any) -> Any:
        return reference(steps.search(pipeline, training_id(pipeline, context), platform(), worker))

    @task
    def segments(**context: Any) -> list[str]:
        return steps.segments(pipeline, training_id(pipeline, context), platform())

    @task(map_index_template="{{ task.op_kwargs['segment'] }}")
    def fit(segment: str, **context: Any) -> Any:
        return reference(steps.fit(pipeline, training_id(pipeline, context), segment, platform()))

    @task
    def train(**context: Any) -> Any:
        return reference(steps.train(pipeline, training_id(pipeline, context), platform()))

    large, trained = segments(), train()
    assemble() >> search.expand(worker=workers(pipeline)) >> large
    fit.expand(segment=large) >> trained
    return trained


def _test_model(pipeline: Pipeline, trained: Any) -> Any:
    """Add the tasks that test the model, and its gates. Returns the gate's task, with the digest of the model that passed."""

    @task
    def evaluate(**context: Any) -> Any:
        return reference(steps.evaluate(pipeline, training_id(pipeline, context), platform()))

    @task
    def backtest(**context: Any) -> None:
        steps.backtest(pipeline, training_id(pipeline, context), platform())

    @task
    def run_checks(**context: Any) -> Any:
        return reference(steps.run_checks(pipeline, training_id(pipeline, context), platform()))

    @task
    def report(**context: Any) -> Any:
        return reference(steps.report(pipeline, training_id(pipeline, context), platform()))

    @task(retries=0)  # the same model would be refused again
    def gate(**context: Any) -> str:
        return steps.gate(pipeline, training_id(pipeline, context), platform()).model_digest

    passed_digest = gate()
    trained >> evaluate() >> [backtest(), run_checks()] >> report() >> passed_digest
    return passed_digest


def _promote_model(pipeline: Pipeline, passed_digest: Any) -> None:
    """Add the tasks after the gate: approval, registration, and promotion or rollout."""

    @task
    def register(**context: Any) -> Any:
        return reference(steps.register(pipeline, training_id(pipeline, context), platform()))

    @task(outlets=[lake_asset(pipeline, "champion")])
    def promote(passed_digest: str, **context: Any) -> Any:
        return reference(steps.promote_training(pipeline, training_id(pipeline, context), passed_digest, platform()))

    registered = register()
    approved(pipeline, passed_digest) >> registered
    promoted(pipeline, registered, promote(passed_digest))


for pipeline in declared():
    train_workflow(pipeline)
