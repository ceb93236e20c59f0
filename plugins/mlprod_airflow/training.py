"""Parts of the train DAG that depend on the declaration: the number of search workers, and a person's approval."""

from __future__ import annotations

from typing import Any

from mlprod_tasks.declaration import Pipeline


def workers(pipeline: Pipeline) -> list[int]:
    """The numbers of the search's workers; one if no search is declared, which logs that it has nothing to do."""
    declared = pipeline.model.search
    return list(range(declared.workers if declared else 1))


def approved(pipeline: Pipeline, passed_digest: Any) -> Any:
    """The task after which the model may be registered: the gate, or a person's approval after it if one is declared."""
    if pipeline.approval is None:
        return passed_digest
    from mlprod_airflow.approval import Approve

    return passed_digest >> Approve(task_id="approve", pipeline=pipeline)
