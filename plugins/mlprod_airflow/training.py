"""How the train DAG follows the declaration: as many search workers as declared, a person's approval where it is."""

from __future__ import annotations

from typing import Any

from mlprod_tasks.declaration import Pipeline


def workers(pipeline: Pipeline) -> list[int]:
    """The numbers of the search's workers; without a declared search one, which finds nothing to do and says so."""
    declared = pipeline.model.search
    return list(range(declared.workers if declared else 1))


def approved(pipeline: Pipeline, passed_digest: Any) -> Any:
    """The task after which the model may be registered: the gate, or where it is declared a person's approval behind it."""
    if pipeline.approval is None:
        return passed_digest
    from mlprod_airflow.approval import Approve

    return passed_digest >> Approve(task_id="approve", pipeline=pipeline)
