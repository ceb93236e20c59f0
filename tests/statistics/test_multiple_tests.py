"""Corrections for several tests, and tests of group sizes, against published numbers and scipy's."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.multiple_tests import benjamini_hochberg, holm, same_share_p, sample_ratio_p

P = (0.01, 0.04, 0.03, 0.005)


def test_holm_multiplies_the_smallest_by_all_and_the_next_by_one_less() -> None:
    assert holm(P) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_benjamini_and_hochberg_are_scipys() -> None:
    assert benjamini_hochberg(P) == pytest.approx(stats.false_discovery_control(P))


def test_adjusted_p_values_are_probabilities_in_the_same_order() -> None:
    p = np.random.default_rng(1).random(50)
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p)
        assert (adjusted >= p).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize(("counts", "p"), [((821_588, 815_482), 1.8e-6), ((600, 400), 2.5e-10)], ids=("millions", "thousand"))
def test_the_sample_ratio_test_gives_the_published_numbers(counts: tuple[int, int], p: float) -> None:
    assert sample_ratio_p(counts, (0.5, 0.5)) == pytest.approx(p, rel=0.05)


def test_groups_without_units_are_as_they_were_to_be() -> None:
    assert sample_ratio_p((0, 0), (0.5, 0.5)) == 1.0


def test_shares_are_compared_as_scipy_does() -> None:
    oracle = stats.chi2_contingency([[30, 60], [970, 940]], correction=False).pvalue
    assert same_share_p((30, 60), (1000, 1000)) == pytest.approx(oracle)
    assert same_share_p((0, 0), (10, 10)) == 1.0
