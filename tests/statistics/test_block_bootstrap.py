"""Resamples of ticks: what is drawn, and whether intervals hold the truth where rows of a day are alike."""

from __future__ import annotations

import numpy as np
import pytest

from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.intervals import of_mean
from mlprod_tasks.statistics.resamples import drawn_ticks


def test_a_resample_is_made_of_runs_of_ticks() -> None:
    counts = drawn_ticks(ticks=10, block=5, resamples=200, seed=1)
    assert counts.shape == (200, 10)
    assert (counts.sum(axis=1) == 10).all()
    for drawn in counts:
        # Two runs of five ticks each, around the end too: every count is that of two runs put on each other.
        runs = [np.isin(np.arange(10), (start + np.arange(5)) % 10).astype(float) for start in range(10)]
        assert any(np.array_equal(drawn, one + other) for one in runs for other in runs)


def test_a_block_longer_than_the_series_is_the_series() -> None:
    assert (drawn_ticks(ticks=4, block=14, resamples=5, seed=0) == 1).all()


def test_a_ratio_is_that_of_the_sums() -> None:
    found = ratio(np.array([1.0, 0.0, 2.0]), np.array([2.0, 1.0, 3.0]), block=1)
    assert found.value == pytest.approx(0.5)
    assert 0.0 <= found.low < 0.5 < found.high <= 2 / 3


def test_a_ratio_without_a_denominator_is_not_known() -> None:
    found = ratio(np.zeros(3), np.zeros(3), block=1)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_intervals_by_tick_hold_the_truth_where_rows_of_a_day_are_alike_and_those_by_row_do_not() -> None:
    random = np.random.default_rng(5)
    days, rows, tries = 28, 200, 200
    by_tick = by_row = 0
    for _ in range(tries):
        of_day = random.normal(0.0, 1.0, (days, 1))
        values = of_day + random.normal(0.0, 2.0, (days, rows))
        found = ratio(values.sum(axis=1), np.full(days, float(rows)), block=1, resamples=400, seed=0)
        by_tick += found.low <= 0 <= found.high
        low, high = of_mean(values.ravel())
        by_row += low <= 0 <= high
    assert by_tick / tries > 0.88  # 0.95 but for the percentile method with 28 ticks
    assert by_row / tries < 0.5


def test_blocks_of_several_ticks_hold_the_truth_where_neighbouring_ticks_are_alike() -> None:
    random = np.random.default_rng(6)
    days, tries, rho = 240, 150, 0.7
    blocks = single = 0
    for _ in range(tries):
        noise, value, values = random.normal(size=days + 50), 0.0, []
        for one in noise:
            value = rho * value + one
            values.append(value)
        series = np.array(values[50:])
        for block in (1, 14):
            found = ratio(series, np.ones(days), block=block, resamples=300, seed=0)
            holds = found.low <= 0 <= found.high
            blocks, single = blocks + (holds and block == 14), single + (holds and block == 1)
    assert blocks / tries > 0.84
    assert single / tries < 0.72
