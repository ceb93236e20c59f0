"""Metrics against scikit-learn, published numbers, and each other."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from mlprod_tasks.statistics import metrics, resamples
from mlprod_tasks.statistics.metrics import CannotBeMeasured

RANDOM = np.random.default_rng(3)


def some(rows: int, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and scores that know something of them; rounded scores have many ties."""
    score = RANDOM.beta(2, 5, rows)
    outcome = RANDOM.random(rows) < 0.7 * score + 0.1
    return outcome, score if decimals is None else score.round(decimals)


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.roc_auc, sklearn_metrics.roc_auc_score),
        (metrics.pr_auc, sklearn_metrics.average_precision_score),
        (metrics.log_loss, sklearn_metrics.log_loss),
        (metrics.brier, sklearn_metrics.brier_score_loss),
    ],
)
def test_metrics_agree_with_scikit_learn_also_on_ties(ours, theirs, decimals):
    outcome, score = some(1234, decimals)
    score = np.clip(score, 0.05, 0.95)
    assert ours(outcome, score) == pytest.approx(theirs(outcome, score), rel=1e-12)


@pytest.mark.parametrize("decimals", [None, 1])
def test_a_resample_agrees_with_scikit_learn_on_the_same_weights(decimals):
    outcome, score = some(500, decimals)
    score = np.clip(score, 0.05, 0.95)
    ranking = metrics.Ranking(outcome, score)
    weights = next(metrics.drawn_weights(500, 3, seed=1))
    ours = metrics._all_metrics(ranking, weights, np.zeros(500), 0.1)
    for i, ranked in enumerate(weights):
        drawn = np.empty(500)
        drawn[ranking.order] = ranked
        assert ours["roc_auc"][i] == pytest.approx(sklearn_metrics.roc_auc_score(outcome, score, sample_weight=drawn))
        assert ours["pr_auc"][i] == pytest.approx(sklearn_metrics.average_precision_score(outcome, score, sample_weight=drawn))
        assert ours["brier"][i] == pytest.approx(sklearn_metrics.brier_score_loss(outcome, score, sample_weight=drawn))
        assert ours["log_loss"][i] == pytest.approx(sklearn_metrics.log_loss(outcome, score, sample_weight=drawn))


def test_the_auc_of_a_published_example():
    # Hanley and McNeil (1982), table I and II: 109 CT images rated 1 to 5, area 0.893 by the trapezoid.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    score = np.concatenate([np.repeat(np.arange(1, 6), normal), np.repeat(np.arange(1, 6), abnormal)]) / 5
    outcome = np.repeat([False, True], [58, 51])
    assert metrics.roc_auc(outcome, score) == pytest.approx(0.893, abs=5e-4)


def test_precision_at_k_of_distinct_scores_is_the_share_among_the_highest():
    outcome, score = some(1000)
    top = np.argsort(-score)[:100]
    assert metrics.precision_at_k(outcome, score, 0.1) == pytest.approx(outcome[top].mean())


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_share_of_100_rows_is_as_many_rows_as_it_has_hundredths(percent: int):
    assert metrics.rows_of_share(float(Decimal(percent) / 100), 100) == percent


@given(st.integers(1, 10_000), st.integers(1, 10**7))
def test_a_declared_share_is_rounded_up_as_exact_arithmetic_does(ten_thousandths: int, rows: int):
    exact = ceil(Fraction(ten_thousandths, 10_000) * rows)
    assert metrics.rows_of_share(ten_thousandths / 10_000, rows) == exact


def test_a_share_of_rows_is_at_least_one_row():
    assert metrics.rows_of_share(1e-14, 100) == 1
    assert metrics.rows_of_share(0.1 + 0.2, 10) == 3  # 0.30000000000000004


@pytest.mark.parametrize("percent", range(1, 100))
def test_the_precision_of_a_perfect_top_share_is_1(percent: int):
    outcome = np.arange(100) < percent
    assert metrics.precision_at_k(outcome, np.linspace(1, 0, 100), percent / 100) == 1.0


def test_precision_at_k_of_equal_scores_is_what_a_random_pick_expects():
    outcome = np.array([True, False, False, False])
    assert metrics.precision_at_k(outcome, np.full(4, 0.5), 0.5) == pytest.approx(0.25)


def test_calibration_error_by_hand():
    # Two bins of two rows: |0.5 - 0.15| and |1.0 - 0.85|, half the rows each.
    outcome, score = np.array([False, True, True, True]), np.array([0.1, 0.2, 0.8, 0.9])
    assert metrics.calibration_error(outcome, score, bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.15)


def test_calibration_error_of_distinct_scores_is_that_of_equal_bins_in_numpy():
    outcome, score = some(1000)
    order = np.argsort(-score)
    bins = [(outcome[part].mean(), score[part].mean()) for part in np.array_split(order, 10)]
    assert metrics.calibration_error(outcome, score) == pytest.approx(np.mean([abs(came - said) for came, said in bins]))


