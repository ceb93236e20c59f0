"""Which layer belongs to which task: a module for each, with the same functions."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from mlprod_tasks.adaptation import classes, log_odds, numbers
from mlprod_tasks.declaration import Pipeline

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.state import AdaptationState

_KINDS: dict[str, ModuleType] = {"binary": log_odds, "regression": numbers, "multiclass": classes}


def kind_of(pipeline: Pipeline) -> ModuleType:
    """Return the module of the pipeline's task."""
    return _KINDS[pipeline.task]


def named_parameters(pipeline: Pipeline, state: AdaptationState) -> tuple[tuple[str, float], ...]:
    """Return what a layer is, for people: the name and value of each parameter; without those that scale a learner's inputs."""
    if state.learner:
        return tuple(
            zip(("intercept", "slope", *(f"weight of {name}" for name in state.features)), state.parameters, strict=False)
        )
    return tuple(zip(kind_of(pipeline).parameter_names(state.classes), state.parameters, strict=False))
