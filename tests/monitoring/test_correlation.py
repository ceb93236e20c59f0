"""Whether model and business go together, from the ledger's rows of the ticks before."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.correlation import FEWEST_PAIRS, TICKS, correlations, reached, rests_on, spearman
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
FIRST = date(2024, 3, 1)
LAST = FIRST + (2 * TICKS - 1) * DAY
SALES = ml.BusinessMetric("sales", "books", "SELECT 1", "francs taken")
pipeline = replace(monitored.pipeline, monitoring=ml.Monitoring(metrics=(SALES,)))


def row(day: date, what: str, value: float | None, slice: str = "", reference: float | None = None) -> Measurement:
    return monitored.measurement(day, what, value, slice=slice, reference=reference)


def ledger(values: Mapping[str, np.ndarray], first: date = FIRST) -> list[Measurement]:
    """Rows of consecutive ticks: by what, or 'what/slice', the values."""
    return [
        row(first + n * DAY, what.partition("/")[0], float(value), what.partition("/")[2], 2.0 if what == "kpi" else None)
        for what, of_what in values.items()
        for n, value in enumerate(of_what)
    ]


def read(values: Mapping[str, np.ndarray], tick: date = LAST) -> dict[str, Reading]:
    return {reading.slice: reading for reading in correlations(pipeline, tick, ledger(values))}


def noisy(seed: int, n: int = 2 * TICKS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


@given(drawn.arrays(np.int8, st.integers(3, 40)).map(lambda a: a.astype(float)), st.randoms(use_true_random=False))
def test_the_correlation_is_scipys_also_where_values_are_equal(one: np.ndarray, random: object) -> None:
    other = np.roll(one, 1) + np.arange(len(one)) % 3
    if np.ptp(one) and np.ptp(other):
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def test_every_metric_of_the_model_is_paired_with_the_kpi_and_every_business_metric_and_those_with_the_kpi() -> None:
    assert set(read({})) == {
        "roc_auc with value_per_order",
        "roc_auc with sales",
        "estimated_value with value_per_order",
        "estimated_value with sales",
        "calibration with value_per_order",
        "calibration with sales",
        "sales with value_per_order",
    }


def test_only_the_last_ticks_count_and_what_comes_later_does_not() -> None:
    auc, kpi = noisy(1, 3 * TICKS), noisy(2, 3 * TICKS)
    found = read({"roc_auc": auc, "kpi": kpi})["roc_auc with value_per_order"]
    last = slice(TICKS, 2 * TICKS)
    assert found.value == pytest.approx(stats.spearmanr(auc[last], kpi[last]).statistic)
    assert found.reference == pytest.approx(stats.spearmanr(auc[:TICKS], kpi[:TICKS]).statistic)
    assert found.n == TICKS
    assert rests_on(LAST, pipeline.schedule) == FIRST
    assert reached(FIRST, pipeline.schedule) == LAST


def test_the_kpi_is_compared_itself_and_not_over_its_models_reference() -> None:
    days = [LAST - n * DAY for n in range(12)]
    kpis, references = np.arange(1.0, 13), np.where(np.arange(12) < 6, 1.0, 100.0)
    rows = [row(day, "kpi", kpi / by, "", by) for day, kpi, by in zip(days, kpis, references, strict=True)]
    rows += [row(day, "roc_auc", kpi) for day, kpi in zip(days, kpis, strict=True)]
    found = {one.slice: one for one in correlations(pipeline, LAST, rows)}
    assert found["roc_auc with value_per_order"].value == pytest.approx(1)


def test_calibration_that_lies_off_to_either_side_is_worse() -> None:
    off = np.linspace(-0.3, 0.3, TICKS)
    found = read({"calibration": off, "kpi": -np.abs(off)}, FIRST + (TICKS - 1) * DAY)
    assert found["calibration with value_per_order"].value == pytest.approx(1)


def test_they_have_parted_where_the_kpi_falls_as_the_metric_rises() -> None:
    auc = noisy(3)
    found = read({"roc_auc": auc, "kpi": np.where(np.arange(2 * TICKS) < TICKS, auc, -auc) + 0.3 * noisy(4)})
    parted = found["roc_auc with value_per_order"]
    assert parted.value < 0 < parted.reference
    assert parted.interval[1] < 0
    assert parted.watched
    assert "they have parted: when one rises, the other falls" in parted.detail


def test_they_have_parted_where_they_go_together_much_less_than_they_did() -> None:
    auc, then = noisy(5), np.arange(2 * TICKS) < TICKS
    found = read({"roc_auc": auc, "kpi": np.where(then, auc, noisy(6)) + 0.1 * noisy(7)})["roc_auc with value_per_order"]
    assert found.watched
    assert "they correlate less than before" in found.detail


def test_a_cost_that_always_fell_as_the_metric_rose_has_parted_only_where_it_no_longer_does() -> None:
    auc, then = noisy(8), np.arange(2 * TICKS) < TICKS
    always = read({"roc_auc": auc, "business_metric/sales": -auc + 0.1 * noisy(9)})["roc_auc with sales"]
    assert (always.value < -0.9, always.watched) == (True, False)
    no_longer = np.where(then, -auc, noisy(10)) + 0.1 * noisy(9)
    assert read({"roc_auc": auc, "business_metric/sales": no_longer})["roc_auc with sales"].watched


def test_what_goes_together_by_chance_has_hardly_ever_parted() -> None:
    parted = 0
    for seed in range(200):
        shared = noisy(10_000 + seed)
        values = {"roc_auc": shared + noisy(20_000 + seed), "kpi": shared + noisy(30_000 + seed)}
        parted += read(values)["roc_auc with value_per_order"].watched
    assert parted <= 4


def test_few_ticks_and_values_that_do_not_vary_have_no_correlation_and_say_so() -> None:
    few = read({"roc_auc": noisy(1, FEWEST_PAIRS - 1), "kpi": noisy(2, FEWEST_PAIRS - 1)}, FIRST + 20 * DAY)
    assert few["roc_auc with value_per_order"].value is None
    assert (
        few["roc_auc with value_per_order"].why == f"only 9 of the last {TICKS} ticks have both values; at least 10 are needed"
    )
    same = read({"roc_auc": np.full(2 * TICKS, 0.7), "kpi": noisy(2)})["roc_auc with value_per_order"]
    assert "has the same value at all 28 ticks" in same.why


def test_a_tick_without_value_is_no_pair() -> None:
    rows = [*ledger({"roc_auc": noisy(1), "kpi": noisy(2)})]
    rows = [one for one in rows if not (one.what == "kpi" and one.tick == LAST)] + [row(LAST, "kpi", None)]
    found = {one.slice: one for one in correlations(pipeline, LAST, rows)}
    assert found["roc_auc with value_per_order"].n == TICKS - 1