def test_a_constant_score_is_one_bin_and_half_an_area():
    outcome = np.array([True, False, False, False])
    assert metrics.calibration_error(outcome, np.full(4, 0.5)) == pytest.approx(0.25)
    assert metrics.roc_auc(outcome, np.full(4, 0.5)) == 0.5
    assert metrics.pr_auc(outcome, np.full(4, 0.5)) == 0.25


def test_a_certain_and_wrong_score_costs_much_but_not_infinitely_much():
    assert metrics.log_loss(np.array([True, False]), np.array([0.0, 0.0])) == pytest.approx(
        sklearn_metrics.log_loss([1, 0], [0.0, 0.0]), rel=1e-6
    )


@pytest.mark.parametrize(
    ("outcome", "score", "said"),
    [
        ([True, True], [0.1, 0.2], "all 2 outcomes are positive"),
        ([False, False], [0.1, 0.2], "all 2 outcomes are negative"),
        ([True, False], [0.1, np.nan], "1 of 2 scores are not finite"),
        ([True, False], [0.1, 1.2], "not probabilities"),
        ([True, False], [0.1], "2 outcomes do not match 1 scores"),
        ([], [], "no rows"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(outcome, score, said):
    with pytest.raises(CannotBeMeasured, match=said):
        metrics.roc_auc(np.array(outcome, bool), np.array(score))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        score = random.random(400)
        outcome = random.random(400) < score
        # Of a score s uniform in [0, 1] and an outcome of probability s: brier E[s(1 - s)] = 1/6, AUC 5/6.
        measured = metrics.measure(outcome, score, np.zeros(400), 0.1, resamples=200, seed=seed)
        covered += measured["brier"].low <= 1 / 6 <= measured["brier"].high
        covered += measured["roc_auc"].low <= 5 / 6 <= measured["roc_auc"].high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_intervals_and_chunks_do_not_matter(monkeypatch):
    outcome, score = some(1000)
    whole = metrics.measure(outcome, score, score, 0.1, seed=5)
    monkeypatch.setattr(resamples, "CELLS_AT_ONCE", 7000)
    in_chunks = metrics.measure(outcome, score, score, 0.1, seed=5)
    for name, one in whole.items():
        assert (one.value, one.low, one.high) == pytest.approx(tuple(vars(in_chunks[name]).values()), rel=1e-9), name


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=80).filter(
        lambda rows: 0 < sum(one for one, _ in rows) < len(rows)
    ),
    st.integers(1, 12),
)
def test_calibration_error_is_the_slow_obvious_one(rows, bins):
    outcome, score = np.array([one for one, _ in rows]), np.array([s / 12 for _, s in rows])
    n = len(rows)
    ranked = sorted(range(n), key=lambda i: -score[i])
    cut = []  # each bin begins at the first row of a group of equal scores that lies at or after an even part
    for i in range(bins):
        at = int(np.ceil(i * n / bins))
        while 0 < at < n and score[ranked[at]] == score[ranked[at - 1]]:
            at += 1
        cut.append(at)
    error = 0.0
    for begin, end in zip(cut, [*cut[1:], n], strict=True):
        held = ranked[begin:end]
        if held:
            error += len(held) / n * abs(np.mean(outcome[held]) - np.mean(score[held]))
    assert metrics.calibration_error(outcome, score, bins) == pytest.approx(error, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_precision_at_k_is_what_random_orders_of_equal_scores_give_on_average(rows, top_share):
    outcome, score = np.array([one for one, _ in rows]), np.array([s / 8 for _, s in rows])
    if outcome.all() or not outcome.any():
        return
    k = int(np.ceil(top_share * len(rows)))
    edge = np.sort(score)[::-1][k - 1]
    sure, open_ = score > edge, score == edge
    expected = (outcome[sure].sum() + (k - sure.sum()) * outcome[open_].mean()) / k
    assert metrics.precision_at_k(outcome, score, top_share) == pytest.approx(expected)


def test_two_models_are_measured_on_the_same_draws_of_rows():
    outcome, score = some(300)
    values = RANDOM.random(300)
    ours = metrics.sample(outcome, score, values, 0.1, resamples=40, seed=9)
    theirs = metrics.sample(outcome, 1 - score, values, 0.1, resamples=40, seed=9)
    # The value does not depend on the scores, so on the same rows it is the same.
    assert ours.draws["value_per_1000"] == pytest.approx(theirs.draws["value_per_1000"], rel=1e-12)
    assert ours.draws["roc_auc"] == pytest.approx(1 - theirs.draws["roc_auc"], abs=1e-12)
    random = np.random.default_rng(9)
    drawn = [values[random.integers(0, 300, 300)].mean() * 1000 for _ in range(40)]
    assert ours.draws["value_per_1000"] == pytest.approx(drawn)


def test_without_resamples_the_interval_is_the_point():
    outcome, score = some(100)
    one = metrics.measure(outcome, score, score, 0.1, resamples=0)["roc_auc"]
    assert one.low == one.value == one.high
