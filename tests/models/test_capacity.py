"""Only the best rows of each tick are acted on: against plain pandas, and through training, scoring and monitoring."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.platform.registry import PROFILE
from mlprod_tasks.reporting.plots.capacity import RankedOutcomes
from mlprod_tasks.reporting.write import report
from mlprod_tasks.scoring.score import score
from mlprod_tasks.statistics import metrics
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.shop import SHOP

ROOM = 9
LIMITED = replace(
    SHOP, capacity=ml.Capacity(ROOM), gates=(ml.AtLeast("precision_at_capacity", 0.1), ml.BetterThanBaseline("value_per_1000"))
)


def rows_of(scores: list[float], days: list[int]) -> pa.Table:
    first = date(2024, 1, 1)
    ticks = pa.array([first + timedelta(days=day) for day in days], pa.date32())
    return pa.table({"order_id": [f"o{i}" for i in range(len(scores))], "tick": ticks, "score": scores})


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9]), st.integers(0, 2)), max_size=40),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_the_highest_of_each_tick_are_kept_in_whatever_order_rows_come(drawn, room, random):
    table = rows_of([one for one, _ in drawn], [day for _, day in drawn])
    pipeline = replace(SHOP, capacity=ml.Capacity(room))

    def acts(rows: pa.Table) -> pd.DataFrame:
        scores = rows["score"].to_numpy()
        decided = within_capacity(pipeline, rows, Predictions(scores, scores >= 0.2)).decision
        return rows.to_pandas().assign(acts=decided)

    found = acts(table)
    for _, of_day in found.groupby("tick"):
        wanted = of_day[of_day.score >= 0.2]
        assert of_day.acts.sum() == min(room, len(wanted))
        assert not of_day.acts[of_day.score < 0.2].any()
        if of_day.acts.any():
            assert of_day.score[of_day.acts].min() >= wanted.score[~wanted.acts].max() if (~wanted.acts).any() else True
    order = random.sample(range(len(drawn)), len(drawn))
    assert acts(table.take(pa.array(order, pa.int64()))).set_index("order_id").acts.to_dict() == (
        found.set_index("order_id").acts.to_dict()
    )


def test_which_of_equal_scores_are_kept_differs_from_tick_to_tick():
    days = [day for day in range(40) for _ in range(10)]
    table = rows_of([0.5] * 400, days).set_column(0, "order_id", pa.array([f"o{i % 10}" for i in range(400)]))
    decided = within_capacity(replace(SHOP, capacity=ml.Capacity(5)), table, Predictions(np.full(400, 0.5), np.ones(400, bool)))
    often = decided.decision.reshape(40, 10).sum(axis=0)
    assert decided.decision.sum() == 200
    assert (often > 8).all(), "no key is always left out"
    assert (often < 32).all()


def test_precision_at_capacity_is_that_of_the_rows_acted_on():
    random = np.random.default_rng(0)
    outcome, score = random.random(500) < 0.3, random.random(500)
    acted = score > 0.8
    sampled = metrics.sample(outcome, score, np.zeros(500), 0.1, resamples=400, acted=acted)
    one = sampled.estimates()["precision_at_capacity"]
    assert one.value == pytest.approx(outcome[acted].mean())
    half = 1.96 * np.sqrt(one.value * (1 - one.value) / acted.sum())
    assert (one.high - one.low) / 2 == pytest.approx(half, rel=0.15)
    nobody = metrics.sample(outcome, score, np.zeros(500), 0.1, resamples=0, acted=np.zeros(500, bool))
    assert np.isnan(nobody.points["precision_at_capacity"])


def test_the_curve_is_what_other_capacities_would_have_been_worth():
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"tick": np.repeat(range(6), 50), "score": random.random(300), "y": random.random(300) < 0.4})
    worth = Worth(np.where(frame.y, 3.0, -1.0), np.where(frame.y, -0.5, 0.0))
    place = frame.groupby("tick").score.rank(ascending=False, method="first").to_numpy().astype(int) - 1
    ranked = RankedOutcomes(place, frame.y.to_numpy(), worth, np.zeros(300, bool), 6)
    for room in (0, 1, 7, 50):
        best = place < room
        assert ranked.value_per_tick(50)[room] == pytest.approx(np.where(best, worth.acted, worth.waited).sum() / 6)
        if room:
            assert ranked.precision(50)[room - 1] == pytest.approx(frame.y[best].mean())


def test_training_scoring_and_monitoring_decide_with_the_same_room(shop):
    # Trees and an isotonic calibration would make many scores equal.
    distinct = replace(shop.pipeline.model, calibration="none", candidates=(ml.LogisticRegression(),))
    shop = shop.declared(capacity=LIMITED.capacity, gates=LIMITED.gates, model=distinct)
    assert shop.promoted("one").moved
    folder = TrainingFolder(shop.platform, "one")
    model = shop.platform.registry.load(shop.pipeline, 1)
    rows = read_window(folder, "test").to_pandas()
    rows["score"] = model.predict(rows).score
    best = rows[rows.score >= model.threshold].sort_values("score", ascending=False, kind="stable").groupby("tick").head(ROOM)
    evaluation = folder.read(Evaluation)
    assert evaluation.model["precision_at_capacity"].value == pytest.approx(best.label.mean())
    acts = rows.index.isin(best.index)
    worth = SHOP.value
    value = np.where(rows.label, worth.true_positive, worth.false_positive)[acts].sum() + (
        np.where(rows.label, worth.false_negative, worth.true_negative)[~acts].sum()
    )
    assert evaluation.model["value_per_1000"].value == pytest.approx(1000 * value / len(rows))
    assert evaluation.baseline["precision_at_capacity"].value < evaluation.model["precision_at_capacity"].value
    report(shop.pipeline, "one", shop.platform)
    assert (folder.path / "plots" / "capacity.png").is_file()
    assert "only the 9 with the highest scores of each tick are flagged" in (folder.path / "model_card.md").read_text()
    for _ in range(2):
        score(shop.pipeline, shop.tick(), shop.platform)
        stored = shop.platform.lake.rows("returns/predictions").to_pandas()
        assert stored.decision.sum() == ROOM
    assert stored.score[stored.decision].min() >= stored.score[~stored.decision & (stored.score >= model.threshold)].max()
    left = stored[~stored.decision & (stored.score >= model.threshold)].iloc[0]
    assert "but there is room for 9 rows of a tick only" in text(explain(shop.pipeline, [left.order_id], shop.platform))
    verified = verify(shop.pipeline, shop.tick(), shop.platform)
    assert (verified.replayed, verified.canned) == (0, 0), verified.sentences
    every = read_window(folder, "test", labelled=False).to_pandas()
    every["acts"] = model.predict(every).score >= model.threshold
    profile = json.loads((folder.path / PROFILE).read_text(encoding="utf-8"))
    assert profile["decisions"] == every.groupby("tick").acts.sum().clip(upper=ROOM).sum()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"capacity": ml.Capacity(0)}, "capacity.per_tick 0 must be at least 1"),
        ({"capacity": None}, "gate AtLeast('precision_at_capacity'): declare a capacity, such as capacity=ml.Capacity(500)"),
        (
            {"serving": ml.Serving()},
            "capacity cannot be kept on request: whether a row is among the best of its tick depends on rows that a request",
        ),
        (
            {"model": replace(SHOP.model, choose_by="precision_at_capacity")},
            "model.choose_by 'precision_at_capacity': it hardly differs between candidates; choose by log_loss or value",
        ),
    ],
    ids=["none", "not declared", "requests", "choose by"],
)
def test_what_cannot_keep_to_a_capacity_is_refused(changes, refusal):
    with pytest.raises(ValidationError) as error:
        replace(LIMITED, **changes)
    assert refusal in str(error.value)
