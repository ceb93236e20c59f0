"""The difference of quantiles against the bootstrap, and how often its interval holds the true one."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.quantile_effect import moments_of_quantile, neighbours
from mlprod_tasks.statistics.treatment_effect import Effect, Moments, NoEffect, of_means


def moments(values: np.ndarray, quantile: float) -> Moments:
    around = neighbours(len(values), quantile)
    beside = None if around is None else tuple(np.quantile(values, around))
    return moments_of_quantile(len(values), float(np.quantile(values, quantile)), beside)


def effect(control: np.ndarray, treated: np.ndarray, quantile: float) -> Effect:
    return of_means(moments(control, quantile), moments(treated, quantile))


@pytest.mark.parametrize("quantile", [0.5, 0.9])
@pytest.mark.parametrize("name", ["normal", "lognormal"])
def test_the_standard_error_is_about_that_of_the_bootstrap(name, quantile):
    random = np.random.default_rng(3)
    values = getattr(random, name)(size=4000)
    oracle = stats.bootstrap(
        (values,), lambda x, axis: np.quantile(x, quantile, axis=axis), n_resamples=1000, rng=random, method="percentile"
    )
    found = moments(values, quantile)
    assert float(np.sqrt(found.covariance[0, 0] / found.n)) == pytest.approx(oracle.standard_error, rel=0.25)
    assert found.mean[0] == np.quantile(values, quantile)


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
def test_the_interval_of_a_difference_holds_the_true_one_as_often_as_it_says(quantile):
    random = np.random.default_rng(7)
    truth = stats.expon.ppf(quantile, scale=2) - stats.expon.ppf(quantile)
    held = 0
    for _ in range(1000):
        low, high = effect(random.exponential(size=300), random.exponential(2, size=400), quantile).interval(0.05)
        held += low <= truth <= high
    assert 930 <= held <= 980


def test_too_few_units_show_no_effect_and_neither_do_units_that_are_alike():
    assert neighbours(30, 0.99) is None
    assert neighbours(3, 0.5) is None
    few = np.arange(30.0)
    with pytest.raises(NoEffect):
        effect(few, few, 0.99)
    with pytest.raises(NoEffect):
        effect(np.zeros(1000), np.zeros(1000), 0.5)
