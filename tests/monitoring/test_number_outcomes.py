"""Outcomes that are numbers: against scipy and scikit-learn, quiet on quiet days, found where something was planted."""

import json
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.bounds import Bounds
from mlprod_tasks.monitoring.diagnosis import CONCEPT_SHIFT, PRIOR_SHIFT, causes
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.monitoring.outcomes import outcomes, unmeasured
from mlprod_tasks.monitoring.profile import make_profile, profile_of
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as shop
from tests.support.clock import SetClock
from tests.support.shop import ORDERS, RETURNS, with_columns, without

REFUND = ml.Column("refund", "float", "what was paid back", nullable=True)
PIPELINE = replace(
    shop.pipeline,
    task="regression",
    tables=(
        with_columns(without(ORDERS, "channel", "items"), ml.Column("region", "text", "where to")),
        with_columns(RETURNS, REFUND),
    ),
    label=replace(shop.pipeline.label, sql="refund", kind="number"),
    fallback=ml.MeanTable(by=("place",)),
    value=ml.PredictionValue(unit="CHF"),
    gates=(ml.AtMost("mae", 30.0),),
    kpi=ml.Kpi("error", "avg(abs(prediction - outcome))", "how far off", "CHF"),
    watches=ml.WATCHES,
    rules=ml.RULES,
)
TICK = date(2024, 3, 1)
NOW = SetClock(shop.NOW).now()


def scored(day: date, n: int = 400, **changes: Any) -> pa.Table:
    """A tick's predicted refunds with what is paid back, in column `label`: right on average, off by 10 francs or so."""
    rows = shop.scored(day, n)
    random = np.random.default_rng(day.toordinal() + 1)
    predicted = 0.4 * rows["price"].to_numpy() + 5.0 * (np.asarray(rows["place"]) == "north")
    columns = {name: rows[name] for name in rows.column_names if name not in ("score", "label", "decision")}
    columns |= {"score": predicted, "label": predicted + random.normal(0, 10, n), "decision": pa.nulls(n, pa.bool_())}
    return pa.table(columns | changes)


@cache
def reference() -> ReferenceProfile:
    rows = pa.concat_tables([scored(day) for day in shop.REFERENCE])
    gains = {"price": 70.0, "place": 20.0, "items": 10.0}
    label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
    return make_profile(PIPELINE, rows, scores=score, decisions=np.zeros(rows.num_rows, bool), labels=label, importance=gains)


def readings(rows: pa.Table) -> dict[str, Reading]:
    return {f"{one.what}/{one.slice}".rstrip("/"): one for one in outcomes(PIPELINE, reference(), rows, rows.num_rows)}


def measurements(rows: pa.Table, day: date = TICK) -> list[Measurement]:
    bounds, tick = Bounds(PIPELINE, day, reference()), PIPELINE.schedule.tick(day)
    with engine() as con:
        con.register("predictions", rows)
        of_inputs = list(inputs(reference(), observe(con, "predictions", reference())))
    of_outcomes = outcomes(PIPELINE, reference(), rows, rows.num_rows)
    return [judged(one, PIPELINE, tick, 3, NOW, bounds) for one in (*of_inputs, *of_outcomes)]


def test_the_profile_keeps_outcomes_and_errors_and_survives_json():
    rows = pa.concat_tables([scored(day) for day in shop.REFERENCE])
    label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
    numbers = reference().numbers
    assert numbers is not None
    assert (numbers.mean, numbers.sd) == (pytest.approx(label.mean()), pytest.approx(label.std()))
    assert numbers.mae == pytest.approx(mean_absolute_error(label, score))
    assert numbers.rmse == pytest.approx(root_mean_squared_error(label, score))
    assert numbers.bias == pytest.approx((label - score).mean())
    assert sum(numbers.label.counts) == rows.num_rows
    assert (reference().label_rate, reference().roc_auc, reference().decisions) == (None, None, None)
    assert ReferenceProfile.from_json(json.loads(json.dumps(reference().as_json(), allow_nan=False))) == reference()


def test_each_value_is_that_of_the_rows_with_its_interval():
    rows = scored(TICK)
    label, score, numbers = rows["label"].to_numpy(), rows["score"].to_numpy(), reference().numbers
    found, error = readings(rows), label - score
    assert found["mae"].value == pytest.approx(mean_absolute_error(label, score) / numbers.mae)
    assert found["rmse"].value == pytest.approx(root_mean_squared_error(label, score) / numbers.rmse)
    assert found["bias"].value == pytest.approx(error.mean() / numbers.sd)
    assert found["label_mean"].value == pytest.approx((label.mean() - numbers.mean) / numbers.sd)
    assert found["value"].value == pytest.approx(-1000 * np.abs(error).mean())
    low, high = stats.norm.interval(0.95, error.mean(), stats.sem(error))
    assert found["bias"].interval == pytest.approx((low / numbers.sd, high / numbers.sd))
    assert found["kpi"].value == pytest.approx(np.abs(error).mean() / numbers.mae)
    assert found["mae"].value * found["mae"].reference == pytest.approx(np.abs(error).mean())


