"""## Monitor

Waits until the tick is scored, then **measures** it: inputs, scores, and the outcomes of the tick whose labels are complete by
now. It **decides** by the declared rules: nothing, a note, an alert, a retraining, a switch to the fallback, or a rollback. A
switch or rollback happens at once, if the champion is still the version that was measured. Then it sends one mail (**tell**)
about new and ended alarms, with reminders of alarms that nobody acknowledged. For a retraining it starts the train DAG with
the reason. Verdicts of experiments, and bandits that ended, are mailed, too
(**tell_experiments**).

Safe to run again: measurements are replaced, and each action and mail of a tick happens only once. Decisions do not depend on
the order in which ticks are monitored.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.mails import links
from mlprod_airflow.runs import each_tick, lake_asset, reference, tick, where_declared
from mlprod_airflow.waiting import Retrain, WaitUntil
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def monitor(pipeline: Pipeline) -> None:
    """Define the monitor DAG of one use case."""

    @task
    def measure(**context: Any) -> Any:
        return reference(steps.measure(pipeline, tick(pipeline, context), platform()))

    @task.short_circuit
    def decide(**context: Any) -> Any:
        return steps.decide_and_act(pipeline, tick(pipeline, context), platform()).to_do()

    @task
    def tell(**context: Any) -> bool:
        return steps.tell_decision(pipeline, tick(pipeline, context), platform(), links(context))

    @task
    def tell_experiments(**context: Any) -> list[str]:
        return steps.tell_experiments(pipeline, tick(pipeline, context), platform(), links(context))

    @dag(f"{pipeline.name}.monitor", **each_tick(pipeline, __doc__))
    def workflow() -> None:
        wait = WaitUntil(
            task_id="wait_for_score", pipeline=pipeline, what="scored", inlets=[lake_asset(pipeline, "predictions")]
        )
        decided = decide()
        # After `decide`: a training that began before a rollback could not replace the version that the rollback brought back.
        measured = measure()
        wait >> measured >> decided >> [tell(), Retrain(task_id="retrain", pipeline=pipeline, decided=decided)]
        measured >> where_declared(pipeline.experiments, tell_experiments)

    workflow()


for pipeline in declared():
    monitor(pipeline)
