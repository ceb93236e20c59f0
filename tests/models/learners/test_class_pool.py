"""Stacked classes: the weights with the largest likelihood, against scikit-learn and against their neighbours."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import class_pool
from mlprod_tasks.models.learners.rows import Columns, LearnerRows

PENALTY = 1e-3


def drawn(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, LearnerRows]:
    """Two members with errors of their own, and outcomes."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(n, classes))
    y = (true + random.gumbel(size=true.shape)).argmax(axis=1)
    members = [class_pool.shares_of(true + random.normal(0, noise, true.shape)) for noise in (0.5, 1.0)]
    return np.stack(members), LearnerRows(np.empty((n, 0)), y.astype(np.int64))


def test_of_two_classes_it_is_a_logistic_regression_on_log_odds():
    members, rows = drawn(3000, 2)
    weights, intercepts = class_pool.fit_pool(members, rows, 0.0)
    log_odds = (np.log(members[:, :, 1]) - np.log(members[:, :, 0])).T
    theirs = LogisticRegression(C=np.inf, tol=1e-9).fit(log_odds, rows.y)
    assert weights == pytest.approx(theirs.coef_[0].tolist(), abs=2e-3)
    assert intercepts[1] - intercepts[0] == pytest.approx(theirs.intercept_[0], abs=2e-3)
    expected = theirs.predict_proba(log_odds)
    assert class_pool.pooled(weights, intercepts, members) == pytest.approx(expected, abs=2e-3)


def test_no_other_weights_have_a_larger_likelihood():
    members, rows = drawn(2000, 4)
    weights, intercepts = class_pool.fit_pool(members, rows, PENALTY)
    start = np.append(np.full(2, 0.5), np.zeros(4))

    def loss(at: np.ndarray) -> float:
        shares = class_pool.pooled(at[:2].tolist(), at[2:].tolist(), members)
        return log_loss(rows.y, shares) + PENALTY * float((at - start) @ (at - start))

    best = np.array([*weights, *intercepts])
    random = np.random.default_rng(1)
    around = [loss(best + step * random.normal(size=6)) for step in (1e-1, 1e-2, 1e-3) for _ in range(20)]
    assert loss(best) <= min(around)
    assert weights[0] > weights[1], "the member with smaller errors counts more"
    each = [log_loss(rows.y, one) for one in members]
    assert log_loss(rows.y, class_pool.pooled(weights, intercepts, members)) < min(each)


def test_weights_count_rows():
    members, rows = drawn(500, 3)
    twice = class_pool.fit_pool(
        np.concatenate((members, members[:, :200]), axis=1),
        LearnerRows(np.empty((700, 0)), np.concatenate((rows.y, rows.y[:200]))),
        PENALTY,
    )
    weighted = replace(rows, weight=np.where(np.arange(500) < 200, 2.0, 1.0))
    assert np.concatenate(twice) == pytest.approx(np.concatenate(class_pool.fit_pool(members, weighted, PENALTY)), abs=1e-3)


def test_a_member_that_misleads_gets_no_weight():
    members, rows = drawn(2000, 3)
    members[1] = class_pool.shares_of(np.random.default_rng(3).normal(size=(2000, 3)) - np.log(members[0]))
    weights, _ = class_pool.fit_pool(members, rows, PENALTY)
    assert weights[1] == 0


def test_a_class_that_comes_late_is_stacked_too():
    """The first blocks of time have no row of it: members that are fitted to them give it hardly any probability."""
    random = np.random.default_rng(2)
    x = random.normal(size=(1500, 2))
    y = (x[:, 0] + random.normal(size=1500) > 0).astype(np.int64)
    y[1200:][random.random(300) < 0.4] = 2
    trees, linear = ml.LightGBM(max_trees=10, min_data_in_leaf=20), ml.LogisticRegression()
    stacking = ml.Stacking(of=(trees.name, linear.name), folds=3)
    declared = ml.Model(candidates=(trees, linear, stacking), threads=1)
    rows = LearnerRows(x, y, tick=np.arange(1500) // 50)
    made = learners.fit_learner(stacking, Columns(("a", "b")), rows, rows, declared, gap_ticks=1)
    shares = made.predict(x)
    assert np.allclose(shares.sum(axis=1), 1)
    assert shares[:, 2].mean() > 0.02
