"""## Experiment

Plans, starts or ends an experiment: whether another version, or another threshold, is worth more to the business than the
champion, by the declared metrics. Trigger it with `what`:

- **plan** tells how many units and weeks it needs, from the history of the use case. It changes nothing.
- **start** writes the plan to the ledger. From the next tick on, each unit gets its variant.
- **stop** ends it: the champion answers all rows from the next tick on, and all requests within seconds.

Whoever may trigger this DAG may do that; the ledger keeps who it was, and the `reason`. The monitor DAG reads experiments at
each tick; the page shows them.

**carry_out** does it; its log and its XCom have the plan, or what was done.

*The task is red*: the end of its log says what cannot be planned, started or ended, and what would be possible. Nothing was
changed. Trigger a new run.
"""

from typing import Any

from airflow.sdk import dag, task

from mlprod_airflow.experiments import asked_by, experiment_params, experimenting, or_refused, telling_faults
from mlprod_airflow.installation import platform
from mlprod_airflow.runs import on_request
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline


def experiment(pipeline: Pipeline) -> None:
    """Define the experiment DAG of one use case that declares experiments."""

    @task
    def carry_out(**context: Any) -> str:
        return or_refused(steps.ask_experiment, pipeline, asked_by(context), platform())

    given = on_request(pipeline, __doc__, **experiment_params(pipeline))

    @dag(f"{pipeline.name}.experiment", **telling_faults(pipeline, given))
    def workflow() -> None:
        carry_out()

    workflow()


for pipeline in experimenting():
    experiment(pipeline)
