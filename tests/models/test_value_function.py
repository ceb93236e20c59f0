"""A worth that differs from row to row, all the way: threshold, evaluation, fallback, predictions, KPI."""

from dataclasses import replace
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.evaluation.results import read_results
from mlprod_tasks.models import fallback
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.outcomes import outcomes
from mlprod_tasks.platform import names
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.scoring.score import score
from mlprod_tasks.training import workspace
from mlprod_tasks.training.workspace import TrainingFolder

ACT = "CASE WHEN outcome THEN 0.1 * coalesce(amount, 0) ELSE -3 END"
AMOUNT = ml.ValueFunction(act=ACT, unit="CHF")


def worth(rows: pa.Table, decision: np.ndarray) -> np.ndarray:
    """By hand: a tenth of the amount for a right warning, 3 lost for a wrong one."""
    amount = np.nan_to_num(rows["amount"].to_numpy(zero_copy_only=False))
    label = rows["label"].to_numpy(zero_copy_only=False).astype(bool)
    return np.where(decision, np.where(label, 0.1 * amount, -3), 0)


@pytest.fixture
def valued(shop):
    return shop.declared(value=AMOUNT, gates=(ml.AtLeast("roc_auc", 0.55),), slices=("channel",))


def test_threshold_and_evaluation_follow_the_function(valued):
    valued.trained("one")
    folder = TrainingFolder(valued.platform, "one")
    made = load_model(folder.model)
    validation, test = (workspace.read_window(folder, name) for name in ("validation", "test"))
    scores = made.predict(validation).score
    best = max(worth(validation, scores >= at).sum() for at in np.append(np.unique(scores), 2))
    assert worth(validation, scores >= made.threshold).sum() == pytest.approx(best)
    evaluation = read_results(folder).evaluation
    expected = worth(test, made.predict(test).decision)
    assert evaluation.model["value_per_1000"].value == pytest.approx(1000 * expected.mean())
    channel = test["channel"].to_numpy(zero_copy_only=False)
    sliced = next(one for one in read_results(folder).slices.slices if one.name == "channel = 'phone'")
    assert sliced.metrics["value_per_1000"].value == pytest.approx(1000 * expected[channel == "phone"].mean())
    beside = fallback.load(folder.fallback)
    rows = workspace.read_window(folder, "train")
    rates = beside.predict(rows).score
    best = max(worth(rows, rates >= at).sum() for at in np.append(np.unique(rates), 2))
    assert worth(rows, beside.predict(rows).decision).sum() == pytest.approx(best)


@pytest.mark.parametrize("by_fallback", [False, True])
def test_what_was_decided_is_worth_the_same_in_production_whoever_answered(valued, monkeypatch, by_fallback):
    valued.promoted("one")
    platform, pipeline = valued.platform, valued.pipeline
    if by_fallback:
        monkeypatch.setattr(platform.registry, "load_model", lambda ref: 1 / 0)
    tick = valued.tick("2024-02-10")
    done = score(pipeline, tick, platform)
    assert bool(done.fallback_reason) == by_fallback
    files = platform.lake.files(names.predictions(pipeline), pipeline.schedule.range(tick.name))
    as_of = pipeline.schedule.tick(tick.name + timedelta(days=2))
    labels = features.labels(pipeline, pipeline.schedule.range(tick.name), as_of, platform)
    with duckdb.connect() as con:
        con.register("labels", labels)
        query = f"SELECT p.*, label FROM read_parquet({listed(files)}) p JOIN labels USING (order_id) ORDER BY order_id"
        judged = con.sql(query).to_arrow_table()
    profile = ReferenceProfile.from_json(platform.registry.reference_profile(pipeline, 1))
    kpi = next(one for one in outcomes(pipeline, profile, judged, done.rows) if one.what == "kpi")
    decided = judged["decision"].to_numpy(zero_copy_only=False).astype(bool)
    assert decided.any()
    expected = 1000 * worth(judged, decided).mean()
    assert kpi.value == pytest.approx(expected / profile.kpi)
    rows = workspace.read_window(TrainingFolder(platform, "one"), "test")
    made = load_model(TrainingFolder(platform, "one").model)
    assert profile.kpi == pytest.approx(1000 * worth(rows, made.predict(rows).decision).mean())


def test_a_worth_that_cannot_be_computed_in_production_is_said_and_counts_as_a_breach(valued):
    valued.trained("one")
    test = workspace.read_window(TrainingFolder(valued.platform, "one"), "test")
    predicted = load_model(TrainingFolder(valued.platform, "one").model).predict(test)
    judged = test.append_column("score", pa.array(predicted.score)).append_column("decision", pa.array(predicted.decision))
    judged = judged.append_column("fallback", pa.array(np.zeros(len(test), bool)))
    from mlprod_tasks.monitoring.profile import make_profile

    labels = test["label"].to_numpy(zero_copy_only=False)
    profile = make_profile(
        valued.pipeline, test, scores=predicted.score, decisions=predicted.decision, labels=labels, importance={}
    )
    fragile = replace(valued.pipeline, value=replace(AMOUNT, act="CASE WHEN outcome THEN amount ELSE -3 END"))
    readings = {one.what: one for one in outcomes(fragile, profile, judged, len(test))}
    assert readings["kpi"].value is None
    assert readings["kpi"].missing
    assert "gives no number for" in readings["kpi"].why
    assert readings["roc_auc"].value is not None
    without = {one.what: one for one in outcomes(fragile, profile, judged.drop_columns(["amount"]), len(test))}
    assert "cannot be computed" in without["kpi"].why
