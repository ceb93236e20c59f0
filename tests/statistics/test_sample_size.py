"""Sample sizes against R's numbers, and against simulated experiments."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.sample_size import (
    power_for_means,
    smallest_difference,
    units_for_means,
    units_for_proportions,
)


def test_means_need_what_r_says() -> None:
    # power.t.test(delta = 1, sd = 1, power = .9)
    assert units_for_means(1, 1, alpha=0.05, power=0.9) == pytest.approx(22.02110, abs=1e-4)


# statsmodels 0.15.0: TTestIndPower().solve_power(size, alpha=alpha, power=power, ratio=ratio)
STATSMODELS = [
    (1.0, 0.05, 0.9, 1.0, 22.021088441446192),
    (0.15, 0.05, 0.8, 1.0, 698.6381512056056),
    (0.25, 0.01, 0.9, 3.0, 318.25739350885374),
    (0.1, 0.05, 0.8, 0.25, 3925.9674284992693),
]


@pytest.mark.parametrize(("size", "alpha", "power", "ratio", "units"), STATSMODELS)
def test_means_need_what_statsmodels_says(size: float, alpha: float, power: float, ratio: float, units: float) -> None:
    assert units_for_means(3 * size, 3.0, alpha=alpha, power=power, ratio=ratio) == pytest.approx(units, rel=1e-5)


def test_the_smallest_difference_is_what_statsmodels_says() -> None:
    found = smallest_difference(3.0, 500, 1000, alpha=0.05, power=0.8)
    assert found == pytest.approx(3 * 0.15354741703933592, rel=1e-5)


def test_proportions_need_what_r_says() -> None:
    # power.prop.test(.50, .75, power = .9)
    assert units_for_proportions(0.5, 0.75, alpha=0.05, power=0.9) == pytest.approx(76.7, abs=0.05)


def test_with_the_base_share_in_both_twenty_percent_and_five_points_need_1030() -> None:
    assert round(units_for_proportions(0.2, 0.25, alpha=0.05, power=0.8, pooled=False)) == 1030


def test_the_smallest_difference_is_the_one_that_was_planned_for() -> None:
    n = units_for_means(0.3, 2.0, alpha=0.05, power=0.8, ratio=3)
    assert smallest_difference(2.0, n, 3 * n, alpha=0.05, power=0.8) == pytest.approx(0.3, rel=1e-6)


def test_planned_groups_find_the_difference_as_often_as_planned() -> None:
    n = round(units_for_means(0.5, 1.0, alpha=0.05, power=0.8, ratio=2))
    random = np.random.default_rng(1)
    p = stats.ttest_ind(random.normal(0, 1, (4000, 2 * n)), random.normal(0.5, 1, (4000, n)), axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.02)
    assert power_for_means(0.5, 1.0, n, 2 * n, alpha=0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("difference", "sd"), [(0, 1), (1, 0), (1, float("nan")), (1e-9, 1e6)], ids=("none", "same", "nan", "tiny")
)
def test_what_cannot_be_seen_cannot_be_planned(difference: float, sd: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be planned for|too small"):
        units_for_means(difference, sd, alpha=0.05, power=0.8)


def test_shares_must_differ_and_be_shares() -> None:
    for base, other in ((0.2, 0.2), (0.0, 0.1), (0.2, 1.0)):
        with pytest.raises(ValueError, match="two different ones"):
            units_for_proportions(base, other, alpha=0.05, power=0.8)
