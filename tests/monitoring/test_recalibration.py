"""Estimates before labels rest on what scores meant on the reference."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sklearn.isotonic import IsotonicRegression

from mlprod_tasks.models.reference_profile import ScoreCurve
from mlprod_tasks.monitoring import estimate
from mlprod_tasks.monitoring.estimate import Promised
from mlprod_tasks.monitoring.recalibration import RESAMPLES, chances, recalibration
from mlprod_tasks.statistics.metrics import roc_auc

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(28)]


def rows(random: np.random.Generator, ticks: int, n: int, of_day: float = 0.0) -> pa.Table:
    """Scores that promise twice the odds that come true, and days that differ by `of_day` in log odds."""
    logit = random.normal(-1.0, 1.0, ticks * n)
    day = np.repeat(random.normal(0.0, of_day, ticks), n) if of_day else 0.0
    score = 1 / (1 + np.exp(-logit))
    label = random.random(ticks * n) < 1 / (1 + np.exp(-(logit - np.log(2) + day)))
    return pa.table({"tick": np.repeat(DAYS[:ticks], n), "score": score, "label": label})


def curves(table: pa.Table) -> tuple[ScoreCurve, ...]:
    con = duckdb.connect()
    con.register("reference", table)
    return recalibration(con, "reference")


def test_the_first_curve_is_the_isotonic_regression_of_all_outcomes() -> None:
    table = rows(np.random.default_rng(1), 28, 500)
    first, *others = curves(table)
    assert len(others) == RESAMPLES
    score, label = table["score"].to_numpy(), table["label"].to_numpy(zero_copy_only=False)
    expected = IsotonicRegression(out_of_bounds="clip").fit(score, label.astype(float))
    at = np.linspace(0.05, 0.8, 50)
    # Scores are counted in 4,096 parts, so that a step may move by one of them.
    assert np.interp(at, first.x, first.y) == pytest.approx(expected.predict(at), abs=0.02)
    assert list(first.y) == sorted(first.y)


def test_too_few_outcomes_of_a_class_have_no_curve_and_too_few_ticks_no_resamples() -> None:
    assert curves(rows(np.random.default_rng(2), 28, 8)) == ()
    assert len(curves(rows(np.random.default_rng(2), 3, 2000))) == 1


def promised(table: pa.Table, known: tuple[ScoreCurve, ...]) -> Promised:
    score = table["score"].to_numpy()
    return Promised(score, score >= 0.3, np.ones(len(score)), chances(score, known))


def test_recalibrated_estimates_hold_what_comes_true_and_those_of_raw_scores_do_not() -> None:
    random, held, raw_held, off, raw_off = np.random.default_rng(3), 0, 0, [], []
    for _ in range(60):
        known = curves(rows(random, 28, 400, of_day=0.3))
        now = rows(random, 1, 3000)
        label, decided = now["label"].to_numpy(zero_copy_only=False), now["score"].to_numpy() >= 0.3
        came = label[decided].mean()
        found, raw = promised(now, known).estimate("precision"), promised(now, ()).estimate("precision")
        held, raw_held = held + (found.low <= came <= found.high), raw_held + (raw.low <= came <= raw.high)
        off.append(found.value - came)
        raw_off.append(raw.value - came)
    assert held >= 54
    assert raw_held <= 3
    assert abs(np.mean(off)) < 0.1 * abs(np.mean(raw_off))


def test_the_auc_orders_by_score_and_counts_by_the_curve() -> None:
    random = np.random.default_rng(4)
    score = random.beta(2, 5, 400)
    chance = np.interp(score, [0.0, 0.3, 1.0], [0.02, 0.1, 0.9])
    found = estimate.roc_auc(score, np.ones(400), chance)
    drawn = [roc_auc(random.random(400) < chance, score) for _ in range(800)]
    assert found.value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(800))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)
    assert estimate.roc_auc(score, np.ones(400), score) == estimate.roc_auc(score, np.ones(400))


def test_what_the_curve_leaves_unsure_widens_the_interval() -> None:
    table = rows(np.random.default_rng(5), 28, 400, of_day=0.5)
    known = curves(table)
    one, all_of_them = promised(table, known[:1]), promised(table, known)
    for metric in ("roc_auc", "precision", "recall"):
        narrow, wide = one.estimate(metric), all_of_them.estimate(metric)
        assert narrow.value == wide.value
        assert wide.low < narrow.low
        assert wide.high > narrow.high
