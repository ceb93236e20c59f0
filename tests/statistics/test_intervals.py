"""Intervals against scipy's, and against what they promise: how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlprod_tasks.statistics import intervals


@given(st.integers(1, 5000), st.data())
def test_wilson_is_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = intervals.wilson(successes, trials)
    oracle = stats.binomtest(successes, trials).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    assert 0 <= low <= successes / trials <= high <= 1


def test_a_share_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="0 of 0 is not a share"):
        intervals.wilson(0, 0)


def test_the_interval_of_a_mean_is_scipys_normal_one() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    oracle = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert intervals.of_mean(values) == pytest.approx(oracle)


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.5), (12, 0.1), (300, 0.37), (1000, 0.02)])
def test_successes_of_equal_chances_are_scipys_binomial(trials: int, chance: float) -> None:
    assert intervals.successes(np.full(trials, chance)) == stats.binom.interval(0.95, trials, chance)


def test_of_no_trials_none_succeeds() -> None:
    assert intervals.successes(np.empty(0)) == (0.0, 0.0)


def test_the_bounds_of_successes_leave_out_as_little_as_whole_numbers_can() -> None:
    chances = np.random.default_rng(4).beta(1, 6, 400)
    mass = np.array([1.0])  # of 0, 1, ... successes, one trial after the other
    for chance in chances:
        mass = np.convolve(mass, [1 - chance, chance])
    low, high = (int(bound) for bound in intervals.successes(chances))
    assert mass[:low].sum() < 0.025 <= mass[: low + 1].sum()
    assert mass[high + 1 :].sum() <= 0.025 < mass[high:].sum()


def test_successes_of_unequal_chances_lie_within_their_interval_in_95_of_100_cases() -> None:
    random = np.random.default_rng(2)
    for n in (20, 400, 1500):
        chances = random.beta(1, 6, n)
        low, high = intervals.successes(chances)
        drawn = (
            (random.random((20_000, n)) < chances).sum(axis=1) if n < 1000 else random.binomial(1, chances, (4000, n)).sum(1)
        )
        held = np.mean((low <= drawn) & (drawn <= high))
        assert 0.94 <= held <= 0.995
        assert np.mean((low < drawn) & (drawn < high)) < 0.96, "and it is not wider than it must be"


def test_the_interval_of_a_rank_correlation_holds_the_true_one_in_95_of_100_cases() -> None:
    random, true = np.random.default_rng(3), 0.6
    of_ranks = 6 / np.pi * np.arcsin(true / 2)  # of a bivariate normal distribution (Pearson, 1907)
    held = []
    for _ in range(1000):
        one, noise = random.normal(size=(2, 28))
        value = stats.spearmanr(one, true * one + np.sqrt(1 - true**2) * noise).statistic
        low, high = intervals.of_rank_correlation(value, 28)
        held.append(low <= of_ranks <= high)
    assert 0.93 <= np.mean(held) <= 0.975
    assert intervals.of_rank_correlation(0.9, 3) == (-1.0, 1.0)
    assert intervals.of_rank_correlation(1.0, 20)[1] <= 1.0
