"""What a complete tick is said to have realised, against scikit-learn and scipy, and whether a change is plainly seen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.estimate import METRICS, Promised, promised_by
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.outcomes import columns, outcomes
from mlprod_tasks.platform.engine import engine
from tests.support import monitored_shop as monitored

T = monitored.FIRST
N = 900


def tick(n: int = N, seed: int = 1, **changes: Any) -> pa.Table:
    """A tick whose labels are drawn from its scores."""
    day = monitored.FIRST.replace(year=2000 + seed)
    return monitored.scored(day, n, **changes)


def read(
    judged: pa.Table, rows: int | None = None, pipeline: ml.Pipeline = monitored.pipeline, **given: Any
) -> dict[str, Reading]:
    found = outcomes(pipeline, given.pop("profile", monitored.reference()), judged, rows or judged.num_rows, **given)
    return {f"{reading.what}/{reading.slice}".rstrip("/"): reading for reading in found}


def arrays(judged: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(judged[name].to_numpy(zero_copy_only=False) for name in ("label", "score", "decision"))  # type: ignore[return-value]


def resampled(judged: pa.Table, label: np.ndarray) -> pa.Table:
    return judged.set_column(judged.column_names.index("label"), "label", pa.array(label))


def test_every_metric_is_sklearns_and_within_its_interval() -> None:
    judged = tick()
    y, score, decision = arrays(judged)
    found = read(judged)
    worth = 1000 * np.where(decision, np.where(y, 10, -2), 0)
    assert found["roc_auc"].value == pytest.approx(sk.roc_auc_score(y, score))
    assert found["precision"].value == pytest.approx(sk.precision_score(y, decision))
    assert found["recall"].value == pytest.approx(sk.recall_score(y, decision))
    assert found["value"].value == pytest.approx(worth.mean())
    assert found["calibration"].value == pytest.approx(y.mean() - score.mean())
    assert found["label_rate"].value * monitored.reference().label_rate == pytest.approx(y.mean())
    for what in (*METRICS, "calibration", "label_rate", "label_coverage", "kpi"):
        low, high = found[what].interval
        assert low <= found[what].value <= high, what
    hits = stats.binomtest(int((y & decision).sum()), int(decision.sum())).proportion_ci(method="wilson")
    assert found["precision"].interval == pytest.approx((hits.low, hits.high))
    assert found["value"].interval == pytest.approx(stats.norm.interval(0.95, worth.mean(), stats.sem(worth)))


def test_the_kpis_interval_is_that_of_its_mean_where_the_kpi_is_a_mean() -> None:
    """The jackknife knows nothing of the KPI's SQL and finds what the central limit theorem says of a mean."""
    widths = []
    for seed in range(1, 21):
        y, _, decision = arrays(tick(seed=seed))
        worth = np.where(decision, np.where(y, 10, -2), 0)
        low, high = read(tick(seed=seed))["kpi"].interval
        widths.append((high - low) * monitored.reference().kpi / (2 * 2.262 * stats.sem(worth)))
    assert np.mean(widths) == pytest.approx(1, abs=0.12)


def test_a_kpi_that_is_no_mean_has_an_interval_too() -> None:
    share = replace(monitored.pipeline, kpi=ml.Kpi("hits", "count_if(decision AND outcome) / count_if(decision)", "precision"))
    found = read(tick(), pipeline=share)
    low, high = found["precision"].interval
    wide = found["kpi"].interval[1] - found["kpi"].interval[0]
    assert wide * monitored.reference().kpi == pytest.approx(high - low, rel=0.6)


def test_a_kpi_without_ratio_says_its_number() -> None:
    found = read(tick(), profile=replace(monitored.reference(), kpi=-3.0))["kpi"]
    y, _, decision = arrays(tick())
    assert found.value is None
    assert f"it is {np.where(decision, np.where(y, 10, -2), 0).mean():,.4g} CHF" in found.why


def test_what_the_model_is_said_to_do_leaves_the_fallbacks_rows_out_and_what_happened_does_not() -> None:
    judged = tick(fallback=np.arange(N) < 300)
    y, score, decision = arrays(judged)
    found = read(judged)
    assert found["roc_auc"].value == pytest.approx(sk.roc_auc_score(y[300:], score[300:]))
    assert found["precision"].value == pytest.approx(sk.precision_score(y[300:], decision[300:]))
    assert found["recall"].n == found["estimate_error/value"].n == 600
    assert found["label_rate"].n == found["kpi"].n == N


