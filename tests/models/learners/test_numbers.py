"""Learners of numbers: against their libraries, stored and loaded, alone and in a batch."""

from dataclasses import replace
from importlib.util import find_spec

import lightgbm
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import Columns, FittedLearner, LearnerRows, fit_learner, links
from mlprod_tasks.models.learners.lightgbm import parameters
from tests.support import learner_frames as frames

OBJECTIVES = ("l2", "l1", "huber", "poisson", "tweedie", "quantile")
TREES = {name: ml.LightGBM(max_trees=40, min_data_in_leaf=20, objective=name, name=name) for name in OBJECTIVES}
LEARNERS: dict[str, ml.Learner] = {
    **TREES,
    "hist_gradient_boosting": ml.HistGradientBoosting(max_trees=40, min_data_in_leaf=20),
    "random_forest": ml.RandomForest(trees=20, min_data_in_leaf=10, feature_fraction=0.8),
    "extra_trees": ml.ExtraTrees(trees=20, min_data_in_leaf=10, feature_fraction=0.8),
    "linear_regression": ml.LinearRegression(),
    "neural_net": ml.NeuralNet(hidden=(16,), learning_rate=0.01, max_epochs=30, batch_rows=64),
    "constant": ml.Constant(),
    "last_value": ml.LastValue("signal"),
    "seasonal_mean": ml.SeasonalMean(by=("kind",)),
    "stacking": ml.Stacking(of=("l2", "linear_regression", "constant"), folds=2),
    "stacking_of_counts": ml.Stacking(of=("poisson", "neural_net"), folds=2, name="stacking_of_counts"),
    "averaging": ml.Averaging(of=("l2", "linear_regression")),
}
if find_spec("xgboost"):
    LEARNERS |= {
        f"xgboost_{name}": ml.XGBoost(max_trees=40, min_child_weight=5.0, objective=name, name=f"xgboost_{name}")
        for name in ("l2", "l1", "poisson", "tweedie")
    }
if find_spec("catboost"):
    LEARNERS |= {
        f"catboost_{name}": ml.CatBoost(max_trees=40, max_depth=3, learning_rate=0.2, objective=name, name=f"catboost_{name}")
        for name in ("l2", "huber", "tweedie", "quantile")
    }
MODEL = ml.Model(candidates=tuple(LEARNERS.values()), threads=1, seed=3)
EVERY = pytest.mark.parametrize("name", LEARNERS)


def numbers(n: int, seed: int = 0) -> LearnerRows:
    """The rows of the other learners, with an amount as the outcome: skewed, never negative, often small."""
    rows = frames.rows(n, seed)
    random = np.random.default_rng(seed + 100)
    mean = np.exp(0.7 * np.nan_to_num(rows.x[:, 0]) + 0.8 * (rows.x[:, 5] == 1) + 1)
    return LearnerRows(rows.x, random.gamma(2, mean / 2), None, rows.tick)


TRAIN, VALIDATION, TEST = numbers(1500), numbers(500, 1), numbers(700, 2)


def fitted(name: str) -> FittedLearner:
    return fit_learner(LEARNERS[name], frames.COLUMNS, TRAIN, VALIDATION, MODEL)


@pytest.fixture(scope="module")
def every() -> dict[str, FittedLearner]:
    return {name: fitted(name) for name in LEARNERS}


def of_means(name: str) -> np.ndarray:
    """What a baseline predicts if no other candidate predicts a quantile."""
    alone = replace(MODEL, candidates=(LEARNERS[name],))
    return fit_learner(LEARNERS[name], frames.COLUMNS, TRAIN, VALIDATION, alone).predict(TEST.x)


