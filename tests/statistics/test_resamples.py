"""Intervals that know that rows of a tick are alike: against the slow way, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from mlprod_tasks.statistics import auc_interval, intervals, metrics, regression_metrics
from mlprod_tasks.statistics.resamples import (
    FEWEST_TICKS,
    block_length,
    drawn_ticks,
    drawn_weights,
    enough_ticks,
    error_of_sum,
    number_of,
    widening,
)  # fmt: skip


def clustered(seed: int, ticks: int, rows: int, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes, scores and ticks: of each tick outcomes are likelier or less likely than scores say."""
    random = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), random.poisson(rows, ticks) + 1)
    known = random.normal(size=len(tick))
    chance = 1 / (1 + np.exp(1 - known - spread * random.normal(size=ticks)[tick]))
    return random.random(len(tick)) < chance, 1 / (1 + np.exp(1 - known)), tick


def test_a_resample_has_all_rows_of_a_tick_as_often() -> None:
    tick = np.repeat(np.arange(12), np.arange(1, 13))
    weights = np.concatenate(list(drawn_weights(len(tick), 50, seed=3, ticks=tick)))
    assert weights.shape == (50, 78)
    of_ticks = drawn_ticks(12, block_length(12), 50, seed=3)
    assert (weights == of_ticks[:, tick]).all()
    assert (of_ticks.sum(axis=1) == 12).all()


def test_fewer_ticks_than_tell_how_much_they_differ_are_not_drawn() -> None:
    places = np.array([5, 7, 5, 9, *range(20, 26)])
    assert enough_ticks(places) is None
    assert FEWEST_TICKS == 10
    found = enough_ticks(np.array([*places, 30]))
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_standard_error_of_a_sum_is_that_of_resamples_without_end() -> None:
    random = np.random.default_rng(7)
    tick = np.repeat(np.arange(20), 5)
    values = random.normal(size=100) + random.normal(size=20)[tick]
    parts = (values - values.mean()) / 100
    draws = np.concatenate([weights @ parts for weights in drawn_weights(100, 20_000, seed=0, ticks=tick)])
    # A resample has whole blocks of three, the last one cut: 20 ticks are six blocks and two thirds of one.
    assert error_of_sum(parts, tick) / widening(20) == pytest.approx(draws.std(), rel=0.03)


def test_metrics_of_a_resample_of_ticks_are_those_of_its_rows() -> None:
    outcome, score, tick = clustered(1, 12, 6)
    worth = np.where(score > 0.4, np.where(outcome, 5.0, -2.0), 0.0)
    found = metrics.sample(outcome, score, worth, 0.15, resamples=8, seed=2, ticks=tick)
    points = metrics.sample(outcome, score, worth, 0.15, resamples=0).points
    assert (found.points, found.ticks) == (points, 12)
    for at, counts in enumerate(drawn_ticks(12, block_length(12), 8, seed=2)):
        rows = np.repeat(np.arange(len(tick)), counts[tick].astype(int))
        again = metrics.sample(outcome[rows], score[rows], worth[rows], 0.15, resamples=0).points
        for name in ("roc_auc", "pr_auc", "log_loss", "brier", "precision_at_k", "value_per_1000"):
            most = 1.0 if name in ("roc_auc", "pr_auc", "brier", "precision_at_k") else np.inf
            least = -np.inf if name == "value_per_1000" else 0.0
            wider = np.clip(points[name] + widening(12) * (again[name] - points[name]), least, most)
            assert found.draws[name][at] == pytest.approx(wider), name


def test_numbers_draw_the_same_ticks() -> None:
    random = np.random.default_rng(4)
    tick = np.repeat(np.arange(15), 4)
    outcome, predicted = random.normal(size=60), random.normal(size=60)
    found = regression_metrics.sample(outcome, predicted, -np.abs(outcome), resamples=5, seed=9, ticks=tick)
    for at, counts in enumerate(drawn_ticks(15, block_length(15), 5, seed=9)):
        rows = np.repeat(np.arange(60), counts[tick].astype(int))
        mae = regression_metrics.mae(outcome[rows], predicted[rows])
        point = found.points["mae"]
        assert found.draws["mae"][at] == pytest.approx(max(0.0, point + widening(15) * (mae - point)))


def test_the_area_of_ticks_is_that_of_clustered_data() -> None:
    # Obuchowski (1997), pair by pair: placements summed by tick, their products summed over ticks; here with one tick a block.
    outcome, score, tick = clustered(8, 30, 5)
    area, parts = auc_interval._areas_and_parts(outcome, score[None, :])
    positives, negatives = np.flatnonzero(outcome), np.flatnonzero(~outcome)
    below = (score[positives][:, None] > score[negatives][None, :]) + 0.5 * (
        score[positives][:, None] == score[negatives][None, :]
    )
    of_ticks = np.zeros(30)
    np.add.at(of_ticks, tick[positives], (below.mean(axis=1) - below.mean()) / len(positives))
    np.add.at(of_ticks, tick[negatives], (below.mean(axis=0) - below.mean()) / len(negatives))
    assert area[0] == pytest.approx(below.mean())
    assert np.bincount(tick, parts[0]) == pytest.approx(of_ticks)
    found = auc_interval.area(outcome, score, tick)
    blocks = [of_ticks[np.arange(start, start + 3) % 30].sum() for start in range(30)]
    error = widening(30) * np.sqrt(np.sum(np.square(blocks)) / 3)
    assert (found.low, found.high) == pytest.approx((area[0] - 1.959964 * error, area[0] + 1.959964 * error))


def test_intervals_by_tick_hold_the_truth_where_those_by_row_do_not() -> None:
    outcome, score, _ = clustered(100, 20_000, 20)
    off, auc = float(np.mean(outcome - score)), metrics.roc_auc(outcome, score)
    held = {"row": 0, "tick": 0, "area": 0}
    for seed in range(150):
        outcome, score, tick = clustered(seed, 28, 60)
        by_row, by_tick = (intervals.mean_estimate(outcome - score, ticks) for ticks in (None, tick))
        area = auc_interval.area(outcome, score, tick)
        for name, one, true in (("row", by_row, off), ("tick", by_tick, off), ("area", area, auc)):
            held[name] += one.low <= true <= one.high
    assert held["tick"] / 150 > 0.9
    assert held["area"] / 150 > 0.9
    assert held["row"] / 150 < 0.7


def test_few_ticks_widen_intervals_more_than_many() -> None:
    assert [round(widening(n), 2) for n in (10, 28, 1000)] == [1.58, 1.24, 1.02]
    assert number_of(np.array([0, 4, 2])) == 5
