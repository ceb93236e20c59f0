"""Permutation importance, for learners without an importance of their own."""

from __future__ import annotations

import numpy as np

from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.rows import Floats, LearnerRows, log_loss

MOST_ROWS = 5000


def shares(fitted: FittedLearner, rows: LearnerRows, seed: int) -> Floats:
    """Each feature's share of the log loss that is added when its values are shuffled among rows (Breiman, 2001), (features,).

    At most MOST_ROWS rows, drawn by the seed. A feature without which the loss is less has share 0.
    """
    random = np.random.default_rng(seed)
    if len(rows) > MOST_ROWS:
        rows = rows.take(np.sort(random.choice(len(rows), MOST_ROWS, replace=False)))
    features = rows.x.shape[1]
    if len(rows) == 0:
        return np.zeros(features)
    # np.array: shuffling must not reach the caller's rows.
    x, least = np.array(rows.x), log_loss(rows.y, fitted.predict(rows.x))
    lost = np.zeros(features)
    for i in range(features):
        kept = x[:, i].copy()
        x[:, i] = random.permutation(kept)
        lost[i] = max(0.0, log_loss(rows.y, fitted.predict(x)) - least)
        x[:, i] = kept
    return lost / (lost.sum() or 1.0)
