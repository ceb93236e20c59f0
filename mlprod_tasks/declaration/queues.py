"""On which workers a use case's tasks run, where Airflow has several."""

from __future__ import annotations

from mlprod_tasks.declaration.declared import declared


@declared
class Queues:
    """The queues of tasks, by kind of work. Workers are told which queues to serve; '' is Airflow's default queue.

    With KubernetesExecutor a queue is a pod template, in the folder MLPROD_POD_TEMPLATES; LocalExecutor has no queues.

    training: the tasks of the train DAG, which need memory and cores for minutes or hours.
    others: all other tasks.
    """

    training: str = ""
    others: str = ""
