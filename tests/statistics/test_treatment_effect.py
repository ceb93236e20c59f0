"""Effects against scipy's, against known answers, and against simulated groups."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.treatment_effect import Moments, NoEffect, adjusted, of_means, of_ratios


def drawn(seed: int, n: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 1, (n, 1)) + mean


def test_means_are_compared_as_welch_does() -> None:
    control, treated = drawn(1, 300), drawn(2, 200, 0.2)
    effect = of_means(Moments.of(control), Moments.of(treated))
    oracle = stats.ttest_ind(treated[:, 0], control[:, 0], equal_var=False)
    assert effect.p == pytest.approx(oracle.pvalue)
    assert effect.interval(0.05) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert effect.lift == pytest.approx(treated.mean() / control.mean() - 1)
    assert np.sign(effect.z) == np.sign(effect.difference)


def test_a_ratio_of_equal_denominators_is_a_mean() -> None:
    groups = [np.hstack([drawn(seed, 150), np.full((150, 1), 2.0)]) for seed in (1, 2)]
    ratio, mean = of_ratios(*map(Moments.of, groups)), of_means(*map(Moments.of, groups))
    assert (ratio.difference, ratio.error) == pytest.approx((mean.difference / 2, mean.error / 2))


def test_the_error_of_a_ratio_is_how_much_it_varies() -> None:
    random = np.random.default_rng(4)

    def group() -> np.ndarray:
        rows = random.poisson(3, 400) + 1.0
        return np.column_stack([rows * random.normal(2, 0.5, 400) + random.normal(0, 1, 400), rows])

    effects = [of_ratios(Moments.of(group()), Moments.of(group())) for _ in range(1500)]
    assert np.mean([one.error for one in effects]) == pytest.approx(np.std([one.difference for one in effects]), rel=0.05)
    assert np.mean([one.p < 0.05 for one in effects]) == pytest.approx(0.05, abs=0.015)


def test_a_covariate_takes_away_the_square_of_its_correlation() -> None:
    random = np.random.default_rng(5)

    def group(effect: float) -> np.ndarray:
        before = random.normal(0, 1, 20_000)
        return np.column_stack([effect + 0.8 * before + 0.6 * random.normal(0, 1, 20_000), before])

    better, explained = adjusted(Moments.of(group(0.0)), Moments.of(group(0.1)))
    assert explained == pytest.approx(0.64, abs=0.01)
    low, high = better.interval(0.01)
    assert low < 0.1 < high


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.ones((1, 1)), "1 units with a value"),
        (np.ones((5, 1)), "same value"),
        (np.array([[1.0], [np.inf]]), "not finite"),
    ],
    ids=("one", "alike", "infinite"),
)
def test_groups_that_show_nothing_give_no_number(values: np.ndarray, why: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(NoEffect, match=why):
        of_means(
            Moments.of(values) if len(values) > 1 else Moments(1, values[0], np.zeros((1, 1))), Moments.of(np.ones((5, 1)))
        )


def test_a_covariate_that_is_the_same_for_all_explains_nothing() -> None:
    group = Moments.of(np.column_stack([drawn(1, 50)[:, 0], np.ones(50)]))
    with pytest.raises(NoEffect, match="no covariate varies"):
        adjusted(group, group)


def test_several_covariates_are_what_least_squares_with_one_slope_each_gives() -> None:
    rng = np.random.default_rng(5)
    groups = []
    for effect, n in ((0.0, 400), (0.3, 300)):
        x = rng.normal(size=(n, 2)) * [1.0, 1e4]
        groups.append(np.column_stack([effect + x @ [2.0, 1e-4] + rng.normal(size=n), x, x[:, 0], np.full(n, 3.0)]))
    better, explained = adjusted(*map(Moments.of, groups))
    values, treated = np.vstack(groups), np.repeat([0.0, 1.0], [400, 300])
    # Pooled within the groups: their means are left out of the slopes.
    design = np.column_stack([np.ones(700), treated, values[:, 1:3]])
    oracle = np.linalg.lstsq(design, values[:, 0], rcond=None)[0]
    assert better.difference == pytest.approx(oracle[1])
    left = values[:, 0] - design @ oracle
    assert better.error == pytest.approx(
        sum(left[treated == one].var(ddof=1) / (treated == one).sum() for one in (0, 1)) ** 0.5
    )
    raw = of_means(*map(Moments.of, groups))
    assert explained == pytest.approx(1 - (better.error / raw.error) ** 2)
    assert explained > 0.7
