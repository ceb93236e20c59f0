"""Learners against scikit-learn and LightGBM used directly."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import Columns, LearnerRows, design
from mlprod_tasks.models.learners.rows import expit, logit
from mlprod_tasks.models.learners.rows import log_loss as ours
from tests.support import learner_frames as frames

TRAIN, VALIDATION, TEST = frames.rows(1500), frames.rows(500, 1), frames.rows(400, 2)
NUMBERS = Columns(("signal", "curve", "noise"))
WEIGHT = np.random.default_rng(9).random(1500) + 0.2


def numbers(rows: LearnerRows, weight: np.ndarray | None = None) -> LearnerRows:
    """The numeric columns alone, where encodings differ in nothing."""
    return LearnerRows(rows.x[:, :3], rows.y, weight)


def test_lightgbm_is_lightgbm_train():
    learner = ml.LightGBM(max_trees=200, learning_rate=0.2, min_data_in_leaf=20, early_stopping_rounds=5, max_depth=4)
    made = learners.fit_learner(learner, frames.COLUMNS, LearnerRows(TRAIN.x, TRAIN.y, WEIGHT), VALIDATION, frames.MODEL)
    params = {
        "objective": "binary", "metric": "auc", "learning_rate": 0.2, "num_leaves": 31, "max_depth": 4, "min_data_in_leaf": 20,
        "feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0, "num_threads": 1, "seed": 3,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    data = lightgbm.Dataset(TRAIN.x, TRAIN.y, weight=WEIGHT, categorical_feature=[4, 5], params=params)
    oracle = lightgbm.train(
        params,
        data,
        200,
        [data.create_valid(VALIDATION.x, VALIDATION.y)],
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
    )
    assert made.trees == oracle.best_iteration < 200
    assert np.array_equal(made.predict(TEST.x), oracle.predict(TEST.x))
    assert made.contributions(TEST.x) == pytest.approx(oracle.predict(TEST.x, pred_contrib=True))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_hist_gradient_boosting_is_scikit_learns_until_its_best_tree(weight):
    learner = ml.HistGradientBoosting(
        max_trees=80, learning_rate=0.3, min_data_in_leaf=20, feature_fraction=1.0, early_stopping_rounds=10
    )
    made = learners.fit_learner(learner, frames.COLUMNS, LearnerRows(TRAIN.x, TRAIN.y, weight), VALIDATION, frames.MODEL)
    x, test = (np.where(np.arange(6) == 3, 0.0, rows.x) for rows in (TRAIN, TEST))  # it cannot read a column of nulls
    with threadpool_limits(1):
        oracle = HistGradientBoostingClassifier(
            learning_rate=0.3,
            max_iter=made.trees + 10,
            min_samples_leaf=20,
            l2_regularization=1.0,
            categorical_features=[4, 5],
            early_stopping=False,
            random_state=3,
        ).fit(x, TRAIN.y, sample_weight=weight)
        losses = [log_loss(VALIDATION.y, p[:, 1]) for p in oracle.staged_predict_proba(VALIDATION.x)]
        *_, expected = (p for p, _ in zip(oracle.staged_predict_proba(test), range(made.trees), strict=False))
    assert made.predict(TEST.x) == pytest.approx(expected[:, 1], abs=1e-12)
    assert np.argmin(losses) == made.trees - 1 < 69


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        (ml.RandomForest(trees=12, min_data_in_leaf=5, max_depth=6), RandomForestClassifier),
        (ml.ExtraTrees(trees=12, min_data_in_leaf=5, max_depth=6), ExtraTreesClassifier),
    ],
    ids=["random_forest", "extra_trees"],
)
def test_a_forest_on_numbers_is_scikit_learns(learner, kind, weight):
    made = learners.fit_learner(learner, NUMBERS, numbers(TRAIN, weight), numbers(VALIDATION), frames.MODEL)
    oracle = kind(12, min_samples_leaf=5, max_depth=6, random_state=3).fit(TRAIN.x[:, :3], TRAIN.y, sample_weight=weight)
    assert np.array_equal(made.predict(TEST.x[:, :3]), oracle.predict_proba(TEST.x[:, :3])[:, 1])
    assert made.importance == pytest.approx(oracle.feature_importances_)


def test_a_forest_reads_categories_as_rates_that_do_not_know_the_row_itself():
    """With one row a category, a rate that counts the row is the outcome itself, and every other row scores the base rate."""
    n = 400
    y = np.random.default_rng(0).random(n) < 0.5
    x = np.arange(n, dtype=float)[:, None]
    made = learners.fit_learner(
        ml.RandomForest(trees=5, min_data_in_leaf=1), Columns(("id",), (0,)), LearnerRows(x, y), VALIDATION, frames.MODEL
    )
    assert np.corrcoef(made.predict(x), y)[0, 1] < 0.5


def encoder() -> ColumnTransformer:
    """The columns of a linear learner in scikit-learn's words."""
    number = make_pipeline(SimpleImputer(strategy="mean", add_indicator=True), StandardScaler())
    category = OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist")
    return ColumnTransformer([("numbers", number, [0, 1, 2]), ("categories", category, [4, 5])], sparse_threshold=0)


