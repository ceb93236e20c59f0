"""What people should know of how a learner is stored or predicts."""

from __future__ import annotations

from mlprod_tasks.models.learners.ensemble import EnsembleModel
from mlprod_tasks.models.learners.estimator import OwnEstimator
from mlprod_tasks.models.learners.fitted import FittedLearner


def notes_of(learner: FittedLearner) -> tuple[str, ...]:
    """Return the notes of a learner and of an ensemble's members, each once; sentences without their full stop."""
    if isinstance(learner, OwnEstimator):
        return learner.notes
    if isinstance(learner, EnsembleModel):
        return tuple(dict.fromkeys(note for _, member in learner.members for note in notes_of(member)))
    return ()
