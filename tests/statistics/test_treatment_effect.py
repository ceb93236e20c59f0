"""Effects against scipy's, against known answers, and against simulated groups."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.treatment_effect import Moments, NoEffect, adjusted, explained, of_means, of_ratios


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


def test_what_covariates_explain_is_r_squared() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(500, 2)) * [1.0, 1e4]
    y = x @ [2.0, 1e-4] + rng.normal(size=500)
    found = explained(Moments.of(np.column_stack([y, x, x[:, 0], np.full(500, 3.0)])))
    design = np.column_stack([np.ones(500), x])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert found == pytest.approx(1 - left.var() / y.var())
    assert explained(Moments.of(np.column_stack([y, np.ones(500)]))) == 0


# What tea-tasting 1.14.0 says of the rows below: Mean("y"), Mean("y", covariate="x") and RatioOfMeans("y", "k"), each with
# use_t=True, equal_var=False. Difference, ends of the interval, p.
TEA_TASTING = {
    "mean": (0.6626284334070238, -0.1370541390188863, 1.4623110058329338, 0.10431108120674609),
    "cuped": (0.33781375183163753, 0.16161908019027843, 0.5140084234729967, 0.00017475501511345494),
    "ratio": (0.12828264308536497, -0.11026850789298112, 0.3668337940637111, 0.2917219659534736),
}


@pytest.mark.parametrize("kind", TEA_TASTING)
def test_means_ratios_and_cuped_are_what_tea_tasting_says(kind: str) -> None:
    rng = np.random.default_rng(11)
    x, treated = rng.gamma(2, 3, 2000), rng.integers(0, 2, 2000)
    k = rng.poisson(3, 2000) + 1
    y = 2 * x + 0.4 * treated + rng.normal(0, 2, 2000)
    read = {"mean": [y], "cuped": [y, x], "ratio": [y, k]}[kind]
    control, other = (Moments.of(np.column_stack(read)[treated == one]) for one in (0, 1))
    effect = {"mean": of_means, "cuped": lambda *groups: adjusted(*groups)[0], "ratio": of_ratios}[kind](control, other)
    found = effect.difference, *effect.interval(0.05), effect.p
    # Its slope is of all units together, not within the groups: a difference in the fourth digit.
    assert found == pytest.approx(TEA_TASTING[kind], rel=1e-2 if kind == "cuped" else 1e-9)
