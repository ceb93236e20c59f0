"""Sequential designs against published bounds, and against simulated experiments that are looked at all the time."""

import numpy as np
import pytest

from mlprod_tasks.statistics.sequential import always_valid_half, always_valid_p, bounds, crossed, drift_for, power

FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)


def test_bounds_by_obrien_and_fleming_are_those_that_are_published() -> None:
    assert bounds(FIVE, 0.05, "obrien_fleming") == pytest.approx((4.877, 3.357, 2.680, 2.290, 2.031), abs=5e-4)


def test_one_look_is_the_test_that_is_not_sequential() -> None:
    for spending in ("obrien_fleming", "pocock"):
        assert bounds((1.0,), 0.05, spending) == pytest.approx((1.959964,), abs=1e-6)


def test_five_looks_at_five_percent_give_fourteen_percent_of_false_alarms() -> None:
    assert crossed(FIVE, (1.959964,) * 5).sum() == pytest.approx(0.142, abs=5e-4)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_all_looks_together_spend_alpha_whenever_they_are(spending: str) -> None:
    for shares in (FIVE, (0.07, 0.5, 0.55, 1.0), (0.9, 1.0)):
        assert crossed(shares, bounds(shares, 0.05, spending)).sum() == pytest.approx(0.05, abs=1e-8)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_alpha_is_spent_by_time_however_many_units_come(spending: str) -> None:
    times = (0.25, 0.5, 0.75, 1.0)
    for shares in (times, (0.1, 0.5, 0.6, 0.7), (0.6, 1.3, 2.0, 2.9)):
        limits = bounds(shares, 0.05, spending, times)
        assert crossed(shares, limits).sum() == pytest.approx(0.05, abs=1e-8)
        if shares is times:
            assert limits == bounds(times, 0.05, spending)


def test_the_first_looks_do_not_depend_on_later_ones() -> None:
    assert bounds((0.3, 0.6), 0.05, "pocock") == bounds((0.3, 0.6, 1.0), 0.05, "pocock")[:2]


def test_power_and_drift_agree_with_simulated_experiments() -> None:
    limits = bounds(FIVE, 0.05, "pocock")
    drift = drift_for(FIVE, limits, 0.8)
    random = np.random.default_rng(2)
    steps = random.normal(drift * 0.2, np.sqrt(0.2), (20_000, 5)).cumsum(axis=1)
    found = np.abs(steps / np.sqrt(FIVE)) >= limits
    assert found.any(axis=1).mean() == pytest.approx(0.8, abs=0.01)
    assert power(FIVE, limits, drift) == pytest.approx(0.8, abs=1e-5)


@pytest.mark.parametrize("shares", [(), (0.5, 0.5), (0.0, 1.0), (0.5, 1.1)], ids=("none", "twice", "zero", "beyond"))
def test_looks_ascend_to_the_planned_end(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="give ascending ones"):
        bounds(shares, 0.05, "pocock")


def test_looks_may_be_beyond_the_planned_information_but_not_the_planned_time() -> None:
    with pytest.raises(ValueError, match=r"looks at shares \(1.2, 1.1\) of what is planned: give ascending ones, above 0$"):
        bounds((1.2, 1.1), 0.05, "pocock", (0.5, 1.0))
    with pytest.raises(ValueError, match=r"looks at shares \(0.5, 1.1\) of what is planned: .* above 0 and at most 1$"):
        bounds((0.5, 1.2), 0.05, "pocock", (0.5, 1.1))


def test_an_always_valid_interval_holds_the_truth_at_all_times_together() -> None:
    random = np.random.default_rng(3)
    n = np.arange(1, 2001)
    means = random.normal(0, 1, (2000, 2000)).cumsum(axis=1) / n
    half = np.array([always_valid_half(1 / np.sqrt(k), k, 500, 0.05) for k in n])
    assert np.mean((np.abs(means) > half).any(axis=1)) <= 0.05
    assert np.mean((np.abs(means) > 1.96 / np.sqrt(n)).any(axis=1)) > 0.4  # what looking at a plain interval does


def test_the_always_valid_p_value_is_the_level_whose_interval_ends_at_zero() -> None:
    p = always_valid_p(0.3, 0.1, 400, 400, 0.05)
    assert 0 < p < 0.2
    assert always_valid_p(0.0, 0.1, 400, 400, 0.05) == 1.0
    half = always_valid_half(0.1, 400, 400, 0.05)
    assert always_valid_p(half, 0.1, 400, 400, 0.05) == pytest.approx(0.05)
