"""The memory that learners need to be fitted, told before they start."""

from __future__ import annotations

from collections.abc import Iterable

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import memory

# These read a window from its file in batches; the others need it as a matrix in memory.
FROM_FILE = (ml.LightGBM, ml.Averaging, ml.Constant)
# Bytes per value of both windows at the peak of a fit, the 8 of the matrix included; measured with 46 features, 3 categorical.
BYTES_A_VALUE: dict[type, int] = {
    ml.LightGBM: 23,  # from a matrix, as a member of a stack or in a warm update
    ml.HistGradientBoosting: 31,
    ml.LastValue: 8,
    ml.XGBoost: 31,
    ml.CatBoost: 31,
    ml.RandomForest: 22,
    ml.ExtraTrees: 22,
    ml.LogisticRegression: 70,
    ml.LinearRegression: 70,
    ml.LinearSVM: 70,
    ml.NeuralNet: 70,
}
MOST_BYTES_A_VALUE = 70


def require(
    learners: Iterable[ml.Learner], declared: ml.Model, rows: int, features: int, what: str, in_memory: bool = False
) -> None:
    """Refuse learners that need more memory than is free, before the first of them starts.

    rows: of both windows; what: the pipeline's name, for the message. in_memory: whether LightGBM too needs the matrix.
    Raises: NotEnoughMemory.
    """
    for learner in learners:
        if isinstance(learner, FROM_FILE) and not in_memory:
            continue
        needed = rows * features * _bytes_a_value(learner, declared)
        memory.require(
            needed,
            f"{what}: candidate {learner.name!r} ({type(learner).__name__}), fitted to {rows:,} rows of {features} features,",
            "declare a shorter split.train, or LightGBM, which reads rows in batches",
        )


def _bytes_a_value(learner: ml.Learner, declared: ml.Model) -> int:
    if isinstance(learner, ml.Stacking):
        # Its members are fitted again, to parts of the rows, while the whole matrix is kept.
        return 8 + max((_bytes_a_value(declared.candidate(name), declared) for name in learner.of), default=0)
    return BYTES_A_VALUE.get(type(learner), MOST_BYTES_A_VALUE)
