"""Prediction intervals: from the validation window into the model, its gates, the predictions and the monitor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks import documents, steps
from mlprod_tasks.evaluation.gates import evaluate_gates
from mlprod_tasks.evaluation.results import Evaluation, read_results
from mlprod_tasks.models import mlflow_flavor
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.platform import names
from mlprod_tasks.promotion.fallback_switch import switch_to_champion, switch_to_fallback
from mlprod_tasks.reporting import card, report_context
from mlprod_tasks.serving.single_row import SingleRow
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.refund_shop import REFUNDS, refund_shop
from tests.support.trained_shop import Shop

HELD = replace(REFUNDS, model=replace(REFUNDS.model, coverage=0.8), watches=ml.WATCHES, rules=ml.RULES)


@pytest.fixture(scope="module")
def shop(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose predictions have intervals, with a champion and a scored day."""
    made = refund_shop(filled_home, tmp_path_factory.mktemp("held"), pipeline=HELD)
    assert made.promoted("one").moved
    steps.score(made.pipeline, made.tick(), made.platform)
    return made


@pytest.fixture(scope="module")
def model(shop: Shop) -> Model:
    return load_model(TrainingFolder(shop.platform, "one").model)


def test_the_interval_is_as_far_from_the_prediction_as_errors_of_the_validation_window(shop, model):
    rows = read_window(TrainingFolder(shop.platform, "one"), "validation")
    residual = np.sort(rows["label"].to_numpy() - model.predict(rows).score)
    n = len(residual)
    assert (model.interval.low, model.interval.high) == (
        residual[int(np.floor((n + 1) * 0.1)) - 1],
        residual[int(np.ceil((n + 1) * 0.9)) - 1],
    )


def test_the_evaluation_says_what_share_they_held_and_how_wide_they_are(shop, model):
    folder = TrainingFolder(shop.platform, "one")
    rows, found = read_window(folder, "test"), read_results(folder).evaluation.model
    predicted, outcome = model.predict(rows), rows["label"].to_numpy()
    low, high = predicted.interval
    assert found["interval_coverage"].value == pytest.approx(np.mean((outcome >= low) & (outcome <= high)))
    assert found["interval_coverage"].value == pytest.approx(0.8, abs=0.06)
    assert found["interval_width"].value == pytest.approx(model.interval.high - model.interval.low)
    assert found["interval_coverage"].low < found["interval_coverage"].value < found["interval_coverage"].high


def test_a_gate_passes_intervals_that_hold_enough_and_refuses_those_that_do_not(shop):
    results = read_results(TrainingFolder(shop.platform, "one"))
    digest = results.evaluation.model_digest
    gates = (ml.AtLeast("interval_coverage", 0.7), ml.AtLeast("interval_coverage", 0.95), ml.AtMost("interval_width", 5.0))
    verdicts = evaluate_gates(gates, results, digest).gates
    assert [one.passed for one in verdicts] == [True, False, False]
    assert "interval_coverage is 0.8" in verdicts[1].sentence or "interval_coverage is 0.7" in verdicts[1].sentence


def test_predictions_in_the_lake_and_from_mlflow_have_both_ends(shop, model):
    (file,) = shop.platform.lake.files(names.predictions(shop.pipeline), shop.pipeline.schedule.range(shop.tick().name))
    rows = pq.read_table(file).to_pandas()
    assert (rows.prediction_low == rows.score + model.interval.low).all()
    assert (rows.prediction_high == rows.score + model.interval.high).all()
    served = mlflow_flavor.MlflowModel(model).predict(rows[list(shop.pipeline.feature_names)])
    assert list(served.columns) == ["prediction", "prediction_low", "prediction_high"]
    assert (served.prediction_low.to_numpy() == rows.prediction_low.to_numpy()).all()


def test_what_the_fallback_predicts_has_no_interval(shop):
    switch_to_fallback(shop.pipeline, "Ann", shop.platform, reason="a test")
    steps.score(shop.pipeline, shop.tick("2024-02-11"), shop.platform)
    switch_to_champion(shop.pipeline, "Ann", shop.platform, reason="a test")
    ticks = shop.pipeline.schedule.range(shop.tick("2024-02-11").name)
    (file,) = shop.platform.lake.files(names.predictions(shop.pipeline), ticks)
    rows = pq.read_table(file)
    assert rows["fallback"].to_pylist() == [True] * rows.num_rows
    assert rows["prediction_low"].null_count == rows["prediction_high"].null_count == rows.num_rows
    one = explain(shop.pipeline, [rows["order_id"][0].as_py()], shop.platform)
    assert (one.interval, one.learner, one.scale, one.base_log_odds) == (None, "mean table", None, None)
    assert "the model gives exactly this number" in text(one)
    assert "(number: how much it falls with " in text(one)
    assert "score:" not in text(one)


