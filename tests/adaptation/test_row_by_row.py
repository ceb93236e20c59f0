"""A learner that takes row by row: against plain arithmetic, one row against many, and a whole use case."""

from dataclasses import replace

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.adaptation import log_odds, row_by_row, state
from mlprod_tasks.adaptation.fold import KnownTick, folded
from mlprod_tasks.adaptation.row_by_row import RowLearner, kept_rows
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.scoring.score import score
from tests.support.moved_shop import ADAPT
from tests.support.shop import SHOP

WIDE = ml.Adapt(most=9.0, slopes=(0.01, 9.0))
FAST = ml.RowByRow(("heat", "empty"), rate=0.05)


def learner(yes_no=True, adapt=WIDE):
    return RowLearner(FAST, adapt, (0, 1), yes_no)


def tick(random, n=200, weight=1.5):
    heat, odds = random.normal(20, 5, n), random.normal(-1, 1, n)
    came = random.random(n) < 1 / (1 + np.exp(-(odds + weight * (heat - 20) / 5)))
    return 1 / (1 + np.exp(-odds)), came, [np.where(random.random(n) < 0.1, np.nan, heat), np.full(n, np.nan)]


def test_each_row_moves_it_as_gradient_descent_does():
    random = np.random.default_rng(1)
    score_, came, values = tick(random)
    heat = values[0]
    mean, sd = np.nanmean(heat), np.nanstd(heat)
    by_hand = np.array([0.0, 1.0, 0.0])
    for p, y, h in zip(score_, came, heat, strict=True):
        x = np.array([1.0, np.log(p / (1 - p)), 0.0 if np.isnan(h) else np.clip((h - mean) / sd, -5, 5)])
        by_hand -= FAST.rate * (1 / (1 + np.exp(-by_hand @ x)) - y) * x
    found = learner().learn(row_by_row.NOTHING, kept_rows(score_, came, values))
    assert found[:3] == pytest.approx(by_hand, abs=1e-9)
    assert found[3] == 0.0  # a feature that is always missing


def test_each_row_moves_a_number_as_gradient_descent_does():
    random = np.random.default_rng(2)
    predicted = random.normal(500, 20, 100)
    came, heat = predicted + 10, random.normal(size=100)
    by_hand = np.array([0.0, 1.0, 0.0])
    for p, y, h in zip(predicted, came, heat, strict=True):
        own, right = (p - predicted.mean()) / predicted.std(), (y - predicted.mean()) / predicted.std()
        x = np.array([1.0, own, (h - heat.mean()) / heat.std()])
        by_hand -= FAST.rate * (by_hand @ x - right) * x
    found = learner(yes_no=False).learn((), kept_rows(predicted, came, [heat, np.full(100, np.nan)]))
    assert found[:3] == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("yes_no", [True, False])
def test_one_row_has_the_bits_of_many(yes_no):
    score_, came, values = tick(np.random.default_rng(3))
    one = learner(yes_no)
    layer = one.layer(one.learn((), kept_rows(score_, came, values)), FAST.features)
    many, single = layer(score_, values), layer.single()
    rows = zip(score_, *values, strict=True)
    assert [single(s, [None if np.isnan(v) else v for v in read]) for s, *read in rows] == many.tolist()


@pytest.mark.parametrize("outcome", [True, False])
@pytest.mark.parametrize("yes_no", [True, False])
def test_it_stays_bounded_whatever_comes(yes_no, outcome):
    adapt = ml.Adapt()
    one = RowLearner(ml.RowByRow(("heat", "empty"), rate=1.0), adapt, (0, 1), yes_no)
    parameters = row_by_row.NOTHING
    random = np.random.default_rng(4)
    for _ in range(5):
        values = [random.standard_cauchy(50) * 1e6, np.full(50, np.inf)]
        parameters = one.learn(parameters, kept_rows(random.random(50), np.full(50, outcome), values))
        assert np.all(np.isfinite(parameters))
        if parameters:
            assert max(abs(parameters[0]), *map(abs, parameters[2:4])) <= adapt.most
            assert adapt.slopes[0] <= parameters[1] <= adapt.slopes[1]


def evidence_of(random, ticks, weight, delay=1):
    found = {}
    for of in range(ticks):
        score_, came, values = tick(random, weight=weight)
        known = KnownTick(200, 200, log_odds.summed(score_, came), True, kept_rows(score_, came, values))
        found[of + delay] = {of: known}
    return found


def test_it_is_chosen_where_it_would_have_been_best_and_else_the_layer_is():
    adapt = ml.Adapt(fewest=3, learners=(FAST,))
    learners = {FAST.name: RowLearner(FAST, adapt, (0, 1), True)}
    moved = folded(log_odds, adapt, evidence_of(np.random.default_rng(5), 14, weight=1.5), 1, 14, learners)
    assert moved.chosen == FAST.name
    assert moved.wins(adapt)
    same = folded(log_odds, adapt, evidence_of(np.random.default_rng(6), 14, weight=0.0), 1, 14, learners)
    assert same.chosen != FAST.name
    assert not same.wins(adapt)


def test_a_use_case_is_adapted_by_its_learner_and_the_same_in_any_order(make_moved):
    # A layer of numbers that may hardly move leaves the learner to answer.
    adapt = ml.Adapt(half_life=7.0, fewest=3, window=30, prior=1e6, learners=(ml.RowByRow(("amount",), rate=0.02),))
    forth, back = make_moved("forth", adapt), make_moved("back", adapt)
    ticks = list(forth.pipeline.schedule.range("2024-02-10", "2024-02-11"))
    for one, other in zip(ticks, reversed(ticks), strict=True):
        score(forth.pipeline, one, forth.platform)
        score(back.pipeline, other, back.platform)
    found = state.every(forth.pipeline, forth.platform)
    assert found == state.every(back.pipeline, back.platform)
    assert [(one.learner, one.features, one.half_life, one.answers) for one in found] == [
        ("row_by_row", ("amount",), None, True)
    ] * 2
    assert "the learner 'row_by_row' changes the log loss by -" in found[-1].why
    assert verify(forth.pipeline, ticks[-1], forth.platform).replayed == 0.0
    # Declared later: what was recorded before has no rows for learners, and is read all the same.
    late = make_moved("late", ADAPT)
    score(late.pipeline, ticks[0], late.platform)
    score(late.declared(adapt=adapt).pipeline, ticks[1], late.platform)
    assert [one.learner for one in state.every(late.pipeline, late.platform)] == ["", ""]


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        (ml.RowByRow(()), "has no features"),
        (ml.RowByRow(("amount", "weight")), "reads 'weight', which is no feature: there are channel, amount"),
        (ml.RowByRow(("channel",)), "reads 'channel', which is a category here"),
        (ml.RowByRow(("amount",), rate=0.0), "rate 0 must be above 0 and at most 1"),
    ],
)
def test_a_learner_that_cannot_learn_is_refused(learner, told):
    with pytest.raises(ValueError, match=told):
        replace(SHOP, adapt=ml.Adapt(learners=(learner,)))