def test_weighted_rows_of_a_season_have_the_quantile_of_repeated_ones():
    """A row of weight w counts as w equal rows; the smallest outcome that has the share is what repeating them gives."""
    weight = np.random.default_rng(5).integers(0, 4, len(TRAIN)).astype(float)
    weighted = replace(TRAIN, weight=weight)
    season = replace(LEARNERS["seasonal_mean"], smoothing=0.0)
    predicted = fit_learner(season, frames.COLUMNS, weighted, VALIDATION, MODEL).predict(TEST.x)
    for kind in (0.0, 1.0):
        own = TRAIN.x[:, 5] == kind
        repeated = np.repeat(TRAIN.y[own], weight[own].astype(int))
        assert predicted[TEST.x[:, 5] == kind] == pytest.approx(np.quantile(repeated, 0.9, method="inverted_cdf"))


@EVERY
def test_it_is_nearer_to_outcomes_than_their_mean(every, name):
    predicted = every[name].predict(TEST.x)
    off, of_mean = (np.abs(TEST.y - one).mean() for one in (predicted, np.full(700, TRAIN.y.mean())))
    if name == "constant":
        assert predicted == pytest.approx(np.full(700, np.quantile(TRAIN.y, 0.9))), "a candidate predicts this quantile"
        assert of_means(name) == pytest.approx(np.full(700, TRAIN.y.mean()))
    elif name == "last_value":
        known = np.isfinite(TEST.x[:, 0])
        assert np.array_equal(predicted, np.where(known, TEST.x[:, 0], np.quantile(TRAIN.y, 0.9)))
        assert np.array_equal(of_means(name), np.where(known, TEST.x[:, 0], TRAIN.y.mean()))
    elif name == "seasonal_mean":
        group, means = TRAIN.y[TRAIN.x[:, 5] == 1], of_means(name)
        of_quantile = (len(group) * np.quantile(group, 0.9) + 10 * np.quantile(TRAIN.y, 0.9)) / (len(group) + 10)
        assert predicted[TEST.x[:, 5] == 1] == pytest.approx(of_quantile)
        assert means[TEST.x[:, 5] == 1] == pytest.approx((group.sum() + 10 * TRAIN.y.mean()) / (len(group) + 10))
        assert np.abs(TEST.y - means).mean() < of_mean
    elif name.endswith("quantile"):
        assert np.mean(TEST.y <= predicted) == pytest.approx(0.9, abs=0.05)
    else:
        assert off < 0.9 * of_mean


@EVERY
def test_contributions_add_up_to_the_prediction_on_the_scale_of_its_link(every, name):
    added = every[name].contributions(TEST.x)
    if name in (
        "averaging",
        "hist_gradient_boosting",
        "random_forest",
        "extra_trees",
        "neural_net",
        "stacking_of_counts",
        "last_value",
        "seasonal_mean",
    ):
        assert added is None
        return
    assert every[name].link == ("log" if name.endswith(("poisson", "tweedie")) else "identity")
    exact = 1e-5 if name.startswith("xgboost") else 1e-6  # XGBoost adds in 32 bits
    assert links.predicted(every[name].link, added.sum(axis=1)) == pytest.approx(every[name].predict(TEST.x), rel=exact)


@EVERY
def test_a_row_alone_is_predicted_bit_for_bit_as_in_its_batch_also_after_loading(every, name, tmp_path):
    predicted = every[name].predict(TEST.x)
    assert [every[name].predict(TEST.x[i : i + 1])[0] for i in range(100)] == predicted[:100].tolist()
    every[name].save(tmp_path / "one")
    again = learners.load(tmp_path / "one", threads=2)
    assert np.array_equal(again.predict(TEST.x), predicted)
    assert again.link == every[name].link
    assert np.array_equal(fitted(name).predict(TEST.x), predicted)


def test_trees_are_lightgbms_of_the_same_parameters():
    learner = ml.LightGBM(max_trees=30, min_data_in_leaf=20, objective="tweedie", tweedie_power=1.3, early_stopping_rounds=None)
    ours = fit_learner(learner, frames.COLUMNS, TRAIN, VALIDATION, MODEL)
    given = parameters(learner, MODEL, of_numbers=True)
    assert (given["objective"], given["tweedie_variance_power"]) == ("tweedie", 1.3)
    data = lightgbm.Dataset(TRAIN.x, TRAIN.y, categorical_feature=[4, 5], params=given)
    theirs = lightgbm.train(given, data, num_boost_round=30)
    assert np.array_equal(ours.predict(TEST.x), theirs.predict(TEST.x))