def test_the_design_is_scikit_learns_but_for_the_scale_of_indicators():
    few = frames.rows(900, 4, places=60)
    made = design.fit_design(frames.COLUMNS, few.x, 20).sparse(few.x)
    assert issparse(made)
    assert np.array_equal(made.toarray(), design.fit_design(frames.COLUMNS, few.x, 20).dense(few.x))
    theirs = encoder().fit_transform(few.x)
    # Column by column, up to order: the same span.
    assert made.shape == theirs.shape
    both = np.hstack([made.toarray(), theirs, np.ones((900, 1))])
    assert np.linalg.matrix_rank(both, tol=1e-6) == np.linalg.matrix_rank(np.hstack([theirs, np.ones((900, 1))]), tol=1e-6)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_logistic_regression_is_scikit_learns_on_that_design(weight):
    learner = replace(frames.SINGLES["logistic_regression"], c=1e6)  # without a penalty, scales do not matter
    made = learners.fit_learner(learner, NUMBERS, numbers(TRAIN, weight), numbers(VALIDATION), frames.MODEL)
    pipeline = make_pipeline(SimpleImputer(strategy="mean", add_indicator=True), StandardScaler())
    x = pipeline.fit_transform(TRAIN.x[:, :3])
    oracle = LogisticRegression(C=1e6, tol=1e-7, max_iter=1000).fit(x, TRAIN.y, sample_weight=weight)
    assert made.predict(TEST.x[:, :3]) == pytest.approx(oracle.predict_proba(pipeline.transform(TEST.x[:, :3]))[:, 1], abs=1e-4)


def test_the_svm_is_scikit_learns_calibrated_on_its_newest_rows():
    """Calibrated by scikit-learn on the same held-out rows; the machine is then refitted to all rows, as the learner's is."""
    learner = ml.LinearSVM(c=0.1)
    complete = replace(TRAIN, x=np.nan_to_num(TRAIN.x), tick=None)
    made = learners.fit_learner(learner, NUMBERS, numbers(complete), numbers(VALIDATION), frames.MODEL)
    x, y = complete.x[:, :3], complete.y
    early = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)).fit(x[:1200], y[:1200])
    sigmoid = CalibratedClassifierCV(FrozenEstimator(early), method="sigmoid").fit(x[1200:], y[1200:])
    line = sigmoid.calibrated_classifiers_[0].calibrators[0]
    final = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)).fit(x, y)
    expected = line.predict(final.decision_function(np.nan_to_num(TEST.x[:, :3])))
    assert made.predict(np.nan_to_num(TEST.x[:, :3])) == pytest.approx(expected, abs=0.02)  # Platt smooths the outcomes


def test_the_net_is_scikit_learns_after_its_best_epoch():
    learner = ml.NeuralNet(hidden=(6, 4), max_epochs=5, learning_rate=0.02, batch_rows=100, early_stopping_rounds=None)
    complete = LearnerRows(np.nan_to_num(TRAIN.x[:, :3]), TRAIN.y)
    watched = LearnerRows(np.nan_to_num(VALIDATION.x[:, :3]), VALIDATION.y)
    losses: list[float] = []
    made = learners.fit_learner(learner, NUMBERS, complete, watched, frames.MODEL, lambda step, loss: bool(losses.append(loss)))
    scale = StandardScaler().fit(complete.x)
    oracle = MLPClassifier((6, 4), learning_rate_init=0.02, batch_size=100, random_state=np.random.RandomState(3))
    for _ in range(int(np.argmin(losses)) + 1):
        oracle.partial_fit(scale.transform(complete.x), complete.y, classes=[False, True])
    expected = oracle.predict_proba(scale.transform(watched.x))[:, 1]
    assert made.predict(watched.x) == pytest.approx(expected, abs=1e-6)
    assert min(losses) == pytest.approx(log_loss(watched.y, made.predict(watched.x)))


def test_linear_contributions_are_those_of_independent_features():
    """coefficient * (value - mean), Lundberg and Lee (2017), on complete numbers."""
    complete = LearnerRows(np.nan_to_num(TRAIN.x[:, :3]), TRAIN.y)
    made = learners.fit_learner(ml.LogisticRegression(), NUMBERS, complete, numbers(VALIDATION), frames.MODEL)
    scale = StandardScaler().fit(complete.x)
    oracle = LogisticRegression(max_iter=1000).fit(scale.transform(complete.x), TRAIN.y)
    test = np.nan_to_num(TEST.x[:, :3])
    assert made.contributions(test)[:, :3] == pytest.approx(oracle.coef_[0] * scale.transform(test), abs=1e-3)


def test_log_loss_log_odds_and_their_inverse_are_the_usual_ones():
    p = np.array([0.0, 1e-12, 0.3, 0.9, 1.0])
    y = np.array([False, True, False, True, True])
    assert ours(y[1:4], p[1:4]) == pytest.approx(log_loss(y[1:4], p[1:4]))
    weight = np.array([1.0, 2.0, 0.5])
    assert ours(y[1:4], p[1:4], weight) == pytest.approx(log_loss(y[1:4], p[1:4], sample_weight=weight))
    assert expit(logit(p)) == pytest.approx(p)
    assert expit(np.array([-1e4, 0, 1e4])).tolist() == [0.0, 0.5, 1.0]
