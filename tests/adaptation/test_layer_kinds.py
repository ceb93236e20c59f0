"""Layers against other libraries; they stay bounded whatever outcomes are, and one row has the bits of many."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlprod_tasks import declaration as ml
from mlprod_tasks.adaptation import classes, log_odds, numbers
from mlprod_tasks.adaptation.fold import Folded, KnownTick, folded
from mlprod_tasks.statistics.class_scores import ClassScores
from mlprod_tasks.statistics.metrics import Estimate
from tests.support.shop import SHOP

WIDE = ml.Adapt(most=9.0, slopes=(0.01, 9.0))
WEIGHTS = (0.25, 0.5, 1.0)


def yes_no(random, n=400, shift=0.6, slope=0.8):
    odds = random.normal(-1.0, 1.2, n)
    return 1 / (1 + np.exp(-odds)), random.random(n) < 1 / (1 + np.exp(-(shift + slope * odds)))


def test_log_odds_are_fitted_as_scikit_learn_fits_them():
    random = np.random.default_rng(1)
    days = [yes_no(random) for _ in WEIGHTS]
    found = log_odds.fit([log_odds.summed(*day) for day in days], WEIGHTS, WIDE, log_odds.UNCHANGED)
    # The prior is data: each row again, as likely positive as the champion says.
    score = np.concatenate([score for score, _ in days])
    outcome, weight = np.concatenate([came for _, came in days]), np.repeat(WEIGHTS, 400)
    right = WIDE.prior / sum(WEIGHTS)
    x = np.log(score / (1 - score))
    rows = np.concatenate([x, x, x])[:, None]
    came = np.concatenate([outcome, np.ones(len(x)), np.zeros(len(x))]).astype(bool)
    weights = np.concatenate([weight, right * weight * score, right * weight * (1 - score)])
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(rows, came, weights)
    # Rows of a bin of 0.05 log odds share one value.
    assert found == pytest.approx((fitted.intercept_[0], fitted.coef_[0, 0]), abs=1e-3)


def test_numbers_are_fitted_as_scikit_learn_fits_them():
    random = np.random.default_rng(2)
    days = [(p := random.normal(1e6, 50, 300), 20 + p + 0.3 * (p - 1e6) + random.normal(0, 30, 300)) for _ in WEIGHTS]
    found = numbers.fit([numbers.summed(*day) for day in days], WEIGHTS, WIDE, numbers.UNCHANGED)
    p, y = (np.concatenate([day[i] for day in days]) for i in (0, 1))
    weight, right = np.repeat(WEIGHTS, 300), WIDE.prior / sum(WEIGHTS)
    centred = np.concatenate([p, p])[:, None] - 1e6
    fitted = LinearRegression().fit(centred, np.concatenate([y, p]) - 1e6, np.concatenate([weight, right * weight]))
    assert found[0] + found[1] * 1e6 - 1e6 == pytest.approx(fitted.intercept_, abs=1e-2)
    assert found[1] == pytest.approx(fitted.coef_[0], abs=1e-4)
    adapted = numbers.layer(found, ())(days[0][0])
    assert numbers.loss(numbers.summed(*days[0]), found) == pytest.approx(((days[0][1] - adapted) ** 2).sum(), rel=1e-6)


def of_classes(random, n=250):
    shares = random.dirichlet((4.0, 2.0, 1.0), n)
    moved = shares**0.8 * np.exp([0.0, 0.7, -0.4])
    moved /= moved.sum(axis=1, keepdims=True)
    came = np.array([random.choice(["a", "b", "c"], p=one) for one in moved], object)
    return ClassScores(("a", "b", "c"), shares), came


def test_classes_are_fitted_as_scipy_finds_the_maximum():
    random = np.random.default_rng(3)
    days = [of_classes(random) for _ in WEIGHTS]
    ticks = [classes.summed(*day) for day in days]
    found = classes.fit(ticks, WEIGHTS, WIDE, classes.UNCHANGED)
    right = WIDE.prior / sum(WEIGHTS)

    def negative(parameters):
        total = 0.0
        for tick, weight in zip(ticks, WEIGHTS, strict=True):
            z = parameters[0] * tick[:, 2:] + np.append(parameters[1:], 0.0)
            logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            target = right * np.exp(tick[:, 2:])
            target[np.arange(len(tick)), tick[:, 1].astype(int)] += 1
            total -= weight * (target * logs).sum()
        return total

    best = minimize(negative, (1.0, 0.0, 0.0), method="BFGS", options={"gtol": 1e-6}).x
    assert found[0] == pytest.approx(best[0], abs=1e-3)
    assert (found[1] - found[3], found[2] - found[3]) == pytest.approx((best[1], best[2]), abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.floats(1e-9, 1.0))
def test_any_outcomes_leave_a_layer_bounded_and_one_row_as_in_a_batch(seed, share, narrow):
    random, adapt = np.random.default_rng(seed), ml.Adapt()
    score = np.clip(0.5 + narrow * (random.random(60) - 0.5), 0.0, 1.0)
    outcome = random.random(60) < share
    intercept, slope = log_odds.fit([log_odds.summed(score, outcome)], [1.0], adapt, log_odds.UNCHANGED)
    assert adapt.slopes[0] <= slope <= adapt.slopes[1]
    layer = log_odds.layer((intercept, slope), ())
    adapted, single = layer(score), layer.single()
    assert np.all(np.isfinite(adapted) & (adapted >= 0) & (adapted <= 1))
    assert [single(float(one)) for one in score] == adapted.tolist()
    shares = random.dirichlet((0.1, 1.0, 1.0), 20)
    of_class = classes.summed(ClassScores(("a", "b", "c"), shares), np.array(["b"] * 20, object))
    many = classes.layer(classes.fit([of_class], [1.0], adapt, classes.UNCHANGED), ("a", "b", "c"))
    assert [many.single()(row) for row in shares.tolist()] == many(ClassScores(("a", "b", "c"), shares)).shares.tolist()
    shift, steep = numbers.fit([numbers.summed(1e3 * score, 1e9 * outcome)], [1.0], adapt, numbers.UNCHANGED)
    assert adapt.slopes[0] <= steep <= adapt.slopes[1]
    moved = numbers.layer((shift, steep), ())(1e3 * score).mean() - 1e3 * score.mean()
    assert abs(moved) <= adapt.most * 1e3 * score.std() + 1e-6


def test_a_gain_on_average_is_enough_unless_confidence_is_asked_for():
    def folded_with(gain: Estimate) -> Folded:
        return Folded((0.1, 1.0), 7.0, (0,), 400, 10, gain, 0.1)

    likely, unlikely, sure = Estimate(0.01, -0.01, 0.03), Estimate(-0.01, -0.03, 0.01), Estimate(0.02, 0.01, 0.03)
    assert [folded_with(one).wins(ml.Adapt()) for one in (likely, unlikely, sure)] == [True, False, True]
    assert [folded_with(one).wins(ml.Adapt(confidence=0.8)) for one in (likely, unlikely, sure)] == [False, False, True]
    assert not folded_with(sure).wins(ml.Adapt(fewest=11))
    with pytest.raises(ValueError, match="confidence 1 must be 0 or more, and less than 1"):
        replace(SHOP, adapt=ml.Adapt(confidence=1.0))


def test_what_is_known_fades_by_its_half_life_until_nothing_is_left():
    random, adapt = np.random.default_rng(4), ml.Adapt(half_life=4.0, window=40, fewest=3)
    ticks = [KnownTick(400, 400, log_odds.summed(*yes_no(random, shift=1.5, slope=1.0)), True) for _ in range(20)]
    known = {of + 1: {of: tick} for of, tick in enumerate(ticks)}
    shifts = [abs(folded(log_odds, adapt, known, 1, now).shift) for now in (20, 24, 32, 40, 59)]
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[0] > 0.2 > 0.02 > shifts[-1] > 0
    nothing = folded(log_odds, adapt, known, 1, 60)
    assert (nothing.learned, nothing.parameters, nothing.wins(adapt)) == ((), (0.0, 1.0), False)
