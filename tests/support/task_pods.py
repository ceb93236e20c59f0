"""The pods that KubernetesExecutor would create for each task of each DAG, built by its own code, and sent to no cluster.

Run as a process of its own, with what requirements-kubernetes.lock lists on its path: `python -m tests.support.task_pods`.
"""

from __future__ import annotations

import json
import queue
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.support.paths import REPOSITORY


def told() -> dict[str, Any]:
    """A pod for each task, and what importing the DAG files said."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags", bundle_name="dags-folder")
    return {"pods": list(pods(bag.dags.values())), "import_errors": list(bag.import_errors.values())}


def pods(dags: Any) -> Iterator[dict[str, Any]]:
    """Yield the pod of each task, as it is sent."""
    from airflow.executors.workloads import ExecuteTask
    from airflow.models import DagModel, DagRun, TaskInstance
    from airflow.providers.cncf.kubernetes.executors.kubernetes_executor import KubernetesExecutor
    from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_utils import AirflowKubernetesScheduler
    from airflow.serialization.serialized_objects import DagSerialization
    from kubernetes.client import ApiClient
    from uuid6 import uuid7

    class WithoutCluster(AirflowKubernetesScheduler):
        """Builds pods, and watches none."""

        def _make_kube_watchers(self) -> dict[str, Any]:
            return {}

    executor = KubernetesExecutor()
    executor.task_queue = queue.Queue()
    scheduler = WithoutCluster(executor.kube_config, queue.Queue(), None, "1")
    now = datetime.now(UTC)
    for parsed in dags:
        dag = DagSerialization.from_dict(DagSerialization.to_dict(parsed))  # as the scheduler has it, from the database
        run = DagRun(dag.dag_id, run_id=f"manual__{now.isoformat()}")
        model = DagModel(dag_id=dag.dag_id, bundle_name="dags-folder", relative_fileloc=parsed.relative_fileloc)
        for task in dag.tasks:
            instance = TaskInstance(task, run_id=run.run_id, dag_version_id=uuid7())
            instance.dag_run, instance.dag_model = run, model
            workload = ExecuteTask.make(instance)
            executor.execute_async(workload.ti.key, [workload], workload.ti.queue, workload.ti.executor_config)
            pod = scheduler._build_pod_request(executor.task_queue.get_nowait())
            yield ApiClient().sanitize_for_serialization(pod)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("TOLD", json.dumps(told()))