def test_card_and_explanation_speak_of_the_interval(shop, model):
    known = report_context.read(shop.pipeline, TrainingFolder(shop.platform, "one"))
    written = documents.markdown(card.card(known))
    assert "an interval that is to hold 80% of outcomes" in written
    assert "Its intervals were to hold 80% of outcomes, and held " in written
    one = explain(shop.pipeline, ["2024-02-10-4805"], shop.platform)
    assert one.interval == (one.score + model.interval.low, one.score + model.interval.high)
    assert ", between " in text(one)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"model": ml.Model(coverage=1.0)}, "model.coverage 1.0 must lie between 0 and 1"),
        (
            {"gates": (ml.AtLeast("interval_coverage", 0.8),)},
            "gate AtLeast('interval_coverage'): predictions have no interval; declare model.coverage",
        ),
        (
            {"model": ml.Model(coverage=0.8), "gates": (ml.BetterThanBaseline("interval_width"),)},
            "the constant baseline has no interval to compare with",
        ),
        (
            {"model": ml.Model(coverage=0.8), "gates": (ml.AtMost("interval_width", -1.0),)},
            "bound -1.0 is below 0, and interval_width never is",
        ),
        ({"watches": (ml.Watch("interval_coverage", low=-0.1),)}, "watch 'interval_coverage': predictions have no interval"),
        ({"model": ml.Model(choose_by="interval_width")}, "candidates are compared by their errors"),
    ],
    ids=("share", "gate without", "baseline", "width below zero", "watch without", "chosen by"),
)
def test_a_declaration_without_intervals_or_beyond_them_is_refused(changes, refusal):
    with pytest.raises(ValidationError) as error:
        replace(REFUNDS, **changes)
    assert refusal in str(error.value)


def test_intervals_belong_to_numbers_and_bring_their_own_watch(shop_pipeline: ml.Pipeline):
    with pytest.raises(ValidationError, match=r"model.coverage 0.8 is of predicted numbers, and task 'binary' has none"):
        replace(shop_pipeline, model=replace(shop_pipeline.model, coverage=0.8))
    assert HELD.watches == (*ml.REGRESSION_WATCHES, *ml.INTERVAL_WATCHES)
    assert HELD.rules == (*ml.REGRESSION_RULES, *ml.INTERVAL_RULES)


def test_each_segment_has_intervals_of_its_own_errors(filled_home: Path, tmp_path: Path):
    by_channel = replace(REFUNDS.model, coverage=0.8, segment_by="channel", least_segment_rows=300)
    shop = refund_shop(filled_home, tmp_path, pipeline=replace(REFUNDS, model=by_channel))
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    made = load_model(folder.model)
    validation, test = (read_window(folder, name) for name in ("validation", "test"))
    predicted = made.predict(test)
    assert predicted.interval is not None
    low, high = predicted.interval
    for channel, part in made.parts.items():
        rows = validation.filter(pc.equal(validation["channel"], channel))
        errors = np.sort(rows["label"].to_numpy() - part.predict(rows).score)
        n, at = len(errors), pc.equal(test["channel"], channel).fill_null(False).to_numpy(zero_copy_only=False)
        ends = errors[int(np.floor((n + 1) * 0.1)) - 1], errors[int(np.ceil((n + 1) * 0.9)) - 1]
        assert low[at] == pytest.approx(predicted.score[at] + ends[0])
        assert high[at] == pytest.approx(predicted.score[at] + ends[1])
        single = SingleRow(made)
        first = int(np.flatnonzero(at)[0])
        answer = single([test[name][first].as_py() for name in made.feature_names])
        assert (answer.low, answer.high) == (low[first], high[first])
    assert len(made.parts) > 1
    came = test["label"].to_numpy()
    assert folder.read(Evaluation).model["interval_coverage"].value == pytest.approx(np.mean((low <= came) & (came <= high)))
