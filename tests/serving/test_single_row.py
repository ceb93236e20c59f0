"""One row alone gets what it gets in its batch, bit for bit."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import fallback, model
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.predicted_columns import logged_columns
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.serving.single_row import SingleRow, fallback_score
from mlprod_tasks.training.segments import fit_all
from tests.support.reason_shop import REASONS

LEARNERS: dict[str, ml.Learner] = {
    "lightgbm": ml.LightGBM(max_trees=40, min_data_in_leaf=20),
    "logistic regression": ml.LogisticRegression(),
    "random forest": ml.RandomForest(trees=20),
    "constant": ml.Constant(),
}


def some_rows(n: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    channel, amount = random.choice(["web", "app", "phone", None], n), random.gamma(2, 40, n)
    returned = random.random(n) < 1 / (1 + np.exp(1.5 - 1.5 * (channel == "phone") - 0.01 * amount))
    return pa.table(
        {
            "channel": pa.array(channel, pa.string()),
            "amount": pa.array(amount, mask=random.random(n) < 0.1),
            "items": pa.array(random.integers(1, 6, n), pa.int64()),
            "weekday": pa.array(random.integers(1, 8, n), pa.int64()),
            "tick": pa.array([date(2024, 1, 1)] * n),
            "label": returned,
        }
    )


def assert_same(made: model.Model | SegmentedModel, rows: pa.Table) -> None:
    one, batch = SingleRow(made), made.predict(rows)
    columns = [rows[name].to_pylist() for name in one.feature_names]
    answers = [one(values) for values in zip(*columns, strict=True)]
    assert np.array_equal([answer.score for answer in answers], batch.score)
    assert [bool(answer.decision) for answer in answers] == batch.decision.tolist()


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS.keys())
@pytest.mark.parametrize("way", ["isotonic", "sigmoid", "none"])
def test_a_row_alone_scores_as_in_its_batch(shop_pipeline: Pipeline, learner: ml.Learner, way: str) -> None:
    declared = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=(learner,), calibration=way))
    assert_same(fit_all(declared, some_rows(1200), some_rows(600, 1), ModelFacts()), some_rows(300, 2))


CLASS_LEARNERS: dict[str, ml.Learner] = {
    **LEARNERS,
    "hist gradient boosting": ml.HistGradientBoosting(max_trees=15, min_data_in_leaf=20),
    "linear svm": ml.LinearSVM(),
    "neural net": ml.NeuralNet(hidden=(16,), max_epochs=10),
}


def class_rows(n: int, seed: int = 0) -> pa.Table:
    """The same rows with one of four classes, the last one rare."""
    rows, random = some_rows(n, seed), np.random.default_rng(seed + 100)
    phone = np.array([one == "phone" for one in rows["channel"].to_pylist()])
    amount = rows["amount"].fill_null(60.0).to_numpy()
    pull = np.stack((np.full(n, 1.0), 0.02 * (amount - 60), 2.0 * phone - 1, np.full(n, -3.0)), axis=1)
    chosen = (pull + random.gumbel(size=pull.shape)).argmax(axis=1)
    names = np.array(["kept", "größe", "broken", "10"], object)[chosen]
    return rows.set_column(rows.column_names.index("label"), "label", pa.array(names, pa.string()))


@pytest.mark.parametrize("learner", CLASS_LEARNERS.values(), ids=CLASS_LEARNERS.keys())
@pytest.mark.parametrize("way", ["isotonic", "sigmoid", "none"])
@pytest.mark.parametrize("predict", ["likely", "worth"])
def test_a_row_alone_gets_the_class_and_the_probabilities_of_its_batch(learner: ml.Learner, way: str, predict: str) -> None:
    value = ml.ClassValue(right=1, wrong=-1, pairs={"kept": {"broken": -5}}, predict=predict)
    model_of_classes = replace(REASONS.model, candidates=(learner,), calibration=way)
    declared = replace(REASONS, model=model_of_classes, value=value, label=replace(REASONS.label, classes=()))
    made = fit_all(declared, class_rows(1500), class_rows(900, 1), ModelFacts())
    rows = class_rows(300, 2)
    one, batch = SingleRow(made), made.predict(rows)
    answers = [one(values) for values in zip(*(rows[name].to_pylist() for name in one.feature_names), strict=True)]
    assert [list(answer.probabilities) for answer in answers] == [list(batch.score.classes)] * 300
    assert np.array_equal([list(answer.probabilities.values()) for answer in answers], batch.score.shares)
    assert [answer.prediction for answer in answers] == batch.decision.tolist()
    assert [answer.score for answer in answers] == batch.score.of(batch.decision).tolist()
    assert {answer.decision for answer in answers} == {None}
    stored = logged_columns(batch)
    assert [answer.stored() for answer in answers] == [
        {name: stored[name][i].as_py() for name in ("score", "prediction", "probabilities")} for i in range(300)
    ]


def test_a_row_of_a_segment_gets_the_classes_of_the_segments_own_model() -> None:
    segmented = replace(REASONS.model, candidates=(LEARNERS["lightgbm"],), segment_by="channel", least_segment_rows=200)
    declared = replace(REASONS, model=segmented, label=replace(REASONS.label, classes=()))
    made = fit_all(declared, class_rows(3000), class_rows(1500, 1), ModelFacts())
    assert isinstance(made, SegmentedModel)
    assert len(made.parts) == 3
    rows = class_rows(400, 2)
    one, batch = SingleRow(made), made.predict(rows)
    answers = [one(values) for values in zip(*(rows[name].to_pylist() for name in one.feature_names), strict=True)]
    assert [answer.prediction for answer in answers] == batch.decision.tolist()
    assert [[answer.probabilities[name] for name in batch.score.classes] for answer in answers] == batch.score.shares.tolist()
    stored = logged_columns(batch)["probabilities"].to_pylist()
    assert [answer.stored()["probabilities"] for answer in answers] == stored


@pytest.mark.parametrize("predict", ["likely", "worth"])
def test_the_fallback_of_classes_answers_a_row_alone_as_in_its_batch(predict: str) -> None:
    value, rows, classes = ml.ClassValue(predict=predict, pairs={"kept": {"10": -50}}), class_rows(1000), ("10", "kept")
    outcome = np.array(rows["label"].to_pylist(), object)
    made = fallback.fit_fallback(ml.ShareTable(by=("channel", "items")), value, rows, outcome, classes)
    asked = class_rows(200, 3)
    batch = made.predict(asked)
    values = zip(asked["channel"].to_pylist(), asked["items"].to_pylist(), strict=True)
    answers = [fallback_score(made, one) for one in values]
    assert [list(answer.probabilities.values()) for answer in answers] == batch.score.shares.tolist()
    assert [answer.prediction for answer in answers] == batch.decision.tolist()
    assert tuple(fallback_score(made, ("fax", 99)).probabilities.values()) == made.overall


def test_a_row_of_a_segment_is_answered_by_the_segments_own_model(shop_pipeline: Pipeline) -> None:
    segmented = replace(shop_pipeline.model, segment_by="channel", least_segment_rows=200)
    made = fit_all(replace(shop_pipeline, model=segmented), some_rows(3000), some_rows(1500, 1), ModelFacts())
    assert isinstance(made, SegmentedModel)
    assert len(made.parts) == 3
    assert_same(made, some_rows(400, 2))


def test_a_category_that_nobody_knew_is_missing_and_nonsense_is_refused(shop_pipeline: Pipeline) -> None:
    made = fit_all(shop_pipeline, some_rows(1200), some_rows(600, 1), ModelFacts())
    one = SingleRow(made)
    assert one(("fax", 1.0, 2, 3)) == one((None, 1.0, 2, 3))
    for nonsense in (math.inf, -math.inf, "twelve", 10**400):
        with pytest.raises(ModelInputError, match="'amount'"):
            one(("web", nonsense, 2, 3))


def test_the_fallback_answers_a_row_alone_as_in_its_batch(shop_pipeline: Pipeline) -> None:
    rows = some_rows(1000)
    made = fallback.fit_fallback(ml.RateTable(by=("channel", "items")), shop_pipeline.value, rows, np.array(rows["label"]))
    asked = some_rows(200, 3).append_column("unknown", pa.array([None] * 200, pa.string()))
    batch = made.predict(asked)
    values = zip(asked["channel"].to_pylist(), asked["items"].to_pylist(), strict=True)
    answers = [fallback_score(made, one) for one in values]
    assert np.array_equal([answer.score for answer in answers], batch.score)
    assert np.array_equal([answer.decision for answer in answers], batch.decision)
    assert fallback_score(made, ("fax", 99)).score == made.overall
