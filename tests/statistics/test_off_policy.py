"""Values of policies against known answers, and against policies that were let loose on simulated rows."""

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.statistics.off_policy import FEWEST_EFFECTIVE, Logged, NoOverlap, effective_rows, evaluate

LOGGING, TARGET = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
MEANS = np.array([1.0, 2.0, 4.0])


def logged(seed: int, n: int = 4000) -> Logged:
    random = np.random.default_rng(seed)
    arm = random.choice(3, n, p=LOGGING)
    return Logged(arm, random.normal(MEANS[arm], 2.0), LOGGING[arm])


def test_a_log_counted_by_hand_gives_the_exact_value() -> None:
    arm = np.tile([0, 0, 1, 1], 25)
    log = Logged(arm, np.where(arm == 0, 1.0, 3.0), np.full(100, 0.5))
    found = evaluate(log, np.array([0.25, 0.75]), expected=np.array([1.0, 3.0]))
    # 0.25 * 1 + 0.75 * 3; weights are 0.5 and 1.5: (50 * 0.5 + 50 * 1.5) ** 2 / (50 * 0.25 + 50 * 2.25) rows.
    assert (found.ips.value, found.snips.value, found.doubly_robust.value) == pytest.approx((2.5, 2.5, 2.5))
    assert found.effective == pytest.approx(80.0)
    assert found.doubly_robust.error == pytest.approx(0.0, abs=1e-12)  # the model is exact: nothing is left to weight


def test_the_logging_policy_is_worth_what_it_earned() -> None:
    log = logged(1)
    found = evaluate(log, LOGGING)
    oracle = stats.ttest_1samp(log.reward, 0.0).confidence_interval(0.95)
    for one in (found.logged, found.ips, found.snips):
        assert one.value == pytest.approx(log.reward.mean())
        assert one.interval(0.05) == pytest.approx((oracle.low, oracle.high))
    assert found.effective == pytest.approx(len(log.reward))


def test_intervals_hold_the_value_that_the_policy_earns_when_it_chooses() -> None:
    truth = float(TARGET @ MEANS)
    held, errors, values = [], [], []
    for seed in range(600):
        found = evaluate(logged(seed, 1500), TARGET)
        three = (found.ips, found.snips, found.doubly_robust)
        held.append([one.interval(0.05)[0] <= truth <= one.interval(0.05)[1] for one in three])
        errors.append([one.error for one in three])
        values.append([one.value for one in three])
    assert np.mean(held, axis=0).min() > 0.92
    assert np.mean(values, axis=0) == pytest.approx(truth, rel=0.01)
    assert np.mean(errors, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.08)
    assert np.mean(errors, axis=0)[2] < 0.9 * np.mean(errors, axis=0)[0]  # a model of the rewards narrows it


def test_a_wrong_model_of_the_rewards_does_not_bias_the_doubly_robust_value() -> None:
    values = [evaluate(logged(seed), TARGET, expected=np.array([9.0, -9.0, 0.0])).doubly_robust.value for seed in range(200)]
    assert np.mean(values) == pytest.approx(float(TARGET @ MEANS), abs=0.05)


def test_the_self_normalised_value_moves_with_the_rewards() -> None:
    log = logged(3)
    more = Logged(log.arm, log.reward + 100, log.propensity)
    assert evaluate(more, TARGET).snips.value == pytest.approx(evaluate(log, TARGET).snips.value + 100)


def test_a_policy_may_choose_by_what_it_knows_of_each_row() -> None:
    random = np.random.default_rng(5)
    kind = random.integers(0, 2, 20_000)
    arm = random.integers(0, 2, 20_000)
    log = Logged(arm, (arm == kind).astype(float), np.full(20_000, 0.5))
    assert evaluate(log, np.eye(2)[kind]).snips.value == pytest.approx(1.0)
    assert evaluate(log, np.array([1.0, 0.0])).snips.value == pytest.approx(0.5, abs=0.02)


def test_rows_of_a_unit_count_as_one() -> None:
    log = logged(6, 1000)
    again = Logged(*(np.repeat(values, 5) for values in (log.arm, log.reward, log.propensity)), unit=np.repeat(range(1000), 5))
    alone, together = evaluate(log, TARGET), evaluate(again, TARGET)
    assert together.ips.interval(0.05) == pytest.approx(alone.ips.interval(0.05))
    assert together.snips.interval(0.05) == pytest.approx(alone.snips.interval(0.05))


def test_effective_rows_are_all_rows_of_equal_weight_and_one_of_a_single_one() -> None:
    assert effective_rows(np.full(50, 3.0)) == pytest.approx(50)
    assert effective_rows(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)


def test_what_the_log_does_not_tell_is_refused() -> None:
    log = logged(7)
    with pytest.raises(NoOverlap, match=r"arm 3 would get 50\.0% of the rows, and no logged row"):
        evaluate(log, np.array([0.5, 0.0, 0.0, 0.5]))
    with pytest.raises(NoOverlap, match=rf"at least {FEWEST_EFFECTIVE:.0f} are needed"):
        evaluate(logged(7, 100), np.array([0.0, 0.0, 1.0]))
    with pytest.raises(NoOverlap, match="where 1 is due"):
        evaluate(Logged(log.arm, log.reward, np.full(4000, 1 / 3)), TARGET)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "such as 0.0"),
        ({"propensity": np.array([0.5, np.nan])}, "such as nan"),
        ({"reward": np.array([1.0, np.inf])}, "1 rewards are infinite"),
        ({"arm": np.array([], int)}, "no row"),
    ],
)
def test_values_that_no_log_can_hold_are_refused(values: dict[str, np.ndarray], why: str) -> None:
    good = {"arm": np.array([0, 1]), "reward": np.array([1.0, 2.0]), "propensity": np.array([0.5, 0.5])}
    with pytest.raises(ValueError, match=why):
        Logged(**good | values)


def test_probabilities_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        evaluate(logged(8), np.array([0.5, 0.5, 0.5]))
