"""Ensembles: the mean is the mean, and a stack never learns from what its members had seen."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import Columns, LearnerRows, ensemble
from mlprod_tasks.models.learners.rows import logit
from tests.support import learner_frames as frames

TRAIN, VALIDATION, TEST = frames.rows(2000), frames.rows(500, 1, first_tick=42), frames.rows(300, 2)
MEMBERS = ("logistic_regression", "lightgbm")


def stack(train: LearnerRows = TRAIN, of: tuple[str, ...] = MEMBERS, folds: int = 3) -> ensemble.StackingModel:
    declared = replace(frames.MODEL, candidates=(*frames.SINGLES.values(), ml.Stacking(of=of, folds=folds)))
    made = frames.fitted("stacking", train, VALIDATION, declared)
    assert isinstance(made, ensemble.StackingModel)
    return made


def test_averaging_is_the_mean_of_probabilities():
    mean = frames.fitted("averaging", TRAIN, VALIDATION)
    each = [frames.fitted(name, TRAIN, VALIDATION).predict(TEST.x) for name in ("lightgbm", "neural_net")]
    assert mean.predict(TEST.x) == pytest.approx(np.mean(each, axis=0), abs=1e-15)
    assert mean.contributions(TEST.x) is None


def test_members_that_are_fitted_already_are_not_fitted_again():
    known = {name: frames.fitted(name, TRAIN, VALIDATION) for name in ("lightgbm", "neural_net")}
    mean = learners.fit_learner(frames.LEARNERS["averaging"], frames.COLUMNS, TRAIN, VALIDATION, frames.MODEL, members=known)
    assert isinstance(mean, ensemble.AveragingModel)
    assert all(member is known[name] for name, member in mean.members)


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("folds", [2, 4])
def test_every_fold_lies_in_the_order_of_time_with_the_gap_between(folds, gap):
    made = list(ensemble._folds(TRAIN, folds, gap))
    assert len(made) == folds
    for past, stop, block in made:
        assert past.tick[0] == 0
        assert past.tick[-1] + gap < stop.tick[0]
        assert stop.tick[-1] + gap < block.tick[0]
        assert stop.tick[0] - past.tick[-1] == block.tick[0] - stop.tick[-1] == gap + 1
    predicted = np.concatenate([block.tick for _, _, block in made])
    assert predicted.tolist() == TRAIN.tick[len(TRAIN) - len(predicted) :].tolist()


def test_no_member_is_fitted_to_a_row_that_is_as_late_as_what_it_predicts(monkeypatch):
    fitted_to: list[tuple[int, int]] = []
    fit = learners.fit_learner

    def watched(learner, columns, train, validation, declared, *more, **named):
        fitted_to.append((int(train.tick[-1]), int(validation.tick[-1])))
        return fit(learner, columns, train, validation, declared, *more, **named)

    monkeypatch.setattr(learners, "fit_learner", watched)
    of = [frames.SINGLES[name] for name in MEMBERS]
    said, rows = ensemble.out_of_time(of, frames.COLUMNS, TRAIN, frames.MODEL, 3, 1, learners.fit_learner)
    assert len(said) == len(rows.y) == 1200
    blocks = [16, 24, 32]  # first ticks of the predicted blocks
    assert fitted_to == [(block - 8 - 2, block - 2) for block in blocks for _ in of]


def test_a_member_that_only_remembers_gets_no_weight():
    """A column that names the row tells everything of training rows and nothing of later ones. With look-ahead the forest that
    remembers it would be trusted above all.
    """
    n = 1500
    random = np.random.default_rng(0)
    signal = random.normal(size=n)
    y = random.random(n) < 1 / (1 + np.exp(-1.5 * signal))
    marked = np.arange(n, dtype=float)
    x = np.column_stack([signal, marked])
    columns = Columns(("signal", "row"))
    memory = ml.ExtraTrees(trees=20, min_data_in_leaf=1, feature_fraction=1.0, name="memory")
    candidates = (memory, ml.LogisticRegression(), ml.Stacking(of=("memory", "logistic_regression")))
    declared = ml.Model(candidates=candidates, threads=1)
    train = LearnerRows(x, y, None, np.arange(n) // 50)
    made = learners.fit_learner(candidates[-1], columns, train, LearnerRows(x, y), declared)
    on_its_own_rows = learners.fit_learner(memory, columns, train, LearnerRows(x, y), declared)
    assert np.mean((on_its_own_rows.predict(x) > 0.5) == y) > 0.99  # it does remember
    assert made.weights[0] < 0.2 < made.weights[1]


def test_weights_are_a_logistic_regression_on_members_log_odds():
    of = [frames.SINGLES[name] for name in ("logistic_regression", "hist_gradient_boosting")]
    said, rows = ensemble.out_of_time(of, frames.COLUMNS, TRAIN, frames.MODEL, 3, 1, learners.fit_learner)
    weights, intercept = ensemble._fit_weights(logit(said, ensemble.SUREST), rows)
    oracle = LogisticRegression(C=np.inf, max_iter=1000).fit(logit(said, ensemble.SUREST), rows.y)
    assert (oracle.coef_ > 0.05).all()
    assert weights == pytest.approx(oracle.coef_[0], abs=0.03)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=0.03)


def test_no_weight_is_negative():
    random = np.random.default_rng(0)
    good = random.normal(size=500)
    rows = LearnerRows(np.empty((500, 0)), random.random(500) < 1 / (1 + np.exp(-good)))
    weights, _ = ensemble._fit_weights(np.column_stack([good, -good]), rows)
    assert weights[0] > 0.5
    assert weights[1] == 0


def test_row_weights_reach_the_stack():
    heavy = replace(TRAIN, weight=np.where(TRAIN.y, 10.0, 1.0))
    assert stack(heavy).predict(TEST.x).mean() > stack().predict(TEST.x).mean() + 0.2


def test_a_stack_of_members_with_exact_contributions_has_them_too():
    made = stack()
    assert made.contributions(TEST.x).sum(axis=1) == pytest.approx(logit(made.predict(TEST.x)), abs=1e-9)


def test_too_few_rows_for_folds_count_members_the_same():
    few = TRAIN.take(slice(0, 6))
    made = stack(replace(few, y=np.array([True, False] * 3)), of=("constant", "logistic_regression"))
    assert made.weights == (0.5, 0.5)
