"""Alarms judged by what came true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from mlprod_tasks.monitoring.hindsight import Loss, Quality, TickSums, around, before, judge, quality, tick_sums, weeks, worse
from mlprod_tasks.statistics.metrics import CannotBeMeasured

LOSS = Loss(roc_auc=0.03, log_loss=0.02, value=0.1)
GOOD = Quality(rows=1000, roc_auc=0.70, saved=0.03, advantage=2.0, value=5.0)


def rows(random: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    score = random.beta(2, 6, n)
    return random.random(n) < score, score


def summed(outcome: np.ndarray, score: np.ndarray, threshold: float) -> TickSums:
    acted = np.where(outcome, 120.0, -40.0)
    return tick_sums(outcome, score, np.where(score > threshold, acted, 0.0), acted, np.zeros(len(acted)))


def test_quality_is_that_of_the_rows_together_and_of_the_order_within_each_tick() -> None:
    random = np.random.default_rng(1)
    ticks = [rows(random, n) for n in (300, 500)]
    sums = [summed(outcome, score, 0.3) for outcome, score in ticks]
    found = quality(sums)
    outcome, score = (np.concatenate([one[k] for one in ticks]) for k in (0, 1))
    acted = 120.0 * outcome - 40 * ~outcome
    value = np.where(score > 0.3, acted, 0.0).mean()
    aucs = [roc_auc_score(y, s) for y, s in ticks]
    assert found.rows == 800
    assert found.roc_auc == pytest.approx((300 * aucs[0] + 500 * aucs[1]) / 800)
    constant = np.full(800, outcome.mean())
    assert found.saved == pytest.approx(log_loss(outcome, constant) - log_loss(outcome, score))
    assert found.value == pytest.approx(value)
    assert found.advantage == pytest.approx(value - max(acted.mean(), 0.0))


def test_a_season_with_more_positives_is_not_worse_for_calibrated_scores_of_the_same_order() -> None:
    random = np.random.default_rng(2)
    found = []
    for shift in (-1.0, 1.0):
        logit = random.normal(shift - 1.0, 1.0, 60_000)
        score = 1 / (1 + np.exp(-logit))
        found.append(quality([summed(random.random(60_000) < score, score, 0.25)]))
    few, many = found
    assert worse(many, few, Loss(log_loss=0.06)) == ()
    assert worse(few, many, Loss(log_loss=0.06)) == ()


def test_a_tick_of_one_class_has_no_auc_and_ticks_without_rows_no_quality() -> None:
    nothing = np.zeros(0)
    none = tick_sums(nothing.astype(bool), nothing, nothing, nothing, nothing)
    one_class = tick_sums(np.zeros(50, bool), np.full(50, 0.1), np.zeros(50), np.full(50, -1.0), np.zeros(50))
    assert quality([none, one_class]).roc_auc is None
    with pytest.raises(CannotBeMeasured, match="none of the ticks"):
        quality([none])


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (GOOD, ()),
        (replace(GOOD, roc_auc=0.68), ()),
        (replace(GOOD, roc_auc=0.66), ("roc_auc",)),
        (replace(GOOD, roc_auc=None), ()),
        (replace(GOOD, saved=0.009), ("log_loss",)),
        (replace(GOOD, advantage=-0.4), ()),
        (replace(GOOD, advantage=-0.6), ("value",)),
        (replace(GOOD, roc_auc=0.5, saved=-0.1, advantage=-3.0), ("roc_auc", "log_loss", "value")),
    ],
)
def test_worse_is_what_is_beyond_the_declared_loss(now: Quality, expected: tuple[str, ...]) -> None:
    assert worse(now, GOOD, LOSS) == expected


def test_an_alarm_is_judged_from_the_label_delay_before_it_to_a_week_after() -> None:
    assert list(around(10, 2, 30)) == list(range(8, 18))
    assert list(around(0, 2, 30)) == list(range(8))
    assert list(around(29, 2, 30)) == [27, 28, 29]
    assert list(before(10, 2)) == [2, 3, 4, 5, 6, 7, 8]
    assert list(before(3, 2)) == [0, 1]


def test_weeks_hold_every_tick_once() -> None:
    for n in (1, 6, 7, 8, 20, 243):
        parts = weeks(n)
        assert [tick for part in parts for tick in part] == list(range(n))
        assert n < 7 or all(7 <= len(part) < 14 for part in parts)


def test_precision_counts_ticks_recall_weeks_and_delay_spells() -> None:
    true = np.zeros(35, bool)
    true[7:21] = True
    bad = [False, True, True, False, True]  # spells begin at 7 and 28
    found = judge([3, 10, 11, 12], true, bad, delay=2)
    assert (found.fired, found.bad_weeks) == (4, 3)
    assert found.precision is not None
    assert found.precision.value == pytest.approx(3 / 4)
    assert found.recall is not None
    assert found.recall.value == pytest.approx(1 / 3)
    assert found.delay == 3
    late = judge([15], true, bad, delay=2)  # the label delay after week 7 to 13 counts for it
    assert late.recall is not None
    assert late.recall.value == pytest.approx(2 / 3)


def test_without_alarms_or_bad_weeks_there_is_nothing_to_judge() -> None:
    silent = judge([], np.zeros(14, bool), [True, False], 2)
    assert silent.precision is None
    assert silent.delay is None
    assert silent.recall is not None
    assert silent.recall.value == 0
    calm = judge([4], np.zeros(14, bool), [False, False], 2)
    assert calm.recall is None
    assert calm.precision is not None
    assert calm.precision.value == 0
