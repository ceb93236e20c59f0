"""Rows as learners read them, and small learners of every kind."""

from importlib.util import find_spec

import numpy as np

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.learners import Columns, FittedLearner, LearnerRows, fit_learner

COLUMNS = Columns(("signal", "curve", "noise", "empty", "place", "kind"), (4, 5))
ROWS_A_TICK = 50

SINGLES: dict[str, ml.Learner] = {
    learner.name: learner
    for learner in (
        ml.LightGBM(max_trees=30, min_data_in_leaf=20),
        ml.HistGradientBoosting(max_trees=30, min_data_in_leaf=20),
        ml.RandomForest(trees=10, min_data_in_leaf=10),
        ml.ExtraTrees(trees=10, min_data_in_leaf=10),
        ml.LogisticRegression(),
        ml.LinearSVM(),
        ml.NeuralNet(hidden=(8,), learning_rate=0.02, max_epochs=6, batch_rows=64),
        ml.Constant(),
    )
}
if find_spec("xgboost"):  # extras, which the environment of the tests has
    SINGLES["xgboost"] = ml.XGBoost(max_trees=30, min_child_weight=2.0)
if find_spec("catboost"):
    SINGLES["catboost"] = ml.CatBoost(max_trees=30, max_depth=3, learning_rate=0.2)
LEARNERS = SINGLES | {
    "averaging": ml.Averaging(of=("lightgbm", "neural_net")),
    "stacking": ml.Stacking(of=("logistic_regression", "random_forest"), folds=2),
    "stacking_of_mean": ml.Stacking(of=("constant", "averaging"), folds=2, name="stacking_of_mean"),
}
MODEL = ml.Model(candidates=tuple(LEARNERS.values()), threads=1, seed=3)


def rows(n: int, seed: int = 0, places: int = 40, first_tick: int = 0) -> LearnerRows:
    """An outcome that numbers and a category tell, with gaps, a column that is always null, and ticks of 50 rows."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    x[random.random((n, 6)) < 0.05] = np.nan
    x[:, 3] = np.nan
    x[:, 4] = random.integers(0, places, n)
    x[:, 5] = random.integers(0, 3, n)
    x[random.random(n) < 0.1, 5] = np.nan
    log_odds = 1.2 * np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) ** 2 - 2 + 1.5 * (x[:, 5] == 1)
    y = random.random(n) < 1 / (1 + np.exp(-log_odds))
    return LearnerRows(x, y, None, first_tick + np.arange(n) // ROWS_A_TICK)


def fitted(name: str, train: LearnerRows, validation: LearnerRows, declared: ml.Model = MODEL) -> FittedLearner:
    return fit_learner(declared.candidate(name), COLUMNS, train, validation, declared, gap_ticks=1)
