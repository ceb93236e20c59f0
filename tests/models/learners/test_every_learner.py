"""What holds for every kind of learner."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import Columns, FittedLearner, LearnerRows
from mlprod_tasks.models.learners.rows import logit
from tests.support import learner_frames as frames

TRAIN, VALIDATION, TEST = frames.rows(1500), frames.rows(500, 1, first_tick=32), frames.rows(700, 2)
EVERY = pytest.mark.parametrize("name", frames.LEARNERS)


@pytest.fixture(scope="module")
def every() -> dict[str, FittedLearner]:
    return {name: frames.fitted(name, TRAIN, VALIDATION) for name in frames.LEARNERS}


@EVERY
def test_it_learns_more_than_the_rate(every, name):
    predicted = every[name].predict(TEST.x)
    assert predicted.shape == (700,)
    if name == "constant":
        assert predicted == pytest.approx(np.full(700, TRAIN.y.mean()))
    else:
        assert roc_auc_score(TEST.y, predicted) > 0.7
        assert log_loss(TEST.y, predicted) < log_loss(TEST.y, np.full(700, TRAIN.y.mean())) - 0.02


@EVERY
def test_a_row_alone_scores_bit_for_bit_as_in_its_batch(every, name):
    predicted = every[name].predict(TEST.x)
    alone = [every[name].predict(TEST.x[i : i + 1])[0] for i in range(150)]
    assert alone == predicted[:150].tolist()
    assert every[name].predict(TEST.x[::-1]).tolist() == predicted[::-1].tolist()
    assert every[name].predict(np.asfortranarray(TEST.x)).tolist() == predicted.tolist()
    assert len(every[name].predict(TEST.x[:0])) == 0


@EVERY
def test_stored_and_loaded_it_answers_bit_for_bit_the_same(every, name, tmp_path):
    every[name].save(tmp_path / "one")
    again = learners.load(tmp_path / "one", threads=2)
    assert np.array_equal(again.predict(TEST.x), every[name].predict(TEST.x))
    assert (again.kind, again.size, again.trees) == (every[name].kind, every[name].size, every[name].trees)
    again.save(tmp_path / "two")
    one, two = ({f.relative_to(at): f.read_bytes() for f in at.rglob("*.*")} for at in (tmp_path / "one", tmp_path / "two"))
    assert one == two
    assert {path.suffix for path in one} <= {".json", ".txt", ".skops", ".cbm"}


@EVERY
def test_the_same_rows_and_seed_give_the_same_files(every, name, tmp_path):
    frames.fitted(name, TRAIN, VALIDATION).save(tmp_path / "again")
    every[name].save(tmp_path / "first")
    for file in (tmp_path / "first").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "first")).read_bytes()


@pytest.mark.parametrize(
    "name", ["lightgbm", "hist_gradient_boosting", "random_forest", "neural_net", "linear_svm", "catboost"]
)
def test_another_seed_gives_another_learner(every, name):
    declared = replace(frames.MODEL, seed=4)
    if name == "linear_svm":  # its solver finds the one optimum
        assert frames.fitted(name, TRAIN, VALIDATION, declared).predict(TEST.x) == pytest.approx(every[name].predict(TEST.x))
    else:
        assert not np.array_equal(frames.fitted(name, TRAIN, VALIDATION, declared).predict(TEST.x), every[name].predict(TEST.x))


@pytest.mark.parametrize("name", ["random_forest", "extra_trees", "hist_gradient_boosting", "neural_net", "catboost"])
def test_threads_do_not_change_what_is_answered(name):
    many = frames.rows(9000, 5)
    answers = [
        frames.fitted(name, TRAIN, VALIDATION, replace(frames.MODEL, threads=threads)).predict(many.x) for threads in (1, 2)
    ]
    assert np.array_equal(*answers)


@EVERY
def test_contributions_sum_to_the_log_odds_where_there_are_any(every, name):
    made = every[name].contributions(TEST.x)
    exact = {"lightgbm", "xgboost", "catboost", "logistic_regression", "linear_svm", "constant"}
    assert (made is not None) == (name in exact)
    if made is not None:
        assert made.shape == (700, 7)
        rounded = 1e-5 if name == "xgboost" else 1e-9  # XGBoost adds in 32 bits
        assert made.sum(axis=1) == pytest.approx(logit(every[name].predict(TEST.x)), abs=rounded)


@EVERY
def test_importance_is_shares_of_features(every, name):
    shares = every[name].importance
    if name in {"neural_net", "averaging", "stacking", "stacking_of_mean"}:
        assert shares is None
        return
    assert shares.shape == (6,)
    assert (shares >= 0).all()
    if name == "constant":
        assert shares.sum() == 0
    else:
        assert shares.sum() == pytest.approx(1)
        assert shares[3] == 0  # always null
        assert shares[0] > shares[2]  # signal and noise


@EVERY
def test_an_unseen_category_is_answered_for(every, name):
    unseen = TEST.x.copy()
    unseen[:, 4] += 1000
    assert np.isfinite(every[name].predict(unseen)).all()


@pytest.mark.parametrize(
    "name", ["hist_gradient_boosting", "logistic_regression", "neural_net", "random_forest", "lightgbm", "catboost"]
)
def test_more_categories_than_bins_are_no_obstacle(name):
    many = frames.rows(3000, places=700)
    model = frames.fitted(name, many, frames.rows(300, 1, places=700))
    assert np.isfinite(model.predict(frames.rows(200, 2, places=900).x)).all()


COLUMN = st.sampled_from(["number", "null", "constant", "huge", "tiny", "code", "null code", "one code"])


@st.composite
def nonsense(draw: st.DrawFn) -> tuple[Columns, LearnerRows, LearnerRows, np.ndarray]:
    """Few rows of columns that tell nothing, and others to score with more and other values."""
    kinds = draw(st.lists(COLUMN, min_size=1, max_size=5))
    n, m = draw(st.integers(1, 60)), draw(st.integers(0, 20))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))

    def made(rows: int, scoring: bool) -> np.ndarray:
        x = np.empty((rows, len(kinds)))
        for i, kind in enumerate(kinds):
            x[:, i] = {
                "number": random.normal(size=rows),
                "null": random.normal(size=rows) if scoring else np.full(rows, np.nan),
                "constant": np.full(rows, 0.1) if not scoring else random.normal(size=rows),
                "huge": random.normal(size=rows) * 1e200,
                "tiny": random.normal(size=rows) * 1e-200,
                "code": random.integers(0, 12 if scoring else 4, rows),
                "null code": random.integers(0, 3, rows) if scoring else np.full(rows, np.nan),
                "one code": random.integers(0, 3, rows) if scoring else np.zeros(rows),
            }[kind]
        x[random.random(x.shape) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
        return x

    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    weighted = draw(st.booleans())
    train, validation = (
        LearnerRows(
            made(k, False), random.random(k) < share, random.random(k) + 0.1 if weighted else None, first + np.arange(k) // 7
        )
        for k, first in ((n, 0), (m, 12))
    )
    columns = Columns(tuple(f"f{i}" for i in range(len(kinds))), tuple(i for i, kind in enumerate(kinds) if "code" in kind))
    return columns, train, validation, made(30, True)


TINY = ml.Model(
    candidates=(
        ml.LightGBM(max_trees=3, min_data_in_leaf=1),
        ml.HistGradientBoosting(max_trees=3, min_data_in_leaf=1),
        ml.RandomForest(trees=2, min_data_in_leaf=1),
        ml.ExtraTrees(trees=2, min_data_in_leaf=1),
        ml.LogisticRegression(least_category_rows=2),
        ml.LinearSVM(least_category_rows=2),
        ml.NeuralNet(hidden=(2,), max_epochs=2, least_category_rows=2),
        ml.Constant(),
        ml.Averaging(of=("lightgbm", "logistic_regression")),
        ml.Stacking(of=("constant", "logistic_regression"), folds=2),
        *([ml.XGBoost(max_trees=3)] if "xgboost" in frames.SINGLES else []),
        *([ml.CatBoost(max_trees=3, max_depth=2)] if "catboost" in frames.SINGLES else []),
    ),
    threads=1,
)


@pytest.mark.parametrize("learner", TINY.candidates, ids=lambda learner: learner.name)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(frame=nonsense())
def test_no_frame_makes_it_fail(learner, frame, tmp_path_factory):
    columns, train, validation, scored = frame
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = learners.fit_learner(learner, columns, train, validation, TINY, gap_ticks=1)
        predicted = model.predict(scored)
    assert np.isfinite(predicted).all()
    assert ((predicted >= 0) & (predicted <= 1)).all()
    at = tmp_path_factory.mktemp("saved")
    model.save(at)
    assert np.array_equal(learners.load(at, 1).predict(scored), predicted)


def test_rows_of_one_class_give_a_rate_that_is_not_certain():
    some = TRAIN.take(slice(0, 98))
    model = learners.fit_learner(
        ml.LightGBM(), frames.COLUMNS, LearnerRows(some.x, np.zeros(98, bool)), VALIDATION, frames.MODEL
    )
    assert model.predict(TEST.x)[0] == pytest.approx(1 / 100)


@pytest.mark.parametrize("name", ["lightgbm", "catboost", "neural_net"])
def test_what_learns_in_steps_reports_its_loss_and_stops_when_told_to(name):
    told: list[tuple[int, float]] = []

    def report(step: int, loss: float) -> bool:
        told.append((step, loss))
        return len(told) == 2

    learner = replace(frames.SINGLES[name], early_stopping_rounds=None)
    model = learners.fit_learner(learner, frames.COLUMNS, TRAIN, VALIDATION, frames.MODEL, report)
    assert [step for step, _ in told] == ([1, 2] if name == "neural_net" else [10, 20])
    if name != "neural_net":
        assert model.trees == 20
        assert told[-1][1] == pytest.approx(log_loss(VALIDATION.y, model.predict(VALIDATION.x)))
    else:
        assert min(loss for _, loss in told) == pytest.approx(log_loss(VALIDATION.y, model.predict(VALIDATION.x)))


@pytest.mark.parametrize("name", ["lightgbm", "catboost", "neural_net"])
def test_reporting_does_not_change_what_is_learned(every, name):
    model = learners.fit_learner(
        frames.SINGLES[name], frames.COLUMNS, TRAIN, VALIDATION, frames.MODEL, lambda step, loss: False
    )
    assert np.array_equal(model.predict(TEST.x), every[name].predict(TEST.x))


def test_a_folder_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "learner.json").write_text('{"kind": "oracle"}')
    with pytest.raises(ValueError, match="learner of kind 'oracle'; known are averaging"):
        learners.load(tmp_path, None)