def test_the_linear_model_is_scikit_learns_ridge_on_the_same_columns():
    from mlprod_tasks.models.learners import design

    learner = ml.LinearRegression(c=0.5)
    ours = fit_learner(learner, frames.COLUMNS, TRAIN, VALIDATION, MODEL)
    columns = design.fit_design(frames.COLUMNS, TRAIN.x, learner.least_category_rows)
    theirs = Ridge(alpha=2.0).fit(columns.dense(TRAIN.x), TRAIN.y)
    assert ours.predict(TEST.x) == pytest.approx(theirs.predict(columns.dense(TEST.x)))


def test_rows_of_one_outcome_give_a_constant():
    rows = LearnerRows(TRAIN.x[:50], np.full(50, -3.5))
    model = fit_learner(ml.LightGBM(), frames.COLUMNS, rows, rows, MODEL)
    assert model.kind == "constant"
    assert model.predict(TEST.x[:2]).tolist() == [-3.5, -3.5]


def test_forests_and_boosting_are_scikit_learns_on_rows_without_categories():
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor

    columns = Columns(frames.COLUMNS.names)
    rows = LearnerRows(np.nan_to_num(TRAIN.x), TRAIN.y, None, TRAIN.tick)
    x, none = np.nan_to_num(TEST.x), rows.take(slice(0, 0))
    given = {"n_estimators": 10, "min_samples_leaf": 10, "max_features": "sqrt", "random_state": 3}
    for learner, theirs in (
        (ml.RandomForest(trees=10, min_data_in_leaf=10), RandomForestRegressor(**given)),
        (ml.ExtraTrees(trees=10, min_data_in_leaf=10), ExtraTreesRegressor(**given)),
        (
            ml.HistGradientBoosting(max_trees=20, min_data_in_leaf=20, lambda_l2=0.0, feature_fraction=1.0),
            HistGradientBoostingRegressor(
                learning_rate=0.05, max_iter=20, min_samples_leaf=20, early_stopping=False, random_state=3
            ),
        ),
    ):
        ours = fit_learner(learner, columns, rows, none, MODEL)
        assert ours.predict(x) == pytest.approx(theirs.fit(rows.x, rows.y).predict(x), rel=1e-6), learner.name


def test_stacking_of_numbers_finds_the_members_that_outcomes_are_made_of():
    random = np.random.default_rng(1)
    x = random.normal(size=(3000, 2))
    rows = LearnerRows(x, 3 * x[:, 0] + random.normal(0, 0.1, 3000) + 50, None, np.arange(3000) // 50)
    good, useless = ml.LinearRegression(name="good"), ml.Constant(name="useless")
    stacked = ml.Stacking(of=("good", "useless"), folds=3)
    model = ml.Model(candidates=(good, useless, stacked), threads=1)
    made = fit_learner(stacked, Columns(("a", "b")), rows, rows.take(slice(0, 100)), model)
    assert made.weights[0] == pytest.approx(1.0, abs=0.02)
    assert np.abs(made.predict(x) - rows.y).mean() < 0.1
    contributions = made.contributions(x)
    assert contributions is not None
    assert np.allclose(contributions.sum(axis=1), made.predict(x))


def test_a_net_learns_numbers_of_any_unit():
    random = np.random.default_rng(2)
    x = random.normal(size=(2000, 2))
    y = np.abs(x[:, 0]) + random.normal(0, 0.1, 2000)
    net = ml.NeuralNet(hidden=(16,), learning_rate=0.01, max_epochs=25, batch_rows=64)
    model = ml.Model(candidates=(net,), seed=3)
    for scale, shift in ((1.0, 0.0), (1e6, 5e7)):
        rows = LearnerRows(x, scale * y + shift)
        made = fit_learner(net, Columns(("a", "b")), rows.take(slice(0, 1500)), rows.take(slice(1500, 2000)), model)
        assert np.abs(made.predict(x) - rows.y).mean() < 0.2 * scale
