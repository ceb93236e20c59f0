"""Every kind of candidate, fitted to several classes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.class_calibration import FEWEST, ClassCalibration, fit_class_calibration, from_json
from mlprod_tasks.models.learners.lightgbm import parameters
from mlprod_tasks.models.learners.rows import Columns, LearnerRows
from tests.support import own_estimators

COLUMNS = Columns(("amount", "items", "channel"), (2,), (("app", "phone", "web"),))
CANDIDATES = (
    ml.LightGBM(max_trees=20),
    ml.HistGradientBoosting(max_trees=15, min_data_in_leaf=20),
    ml.RandomForest(trees=15, min_data_in_leaf=10),
    ml.ExtraTrees(trees=15, min_data_in_leaf=10),
    ml.LogisticRegression(),
    ml.LinearSVM(),
    ml.NeuralNet(hidden=(16,), learning_rate=0.01, max_epochs=40),
    ml.Constant(),
    ml.XGBoost(max_trees=20, min_child_weight=2.0),
    ml.Estimator("tests.support.own_estimators:linear"),
    ml.CatBoost(max_trees=20, max_depth=3, learning_rate=0.2),
    ml.Averaging(of=("lightgbm", "logistic_regression")),
    ml.Stacking(of=("lightgbm", "logistic_regression"), folds=2),
)
DECLARED = ml.Model(candidates=CANDIDATES, threads=1, seed=3)


def rows(n: int = 900, seed: int = 1) -> LearnerRows:
    """Three classes: by the first number, by the category, and else."""
    random = np.random.default_rng(seed)
    x = np.column_stack((random.normal(size=n), random.integers(0, 5, n), random.integers(0, 3, n))).astype(float)
    x[random.random(x.shape) < 0.05] = np.nan
    pull = np.stack((np.full(n, 0.5), 2 * np.nan_to_num(x[:, 0]), 2.0 * (x[:, 2] == 1)), axis=1)
    return LearnerRows(x, (pull + random.gumbel(size=pull.shape)).argmax(axis=1).astype(np.int64))


@pytest.fixture(scope="module", params=CANDIDATES, ids=lambda one: one.name)
def fitted(request):
    return request.param, learners.fit_learner(request.param, COLUMNS, rows(), rows(300, 2), DECLARED)


def test_probabilities_sum_to_one_and_tell_more_than_the_shares(fitted):
    candidate, learner = fitted
    test = rows(500, 5)
    shares = learner.predict(test.x)
    assert shares.shape == (500, 3)
    assert np.allclose(shares.sum(axis=1), 1)
    constant = np.tile(np.bincount(rows().y) / 900, (500, 1))
    better = log_loss(test.y, shares) < log_loss(test.y, constant) - 0.1
    assert better != (candidate.name == "constant")


def test_a_row_alone_gets_the_same_bits_as_in_its_batch_and_after_saving(fitted, tmp_path):
    _, learner = fitted
    x = rows(60, 6).x
    batch = learner.predict(x)
    learner.save(tmp_path / "one")
    again = learners.load(tmp_path / "one", 1)
    assert (again.predict(x) == batch).all()
    assert (np.concatenate([again.predict(x[i : i + 1]) for i in range(60)]) == batch).all()
    assert learner.predict(x[:0]).shape == (0, 3)
    assert (again.kind, again.size, again.trees) == (learner.kind, learner.size, learner.trees)
    assert again.contributions(x) is None


def test_trees_are_lightgbms_own_and_forests_are_each_class_against_the_others():
    import lightgbm
    from sklearn.ensemble import ExtraTreesClassifier

    train, test = rows(), rows(200, 5)
    given = {**parameters(CANDIDATES[0], DECLARED), "objective": "multiclass", "num_class": 3, "metric": "multi_logloss"}
    data = lightgbm.Dataset(train.x, train.y, categorical_feature=[2])
    trees = lightgbm.train(given, data, 20)
    fitted = learners.fit_learner(replace(CANDIDATES[0], early_stopping_rounds=None), COLUMNS, train, rows(300, 2), DECLARED)
    assert fitted.predict(test.x) == pytest.approx(trees.predict(test.x))
    numbers = Columns(("amount", "items"))
    x, new = (np.nan_to_num(one.x[:, :2]) for one in (train, test))
    declared = ml.ExtraTrees(trees=15, min_data_in_leaf=10)
    ours = learners.fit_learner(declared, numbers, LearnerRows(x, train.y), LearnerRows(new, test.y), DECLARED)
    given = {"n_estimators": 15, "min_samples_leaf": 10, "random_state": 3}
    each = [
        ExtraTreesClassifier(**given).fit(x.astype(np.float32), train.y == code).predict_proba(new)[:, 1] for code in range(3)
    ]
    assert ours.predict(new) == pytest.approx(np.stack(each, axis=1) / np.sum(each, axis=0)[:, None])


def test_xgboosts_trees_are_its_own():
    import xgboost

    learner = ml.XGBoost(max_trees=12, early_stopping_rounds=None, feature_fraction=1.0, bagging_fraction=1.0)
    train, x = rows(), rows(200, 5).x
    given = {"learning_rate": 0.05, "max_depth": 6, "min_child_weight": 10.0, "reg_lambda": 1.0, "tree_method": "hist"}
    kinds = ["float", "float", "c"]
    data, asked = (xgboost.DMatrix(*some, feature_types=kinds, enable_categorical=True) for some in ((train.x, train.y), (x,)))
    trees = xgboost.train({**given, "objective": "multi:softprob", "num_class": 3, "seed": 3, "nthread": 1}, data, 12)
    ours = learners.fit_learner(learner, COLUMNS, train, rows(300, 2), DECLARED)
    assert np.abs(ours.predict(x) - trees.predict(asked)).max() < 1e-6
    assert ours.trees == 36


def test_an_estimator_gives_the_probabilities_of_its_own_classes_and_none_of_others():
    train = rows()
    known = train.take(train.y != 1)
    own = ml.Estimator("tests.support.own_estimators:linear")
    ours = learners.fit_learner(own, COLUMNS, replace(known, classes=3), rows(300, 2), DECLARED)
    alone = own_estimators.linear().fit(ours.frame(known.x), known.y)
    assert list(alone.classes_) == [0, 2]
    expected = alone.predict_proba(ours.frame(train.x[:50]))
    assert ours.predict(train.x[:50])[:, [0, 2]] == pytest.approx(expected, rel=1e-9)
    assert (ours.predict(train.x[:50])[:, 1] == 0).all()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.name)
def test_a_class_without_training_rows_has_hardly_any_probability(candidate):
    train = rows(600)
    shares = learners.fit_learner(candidate, COLUMNS, replace(train.take(train.y != 1), classes=3), rows(300, 2), DECLARED)
    assert shares.predict(train.x).shape == (600, 3)
    assert shares.predict(train.x)[:, 1].max() < 0.02


def test_rows_of_an_estimator_of_linear_algebra_get_the_same_bits_alone_however_seldom_it_rounds_otherwise():
    own = learners.fit_learner(CANDIDATES[9], COLUMNS, rows(), rows(300, 2), DECLARED)
    x = rows(300, 9).x
    alone = np.concatenate([own.predict(x[i : i + 1]) for i in range(len(x))])
    assert (alone == own.predict(x)).all()
    unpadded = np.concatenate([own.predict_together(x[i : i + 1]) for i in range(len(x))])
    assert (unpadded != own.predict_together(x)).any(), "else this would show nothing"


def test_the_mean_of_candidates_is_the_mean_of_their_probabilities(tmp_path):
    train, validation = rows(), rows(300, 2)
    members = {
        one.name: learners.fit_learner(one, COLUMNS, train, validation, DECLARED) for one in (CANDIDATES[0], CANDIDATES[4])
    }
    mean = learners.fit_learner(ml.Averaging(of=tuple(members)), COLUMNS, train, validation, DECLARED, members=members)
    expected = (members["lightgbm"].predict(train.x) + members["logistic_regression"].predict(train.x)) / 2
    mean.save(tmp_path / "mean")
    assert (learners.load(tmp_path / "mean", 1).predict(train.x) == expected).all()


def test_calibration_mends_probabilities_that_are_too_sure():
    random = np.random.default_rng(4)
    true = random.dirichlet((2, 1, 1), 4000)
    came = (true.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    sure = true**3 / (true**3).sum(axis=1, keepdims=True)
    first, later = slice(0, 2000), slice(2000, 4000)
    for way in ("isotonic", "sigmoid"):
        calibrated = fit_class_calibration(way, sure[first], came[first])
        shares = calibrated(sure[later])
        assert np.allclose(shares.sum(axis=1), 1)
        assert log_loss(came[later], shares) < log_loss(came[later], sure[later]) - 0.05
        assert abs(log_loss(came[later], shares) - log_loss(came[later], true[later])) < 0.02
        again = from_json(calibrated.as_json())
        assert (again(sure[:7]) == calibrated(sure[:7])).all()
        assert (np.concatenate([calibrated(sure[i : i + 1]) for i in range(7)]) == calibrated(sure[:7])).all()


def test_a_class_with_few_rows_keeps_its_probability():
    random = np.random.default_rng(4)
    raw, codes = random.dirichlet((2, 1, 0.05), 400), random.integers(0, 2, 400)
    codes[: FEWEST - 1] = 2
    calibrated = fit_class_calibration("isotonic", raw, codes)
    assert isinstance(calibrated, ClassCalibration)
    assert [one.way for one in calibrated.parts] == ["isotonic", "isotonic", "none"]
    codes[: FEWEST + 20] = 2
    assert fit_class_calibration("isotonic", raw, codes).parts[2].way == "sigmoid"
    assert fit_class_calibration("none", raw, codes)(raw) is raw
