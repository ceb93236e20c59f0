"""Which layer belongs to which task: a module for each, with the same functions."""

from __future__ import annotations

from types import ModuleType

from mlprod_tasks.adaptation import classes, log_odds, numbers
from mlprod_tasks.declaration import Pipeline

_KINDS: dict[str, ModuleType] = {"binary": log_odds, "regression": numbers, "multiclass": classes}


def kind_of(pipeline: Pipeline) -> ModuleType:
    """Return the module of the pipeline's task."""
    return _KINDS[pipeline.task]