def test_quiet_days_stay_quiet():
    breached = [
        (day, one.what, one.slice)
        for day in (TICK + timedelta(days=n) for n in range(20))
        for one in measurements(scored(day), day)
        if one.breached
    ]
    assert len(breached) <= 1, breached


def test_predictions_that_are_off_to_one_side_everywhere_are_a_prior_shift():
    rows = scored(TICK)
    moved = rows.set_column(rows.column_names.index("label"), "label", pa.array(rows["label"].to_numpy() + 25))
    found = measurements(moved)
    breached = {one.what for one in found if one.breached}
    assert {"bias", "mae", "label_mean"} <= breached
    assert next(one.value for one in found if one.what == "bias") > 0.5
    assert set(causes(PIPELINE, found).values()) == {PRIOR_SHIFT}


def test_outcomes_that_follow_the_features_otherwise_in_a_region_are_a_concept_shift():
    rows = scored(TICK)
    north = np.asarray(rows["place"]) == "north"
    label = rows["label"].to_numpy() + np.where(north, 60.0, 0.0)
    found = measurements(rows.set_column(rows.column_names.index("label"), "label", pa.array(label)))
    region = next(one for one in found if (one.what, one.slice) == ("residual_shift", "place"))
    assert region.value * reference().numbers.sd == pytest.approx(60, abs=4)
    assert "place 'north'" in region.sentence
    watched = replace(
        PIPELINE, watches=(ml.Watch("residual_shift", high=0.2), *ml.REGRESSION_WATCHES), rules=ml.REGRESSION_RULES
    )
    region.breached = True
    assert causes(watched, found)["residual_shift", "place"] == CONCEPT_SHIFT


def test_a_changed_distribution_with_the_same_mean_is_seen_in_its_psi():
    rows = scored(TICK)
    label = rows["label"].to_numpy()
    two_sided = label.mean() + np.where(np.arange(400) % 2, 1.0, -1.0) * label.std()
    found = readings(rows.set_column(rows.column_names.index("label"), "label", pa.array(two_sided)))
    assert abs(found["label_mean"].value) < 0.2
    assert found["label_psi"].value > 0.5


def test_what_the_fallback_answered_is_no_error_of_the_model():
    rows, half = scored(TICK), np.arange(400) < 200
    label = rows["label"].to_numpy() + np.where(half, 500.0, 0.0)
    rows = rows.set_column(rows.column_names.index("label"), "label", pa.array(label))
    rows = rows.set_column(rows.column_names.index("fallback"), "fallback", pa.array(half))
    found = readings(rows)
    assert found["mae"].n == 200
    assert found["mae"].value < 1.2
    assert found["label_mean"].n == 400
    assert found["kpi"].value > 10


def test_too_few_outcomes_have_no_value_but_a_reading_each():
    few = readings(scored(TICK, 20))
    assert few["label_coverage"].value == 1
    assert {what for what, one in few.items() if one.value is None} == {
        "label_mean", "label_psi", "kpi", "mae", "rmse", "bias", "value", "residual_shift/price", "residual_shift/place",
    }  # fmt: skip
    waiting = {one.what for one in unmeasured(reference(), "its labels wait", 400)}
    assert waiting == {"label_mean", "label_psi", "kpi", "mae", "rmse", "bias", "value", "residual_shift"}


def with_ends(rows: pa.Table, low: float, high: float) -> pa.Table:
    score = rows["score"].to_numpy()
    return rows.append_column("prediction_low", pa.array(score + low)).append_column("prediction_high", pa.array(score + high))


def test_intervals_that_no_longer_hold_their_share_are_seen():
    held = replace(PIPELINE, model=replace(PIPELINE.model, coverage=0.8), watches=ml.WATCHES, rules=ml.RULES)
    low, high = stats.norm.interval(0.8, 0, 10)
    rows = pa.concat_tables([with_ends(scored(day), low, high) for day in shop.REFERENCE])
    gains = {"price": 70.0, "place": 20.0, "items": 10.0}
    rows = rows.drop_columns(["decision"]).append_column("decision", pa.array(np.zeros(rows.num_rows, bool)))
    profile = profile_of(held, rows, gains)
    assert profile.numbers.held == pytest.approx(0.8, abs=0.02)
    assert len(profile.history.values["interval_coverage"]) == len(shop.REFERENCE)

    def coverage(tick: pa.Table) -> tuple[Reading, Measurement]:
        reading = next(one for one in outcomes(held, profile, tick, tick.num_rows) if one.what == "interval_coverage")
        return reading, judged(reading, held, held.schedule.tick(TICK), 3, NOW, Bounds(held, TICK, profile))

    quiet, of_quiet = coverage(with_ends(scored(TICK), low, high))
    assert abs(quiet.value) < 0.06
    assert not of_quiet.breached
    wider = scored(TICK)
    error = wider["label"].to_numpy() - wider["score"].to_numpy()
    wider = wider.set_column(wider.column_names.index("label"), "label", pa.array(wider["score"].to_numpy() + 2.5 * error))
    found, of_found = coverage(with_ends(wider, low, high))
    assert found.value == pytest.approx(2 * stats.norm.cdf(high / 25) - 1 - 0.8, abs=0.06)
    assert of_found.breached
    none, _ = coverage(scored(TICK))
    assert (none.value, none.why) == (None, "these predictions have no interval")