def test_the_error_of_an_estimate_is_what_was_realised_minus_what_was_promised_for_all_rows() -> None:
    whole = tick()
    with engine(threads=1) as con:
        con.register("whole", whole)
        promised = promised_by(con, "whole", monitored.pipeline)
    judged = whole.slice(0, 700)
    found = read(judged, N, promised=promised)
    for metric in METRICS:
        error, promise = found[f"estimate_error/{metric}"], promised.estimate(metric)
        assert error.reference == promise.value
        assert error.value == pytest.approx(found[metric].value - promise.value)
        assert error.interval[0] <= 0 <= error.interval[1], "what the scores promised was kept"
    assert read(judged, N)["estimate_error/value"].reference != promised.estimate("value").value


def test_scores_that_broke_their_promise_are_seen_in_the_error_of_the_estimate() -> None:
    judged = resampled(tick(), np.random.default_rng(1).random(N) < 0.2)
    found = read(judged)
    for metric in ("roc_auc", "precision", "value"):
        assert found[f"estimate_error/{metric}"].interval[1] < 0, metric


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_a_halved_or_doubled_label_rate_is_plain_in_one_tick(times: float) -> None:
    """By much more than quiet ticks scatter: label rate, calibration and the regions of the important feature all say so."""
    seen = []
    for seed in range(1, 9):
        judged = tick(seed=seed)
        y, score, _ = arrays(judged)
        random = np.random.default_rng(seed)
        changed = random.random(N) < np.clip(score * times, 0, 1)
        quiet, moved = read(judged), read(resampled(judged, changed))
        rate, off = moved["label_rate"], moved["calibration"]
        assert abs(quiet["label_rate"].value - 1) < 0.25
        assert abs(rate.value - times) < 0.4
        seen.append(
            not rate.interval[0] <= 1 <= rate.interval[1]
            and not off.interval[0] <= 0 <= off.interval[1]
            and moved["residual_drift/price"].value > 0
        )
        assert y.any()
    assert all(seen)


def test_a_quiet_tick_leaves_no_interval_more_often_than_it_should() -> None:
    outside = {"calibration": 0, "estimate_error/roc_auc": 0, "estimate_error/precision": 0, "estimate_error/value": 0}
    ticks = 60
    for seed in range(1, ticks + 1):
        found = read(tick(400, seed))
        for what in outside:
            low, high = found[what].interval
            outside[what] += not low <= 0 <= high
    assert all(count <= 0.05 * ticks + 3 * np.sqrt(0.05 * ticks) for count in outside.values()), outside


def test_where_nothing_is_decided_or_comes_true_precision_and_recall_have_no_value_and_say_why() -> None:
    never = tick(score=np.full(N, 0.1))
    found = read(never)
    assert found["precision"].value is None
    assert found["precision"].why == "none of 900 rows was decided positive, so there is no precision"
    assert "there was no estimate" in found["estimate_error/precision"].why
    none = read(tick(label=np.zeros(N, bool)))
    assert none["recall"].why == "none of 900 rows has a positive outcome, so there is no recall"
    assert none["estimate_error/recall"].why == none["recall"].why
    assert none["estimate_error/recall"].reference > 0
    assert none["calibration"].interval[1] < 0


def test_a_value_that_cannot_be_computed_is_missing_in_each_of_its_readings() -> None:
    lost = replace(monitored.pipeline, value=ml.ValueFunction(act="CASE WHEN outcome THEN price ELSE -2 END"))
    found = read(tick().drop_columns(["price"]), pipeline=lost)
    assert (found["value"].missing, found["kpi"].missing) == (True, True)
    assert "price" in found["value"].why
    assert "there was no estimate" in found["estimate_error/value"].why
    assert found["residual_drift/price"].missing
    assert found["precision"].value is not None


def test_too_few_outcomes_give_every_reading_its_reason() -> None:
    whole, few = read(tick()), read(tick(20))
    assert set(few) == set(whole)
    assert all(
        one.value is None and "20 outcomes are too few" in one.why for name, one in few.items() if name != "label_coverage"
    )
    own = read(tick(fallback=np.arange(N) >= 20))
    assert "the model itself answered only 20 of the rows with an outcome" in own["recall"].why


def test_the_columns_that_outcomes_reads_are_enough() -> None:
    judged = tick()
    needed = judged.select([*columns(monitored.pipeline, monitored.reference()), "label"])
    assert read(needed) == read(judged)
    assert set(needed.column_names) == {"score", "decision", "fallback", "label", "price", "place"}


def test_a_profile_from_before_residuals_were_kept_expects_none() -> None:
    found = read(tick(), profile=replace(monitored.reference(), residuals=(), precision=None))
    assert found["residual_drift/price"].value == 0
    assert found["precision"].reference is None


def test_an_empty_promise_is_no_error() -> None:
    nothing = Promised(np.empty(0), np.empty(0, bool), np.empty(0), np.empty((1, 0)))
    assert read(tick(), promised=nothing)["estimate_error/roc_auc"].value is None
