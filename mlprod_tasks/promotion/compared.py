"""Whether the champion that a model was compared with is still champion."""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.gate import NotWorseThanChampion, Stable
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.training.workspace import TrainingFolder


class ComparedWithAnother(RuntimeError):
    """The gates compared the model with a version that is not champion any more."""


def compares(pipeline: Pipeline) -> bool:
    """Whether a gate compares models with the champion. Without one, a model needs no comparison to replace another."""
    return any(
        isinstance(gate, NotWorseThanChampion) or (isinstance(gate, Stable) and gate.than == "champion")
        for gate in pipeline.gates
    )


def check_still_champion(pipeline: Pipeline, training_id: str, known: Sequence[Promotion], platform: Platform) -> None:
    """Check that a model was compared with today's champion, in the ledger and by the alias.

    known: the promotions so far, in order.

    Raises: ComparedWithAnother if another version became champion since `evaluate`; StepMissing.
    """
    if not compares(pipeline) or any(one.training_id == training_id for one in known):
        return  # nothing compares, or it was champion itself, so it passed this check before
    evaluated = TrainingFolder(platform, training_id).read(Evaluation)
    compared = evaluated.champion_version
    # Evaluations of release 0.4 do not say what the ledger had.
    recorded_then = compared if evaluated.champion_recorded is None else evaluated.champion_recorded
    recorded = known[-1].model_version if known else None
    alias = platform.registry.champion(pipeline)
    champion = None if alias is None else alias.version
    if recorded in (None, recorded_then) and champion == compared:
        return
    now = recorded if recorded is not None and recorded != recorded_then else champion
    raise ComparedWithAnother(
        f"{pipeline.name}: the model of training {training_id} was compared with {_named(compared)}, but the champion is now "
        f"{_named(now)}, so it is unknown whether it is better: run evaluate and the steps after it again (in Airflow, clear "
        "the task 'evaluate' with what is downstream), or train again"
    )


def _named(version: int | None) -> str:
    return "no champion" if version is None else f"version {version}"
