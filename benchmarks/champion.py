"""Train a champion by the steps, without what people read of it."""

from __future__ import annotations

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform


def train_champion(pipeline: Pipeline, tick: Tick, training: str, platform: Platform) -> None:
    """Train as of a tick under an id, and promote what comes of it. Raises: GatesRefused."""
    steps.assemble(pipeline, tick, training, "a benchmark", platform)
    steps.train(pipeline, training, platform)
    steps.evaluate(pipeline, training, platform)
    verdict = steps.gate(pipeline, training, platform)
    steps.promote(pipeline, steps.register(pipeline, training, platform), verdict, platform)
