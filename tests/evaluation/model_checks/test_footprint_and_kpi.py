"""Latency, size and the simulated KPI, against what they are by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.model_checks import footprint


def test_latency_and_size_are_measured_and_bounded(trained):
    gates = (ml.Latency(10_000.0), ml.Latency(10_000.0, rows=500), ml.ModelSize(100.0))
    one, batch, size = trained.checked(*gates)
    assert one.passed
    assert batch.passed
    assert size.passed
    assert one.value > 0
    assert "1 row is scored in" in one.sentence
    assert "500 rows are scored in" in batch.sentence
    assert "in the best of 5 rounds" in batch.sentence
    assert size.value == pytest.approx(sum(p.stat().st_size for p in trained.folder.model.rglob("*") if p.is_file()) / 1e6)
    slow = trained.checked(ml.Latency(1e-6), ml.Latency(1e-6, rows=500), ml.ModelSize(1e-6))
    assert not any(verdict.passed for verdict in slow)


def test_a_batch_has_as_many_rows_as_declared_also_where_the_test_window_has_fewer(trained):
    held, sizes = trained.loaded(), []

    class Counting:
        def predict(self, frame):
            sizes.append(frame.num_rows)
            return held.predict(frame)

    footprint.latency(ml.Latency(1.0, rows=2_000), Counting(), trained.rows())
    assert trained.rows().num_rows < 2_000
    assert set(sizes) == {2_000}


def test_the_kpi_is_what_the_decisions_would_have_brought(trained):
    rows = trained.rows().to_pandas()
    decision = trained.loaded().predict(rows).decision
    worth = pd.Series(np.where(decision, np.where(rows["label"], 10, -4), 0))
    expected = 1000 * worth.mean()
    by_tick = 1000 * worth.groupby(rows["tick"].to_numpy()).mean()
    passed, cost = trained.checked(ml.KpiAtLeast(expected - 1, worst_week=expected - 1), ml.KpiAtMost(expected - 1))
    assert (passed.passed, cost.passed) == (True, False)
    assert not trained.judged(ml.KpiAtLeast(expected + 1))[0].passed
    assert passed.value == pytest.approx(expected)
    assert "the worst week: value_per_1000_orders in 2024-02-02..2024-02-08 would have been" in passed.sentence
    assert {day: one.value for day, one in trained.found(names.KPI_BY_TICK).items()} == pytest.approx(
        {str(day): value for day, value in by_tick.items()}
    )


def test_a_kpi_without_a_value_fails(trained):
    nothing = replace(trained, pipeline=replace(trained.pipeline, kpi=ml.Kpi("none", "avg(value) / 0", "-")))
    (verdict,) = nothing.checked(ml.KpiAtLeast(0.0))
    assert not verdict.passed
    assert "none has no value for" in verdict.sentence
