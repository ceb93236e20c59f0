"""Metrics of predicted numbers against scikit-learn, and what has no value."""

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import spearmanr

from mlprod_tasks.statistics import regression_metrics
from mlprod_tasks.statistics.metrics import CannotBeMeasured


def some_numbers(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    predicted = random.gamma(2, 10, n)
    return predicted + random.normal(3, 8, n), predicted


def test_each_metric_is_scikit_learns() -> None:
    outcome, predicted = some_numbers()
    points = regression_metrics.sample(outcome, predicted, 2 * outcome, resamples=0).points
    assert points == pytest.approx(
        {
            "mae": sklearn.metrics.mean_absolute_error(outcome, predicted),
            "rmse": sklearn.metrics.root_mean_squared_error(outcome, predicted),
            "median_error": sklearn.metrics.median_absolute_error(outcome, predicted),
            "r2": sklearn.metrics.r2_score(outcome, predicted),
            "mape": sklearn.metrics.mean_absolute_percentage_error(outcome, predicted),
            "absolute_bias": abs(np.mean(outcome - predicted)),
            "value_per_1000": 2000 * np.mean(outcome),
        }
    )
    assert set(points) == set(regression_metrics.NAMES)
    assert regression_metrics.mae(outcome, predicted) == pytest.approx(points["mae"])
    assert regression_metrics.rmse(outcome, predicted) == pytest.approx(points["rmse"])
    assert regression_metrics.r2(outcome, predicted) == pytest.approx(points["r2"])


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_loss_of_a_quantile_is_scikit_learns_and_smallest_for_the_true_one(quantile: float) -> None:
    outcome, predicted = some_numbers()
    sampled = regression_metrics.sample(outcome, predicted, outcome, resamples=20, quantile=quantile)
    assert sampled.points["pinball"] == pytest.approx(sklearn.metrics.mean_pinball_loss(outcome, predicted, alpha=quantile))
    assert len(sampled.draws["pinball"]) == 20
    tried = np.quantile(outcome, np.linspace(0.02, 0.98, 49))
    losses = [regression_metrics.pinball_losses(outcome, np.full(len(outcome), one), quantile).mean() for one in tried]
    assert tried[int(np.argmin(losses))] == pytest.approx(np.quantile(outcome, quantile), abs=2.0)


@pytest.mark.parametrize("n", [7, 8], ids=("odd", "even"))
def test_a_resample_is_measured_as_if_its_rows_stood_there_as_often_as_drawn(n: int) -> None:
    outcome, predicted = some_numbers(n, seed=n)
    drawn = regression_metrics.sample(outcome, predicted, outcome, resamples=50, seed=4).draws
    random = np.random.default_rng(4)
    for i in range(50):
        rows = random.integers(0, n, n)
        y, p = outcome[rows], predicted[rows]
        assert drawn["median_error"][i] == pytest.approx(sklearn.metrics.median_absolute_error(y, p))
        assert drawn["mae"][i] == pytest.approx(sklearn.metrics.mean_absolute_error(y, p))
        assert drawn["mape"][i] == pytest.approx(sklearn.metrics.mean_absolute_percentage_error(y, p))
        if len(set(rows.tolist())) > 1:
            assert drawn["r2"][i] == pytest.approx(sklearn.metrics.r2_score(y, p))


def test_intervals_hold_the_true_error_in_about_95_of_100_windows() -> None:
    held = 0
    for seed in range(200):
        error = np.random.default_rng(seed).normal(0, 2, 300)
        estimate = regression_metrics.sample(error, np.zeros(300), error, resamples=200, seed=seed).estimates()["mae"]
        held += estimate.low <= 2 * np.sqrt(2 / np.pi) <= estimate.high
    assert 178 <= held <= 199


def test_large_numbers_with_a_small_spread_keep_their_r2() -> None:
    outcome, predicted = some_numbers()
    far = 1e9
    moved = regression_metrics.sample(outcome + far, predicted + far, outcome, resamples=0).points["r2"]
    assert moved == pytest.approx(sklearn.metrics.r2_score(outcome, predicted), abs=1e-6)


def test_percentages_of_zero_and_variance_of_equal_outcomes_have_no_value() -> None:
    points = regression_metrics.sample(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.zeros(2), resamples=0).points
    assert np.isnan(points["mape"])
    equal = regression_metrics.sample(np.ones(5), np.arange(5.0), np.zeros(5), resamples=0).points
    assert np.isnan(equal["r2"])
    assert equal["mae"] == pytest.approx(1.4)
    with pytest.raises(CannotBeMeasured, match="all 5 outcomes are 1"):
        regression_metrics.r2(np.ones(5), np.arange(5.0))


def test_rank_correlation_is_scipys_and_zero_without_an_order() -> None:
    outcome, predicted = some_numbers()
    assert regression_metrics.rank_correlation(outcome, predicted) == pytest.approx(spearmanr(outcome, predicted).statistic)
    assert regression_metrics.rank_correlation(outcome, np.ones(400)) == 0


@pytest.mark.parametrize(
    ("outcome", "predicted", "why"),
    [
        ([1.0], [1.0, 2.0], "1 outcomes do not match 2 predictions"),
        ([], [], "there are no rows"),
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 outcomes are not finite"),
        ([1.0, 2.0], [np.inf, 2.0], "1 of 2 predictions are not finite"),
    ],
    ids=("lengths", "no rows", "null outcome", "infinite prediction"),
)
def test_what_cannot_be_measured_is_refused_with_the_reason(outcome: list, predicted: list, why: str) -> None:
    with pytest.raises(CannotBeMeasured, match=why):
        regression_metrics.sample(np.array(outcome), np.array(predicted), np.zeros(len(outcome)))
