"""Check that a stored model was trained for the task that its use case declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline

if TYPE_CHECKING:
    from mlprod_tasks.models.fallback import FallbackModel
    from mlprod_tasks.models.model import Model
    from mlprod_tasks.models.segmented import SegmentedModel


class OtherTask(ValueError):
    """A model was trained for another task than its use case declares now."""


def check_task(pipeline: Pipeline, model: Model | SegmentedModel | FallbackModel, version: int) -> None:
    """Check the model, or the fallback, of a version. Raises: OtherTask.

    What it gives has another meaning than what is declared: a probability is no number of the outcome's unit.
    """
    if model.task != pipeline.task:
        raise OtherTask(
            f"{pipeline.name}: version {version} was trained for task {model.task!r}, but the use case declares "
            f"{pipeline.task!r}: what predicts something else is another use case, so give it a name of its own"
        )
