"""Policies against MABWiser, which decides for one row after the other: how often it gives an arm is that arm's share."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits.arm_rewards import ArmRewards, remembered
from mlprod_tasks.bandits.cost import cost
from mlprod_tasks.bandits.linear import fitted
from mlprod_tasks.bandits.policy import RowShares, best_probabilities, drawn_worth, row_shares, shares
from mlprod_tasks.bandits.within_ticks import effects

ARMS = 3
MEANS = np.array([0.30, 0.34, 0.28])
random = np.random.default_rng(1)
ARM = random.integers(0, ARMS, 600)
CLICKED = (random.random(600) < MEANS[ARM]).astype(float)
EARNED = random.normal(10 * MEANS[ARM], 2.0)
# Standardised over all rows, as the policies do it themselves.
FEATURES = stats.zscore(random.normal(0, 1, (600, 2)))
BY_FEATURES = EARNED + np.take_along_axis(FEATURES @ np.array([[1.0, -1.0, 0.0], [0.0, 0.5, 0.0]]), ARM[:, None], 1)[:, 0]


def bandit(policy: object, floor: float = 0.0) -> ml.Bandit:
    return ml.Bandit("earned", policy, floor=floor, warm_up=2, by_tick=False)  # type: ignore[arg-type]


def given(policy: object, rewards: np.ndarray, floor: float = 0.0, seed: int = 1, proportion: bool = False) -> np.ndarray:
    known = ArmRewards.of(ARMS, ARM, rewards)
    return shares(bandit(policy, floor), known, known, seed, proportion)


def chosen_by(learning: object, rewards: np.ndarray, times: int, **more: object) -> np.ndarray:
    """How often MABWiser chooses each arm after the same rewards."""
    oracle = MAB(list(range(ARMS)), learning, seed=7, **more)
    oracle.fit(ARM, rewards)
    return np.bincount([oracle.predict() for _ in range(times)], minlength=ARMS) / times


def test_epsilon_greedy_gives_arms_as_often_as_mabwiser() -> None:
    oracle = chosen_by(LearningPolicy.EpsilonGreedy(0.2), EARNED, 5000)
    assert given(ml.EpsilonGreedy(0.2), EARNED) == pytest.approx(oracle, abs=0.02)


def test_thompson_sampling_gives_arms_as_often_as_mabwiser() -> None:
    oracle = chosen_by(LearningPolicy.ThompsonSampling(), CLICKED, 5000)
    assert given(ml.ThompsonSampling(), CLICKED, proportion=True) == pytest.approx(oracle, abs=0.025)


def test_ucb1_chooses_the_arm_that_mabwiser_chooses() -> None:
    for alpha in (0.5, 1.0, 3.0, 30.0):
        oracle = chosen_by(LearningPolicy.UCB1(alpha), EARNED, 1)
        assert given(ml.UCB1(alpha), EARNED) == pytest.approx(oracle)


def test_linear_ucb_expects_what_mabwiser_expects_and_chooses_its_arms() -> None:
    known = ArmRewards.of(ARMS, ARM, BY_FEATURES, FEATURES)
    linear, middle = fitted(known, 2.0), BY_FEATURES.mean()
    context = np.hstack([np.ones((600, 1)), FEATURES])
    oracle = MAB(list(range(ARMS)), LearningPolicy.LinUCB(alpha=1.5 * linear.noise, l2_lambda=2.0))
    oracle.fit(ARM, BY_FEATURES - middle, context)
    expected = np.array([[of[arm] for arm in range(ARMS)] for of in oracle.predict_expectations(context[:50])])
    mine = linear.expected(FEATURES[:50]) + 1.5 * linear.noise * linear.spread(FEATURES[:50])
    assert mine == pytest.approx(expected + middle)
    found = row_shares(bandit(ml.LinUCB(("a", "b"), alpha=1.5, ridge=2.0)), known, known, FEATURES, 1)
    assert found.argmax(axis=1).tolist() == oracle.predict(context)


def test_linear_thompson_draws_what_mabwiser_draws_for_a_row_and_gives_the_arm_that_is_drawn_best() -> None:
    known, row = ArmRewards.of(ARMS, ARM, BY_FEATURES, FEATURES), np.array([[0.45, 0.1]])
    linear = fitted(known, 1.0)
    oracle = MAB(list(range(ARMS)), LearningPolicy.LinTS(alpha=linear.noise, l2_lambda=1.0), seed=3)
    oracle.fit(ARM, BY_FEATURES - BY_FEATURES.mean(), np.hstack([np.ones((600, 1)), FEATURES]))
    drawn = oracle.predict_expectations(np.tile(np.hstack([np.ones((1, 1)), row]), (4000, 1)))
    values = np.array([[of[arm] for arm in range(ARMS)] for of in drawn]) + BY_FEATURES.mean()
    assert linear.expected(row)[0] == pytest.approx(values.mean(axis=0), abs=0.02)
    assert linear.noise * linear.spread(row)[0] == pytest.approx(values.std(axis=0), rel=0.05)
    # MABWiser draws alike for all arms; each by itself is what the policy means.
    apart = np.column_stack([np.random.default_rng(arm).permutation(values[:, arm]) for arm in range(ARMS)])
    often = np.bincount(apart.argmax(axis=1), minlength=ARMS) / 4000
    mine = row_shares(bandit(ml.LinearThompson(("a", "b"))), known, known, row, 1)
    assert mine[0] == pytest.approx(often, abs=0.06)
    assert 0.05 < mine[0].max() < 0.95  # else the comparison would tell nothing


def test_features_on_any_scale_give_the_same_shares() -> None:
    raw = FEATURES * np.array([1000.0, 0.01]) + np.array([5000.0, -3.0])
    found = []
    for x in (FEATURES, raw, np.hstack([raw, np.full((600, 1), 7.0)])):  # the last one does not vary
        known = ArmRewards.of(ARMS, ARM, BY_FEATURES, x)
        policy = ml.LinearThompson(tuple(f"x{i}" for i in range(x.shape[1])))
        found.append(row_shares(bandit(policy), known, known, x[:100], 1))
    assert found[1] == pytest.approx(found[0], abs=0.005)
    assert found[2] == pytest.approx(found[0], abs=0.005)


def test_the_shares_of_a_row_do_not_depend_on_the_others() -> None:
    known = ArmRewards.of(ARMS, ARM, BY_FEATURES, FEATURES)
    policy = bandit(ml.LinearThompson(("a", "b")), floor=0.1)
    together = row_shares(policy, known, known, FEATURES[:20], 1)
    alone = np.vstack([row_shares(policy, known, known, FEATURES[i : i + 1], 1) for i in reversed(range(20))])[::-1]
    assert together == pytest.approx(alone)
    assert together.sum(axis=1) == pytest.approx(np.ones(20))
    assert together.min() >= 0.1


def test_the_better_of_two_normal_arms_is_the_better_one_with_its_exact_probability() -> None:
    low, high = np.random.default_rng(2).normal(0, 1, 400), np.random.default_rng(3).normal(0.1, 2, 900)
    rewards = ArmRewards.of(2, np.repeat([0, 1], [400, 900]), np.concatenate([low, high]))
    error = np.sqrt(low.var() / 400 + high.var() / 900)
    assert best_probabilities(rewards, 1, proportion=False)[1] == pytest.approx(
        stats.norm.cdf((high.mean() - low.mean()) / error), abs=0.015
    )


@pytest.mark.parametrize("policy", [ml.EpsilonGreedy(), ml.UCB1(), ml.ThompsonSampling(), ml.AroundModel(0.2)])
def test_shares_add_up_keep_the_floor_and_follow_from_the_seed_alone(policy: object) -> None:
    found = given(policy, EARNED, floor=0.07)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0.07 - 1e-12
    assert found.tolist() == given(policy, EARNED, floor=0.07).tolist()


def test_around_the_model_keeps_the_champion_but_for_a_share() -> None:
    assert given(ml.AroundModel(0.2), EARNED) == pytest.approx([0.8, 0.1, 0.1])
    assert given(ml.AroundModel(0.02), EARNED, floor=0.05) == pytest.approx([0.98, 0.01, 0.01]), "no floor changes that"


def test_what_choosing_cost_is_what_the_other_ways_would_have_earned() -> None:
    """A hundred thousand units whose worth is known: the best arm alone, and equal shares, are computed by hand."""
    truth, n = np.array([1.0, 1.5, 0.5]), np.array([20_000, 70_000, 10_000])
    arm = np.repeat([0, 1, 2], n)
    reward = truth[arm] + np.random.default_rng(4).normal(0, 0.5, len(arm))
    known = ArmRewards.of(ARMS, arm, reward)
    for by_tick in (True, False):
        found = cost(known, drawn_worth(known, 1, False, 10_000, by_tick=by_tick))
        lost, gained = (truth.max() - truth) @ n, truth @ (n - n.sum() / 3)
        for one, exact in ((found.lost, lost), (found.gained, gained)):
            assert one.low < exact < one.high
            assert one.value == pytest.approx(exact, rel=0.02)
            assert one.high - one.low < 0.1 * exact


@pytest.mark.parametrize("policy", [ml.EpsilonGreedy(), ml.UCB1(), ml.ThompsonSampling()])
def test_all_arms_are_alike_until_each_had_its_warm_up(policy: object) -> None:
    known = ArmRewards.of(ARMS, np.repeat([0, 1, 2], [500, 500, 9]), np.repeat([1.0, 5.0, 0.0], [500, 500, 9]))
    declared = ml.Bandit("earned", policy, floor=0.0, warm_up=10, by_tick=False)  # type: ignore[arg-type]
    assert shares(declared, known, known, 1, False) == pytest.approx(np.full(3, 1 / 3))
    more = known + ArmRewards.of(ARMS, np.array([2]), np.array([0.0]))
    assert shares(declared, more, more, 1, False).argmax() == 1


def by_tick() -> dict[int, ArmRewards]:
    return {tick: ArmRewards.of(ARMS, ARM[tick::6], EARNED[tick::6], FEATURES[tick::6]) for tick in range(6)}


def test_rewards_add_up_to_the_same_in_whatever_order_ticks_come() -> None:
    whole = remembered(by_tick(), 5, discount=0.9)
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
        ticks = by_tick()
        other = remembered({tick: ticks[tick] for tick in order}, 5, discount=0.9)
        assert all((mine == theirs).all() for mine, theirs in zip(whole._parts(), other._parts(), strict=True))


def test_old_rewards_are_forgotten_as_declared() -> None:
    ticks = by_tick()
    n = [ticks[tick].n[0] for tick in range(6)]
    assert remembered(ticks, 5).n[0] == pytest.approx(sum(n))
    assert remembered(ticks, 5, window=2).n[0] == pytest.approx(n[4] + n[5])
    assert remembered(ticks, 3, window=2).n[0] == pytest.approx(n[2] + n[3])
    assert remembered(ticks, 5, discount=0.5).n[0] == pytest.approx(sum(of * 0.5 ** (5 - tick) for tick, of in enumerate(n)))
    late = {tick: of for tick, of in ticks.items() if tick > 2}
    assert remembered(late, 2).n.tolist() == [0, 0, 0]


def test_an_arm_whose_worth_falls_is_left_sooner_if_old_rewards_are_forgotten() -> None:
    random = np.random.default_rng(9)
    ticks = {}
    for tick in range(40):
        arm = np.repeat([0, 1], 50)
        ticks[tick] = ArmRewards.of(2, arm, random.normal(np.where(arm == 0, 2.0 if tick < 30 else 0.0, 1.0), 1.0))
    known = remembered(ticks, 39)
    declared = ml.Bandit("earned", floor=0.0, warm_up=2)
    found = [
        shares(declared, known, remembered(ticks, 39, **forget), 1, False)[1]
        for forget in ({}, {"window": 7}, {"discount": 0.8})
    ]
    assert found[0] < 0.01
    assert min(found[1:]) > 0.99


def test_arms_are_compared_within_ticks_as_by_least_squares_with_an_effect_of_each_tick() -> None:
    random = np.random.default_rng(4)
    ticks, rows = {}, []
    for tick in range(30):
        # The second arm gets more and more units while all earn less and less.
        arm = random.choice(ARMS, 200, p=[0.7 - 0.02 * tick, 0.1 + 0.02 * tick, 0.2])
        earned = random.normal(5.0 - 0.3 * tick + np.array([0.0, 0.6, 0.3])[arm], 1.0)
        ticks[tick] = ArmRewards.of(ARMS, arm, earned)
        rows.append((arm, np.full(200, tick), earned))
    arm, at, earned = (np.concatenate(values) for values in zip(*rows, strict=True))
    known = remembered(ticks, 29)
    assert known.mean[1] < known.mean[0]  # summed up over time, the better arm looks worse
    design = np.hstack([np.eye(ARMS)[arm][:, 1:], np.eye(30)[at]])
    solved, residual, *_ = np.linalg.lstsq(design, earned, rcond=None)
    found = effects(known)
    assert found.mean[1:] - found.mean[0] == pytest.approx(solved[:2], abs=0.01)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design))[:2] * residual[0] / (len(earned) - 32))
    variances = np.diag(found.covariance)[1:] + found.covariance[0, 0] - 2 * found.covariance[0, 1:]
    assert np.sqrt(variances) == pytest.approx(errors, rel=0.01)
    declared = ml.Bandit("earned", floor=0.0, warm_up=2)
    assert shares(declared, known, known, 1, False)[1] > 0.99
    assert shares(replace(declared, by_tick=False), known, known, 1, False)[1] < 0.01
    assert np.cov(found.drawn(1, 50_000), rowvar=False) == pytest.approx(found.covariance, rel=0.05, abs=1e-6)


def test_sums_survive_the_ledger() -> None:
    before = ArmRewards.of(ARMS, ARM, EARNED, FEATURES)
    after = ArmRewards.from_json(before.as_json())
    assert all((mine == theirs).all() for mine, theirs in zip(before._parts(), after._parts(), strict=True))


def test_a_reward_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite or no number"):
        ArmRewards.of(2, np.array([0, 1]), np.array([1.0, np.nan]))


@pytest.mark.parametrize("policy", [ml.LinearThompson(("a", "b")), ml.LinUCB(("a", "b"), alpha=0.7)], ids=str)
def test_a_row_alone_has_the_bits_that_it_has_among_others(policy: object) -> None:
    known = ArmRewards.of(ARMS, ARM, BY_FEATURES, FEATURES * [3.0, 1000.0] + [0.1, 5000.0])
    chosen = RowShares(bandit(policy, floor=0.05), known, known, 3)
    rows = random.normal(0, 1, (700, 2)) * [3.0, 1000.0] + [0.1, 5000.0]
    linear = fitted(known, 1.0)
    alone = [linear.of_row(row) for row in rows.tolist()]
    assert np.array_equal(np.array([mean for mean, _ in alone]), linear.expected(rows))
    assert np.array_equal(np.array([spread for _, spread in alone]), linear.spread(rows))
    assert np.array_equal(np.array([chosen.of_row(row) for row in rows.tolist()]), chosen.of_rows(rows))
