"""What a queue means to Airflow's executor: workers that serve it or, where each task is a pod, that pod's template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlprod_tasks.declaration import DeclarationError, Pipeline
from mlprod_tasks.platform.settings import from_environment

OF_PODS = "KubernetesExecutor"


def arguments(queue: str) -> dict[str, Any]:
    """The arguments of tasks in a queue; none for ''."""
    if not queue:
        return {}
    folder = from_environment().pod_templates
    return {"queue": queue} | (
        {} if folder is None else {"executor_config": {"pod_template_file": str(_template(folder, queue))}}
    )


def refused(pipeline: Pipeline) -> DeclarationError | None:
    """Why tasks of a use case would not run as its queues say; None if they would."""
    problems = tuple(_problems({pipeline.queues.training, pipeline.queues.others} - {""}, from_environment().pod_templates))
    return DeclarationError(*(f"pipelines/{pipeline.name}.py: {one}" for one in problems)) if problems else None


def _problems(queues: set[str], folder: Path | None) -> Iterator[str]:
    if queues and folder is None and _executor() == OF_PODS:
        yield (
            f"queues: {OF_PODS} has no queues, so {', '.join(map(repr, sorted(queues)))} would change nothing. Set "
            "MLPROD_POD_TEMPLATES to a folder with a pod template for each, or leave `queues` out"
        )
    for queue in sorted(queues) if folder is not None else ():
        if not (file := _template(folder, queue)).is_file():
            yield (
                f"queues: MLPROD_POD_TEMPLATES has no {file}, so pods of tasks in the queue {queue!r} would lack their "
                "environment and volumes. Add it, as a copy of deploy/pods/task.yaml with other resources"
            )


def _template(folder: Path, queue: str) -> Path:
    return folder / f"{queue}.yaml"


def _executor() -> str:
    """The executor of tasks that name none."""
    from airflow.configuration import conf

    return str(conf.get("core", "executor")).partition(",")[0].strip()
