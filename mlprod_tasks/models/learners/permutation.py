"""Permutation importance, for learners that have no other importance."""

from __future__ import annotations

import numpy as np

from mlprod_tasks.models.learners.estimator import OwnEstimator
from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.rows import Floats, LearnerRows, in_memory, loss

MOST_ROWS = 5000


def shares(fitted: FittedLearner, rows: LearnerRows, seed: int) -> Floats:
    """Return each feature's share of the loss added by shuffling it, (features,).

    Permutation importance: Breiman (2001), with log loss, or squared error of numbers.
    Uses at most MOST_ROWS rows, drawn with the seed. The share is 0 if shuffling lowers the loss.
    """
    random = np.random.default_rng(seed)
    if len(rows) > MOST_ROWS:
        rows = rows.take(np.sort(random.choice(len(rows), MOST_ROWS, replace=False)))
    rows = in_memory(rows)
    features = rows.x.shape[1]
    if len(rows) == 0:
        return np.zeros(features)
    # np.array copies: shuffling must not change the caller's rows.
    predict = fitted.predict_together if isinstance(fitted, OwnEstimator) else fitted.predict
    x, unshuffled = np.array(rows.x), loss(rows.y, predict(rows.x))
    lost = np.zeros(features)
    for i in range(features):
        kept = x[:, i].copy()
        x[:, i] = random.permutation(kept)
        lost[i] = max(0.0, loss(rows.y, predict(x)) - unshuffled)
        x[:, i] = kept
    return lost / (lost.sum() or 1.0)
