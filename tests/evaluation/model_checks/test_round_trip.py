"""The same model answers the same wherever it is loaded; another one is caught."""

from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.model_checks import round_trip
from mlprod_tasks.evaluation.results import Evaluation, read_results


def evaluated(shop) -> float:
    return read_results(shop.folder).evaluation.model["roc_auc"].value


def test_the_model_answers_the_same_after_loading_in_a_fresh_process_and_as_a_package(trained):
    (verdict,) = trained.checked(ml.SamePredictions())
    assert verdict.passed, verdict.sentence
    assert verdict.sentence == (
        "saved and loaded again, in a new process, as an MLflow package there, the model predicts all "
        f"{trained.rows().num_rows} test rows the same, bit for bit"
    )


def test_a_model_that_answers_otherwise_than_its_files_is_caught(trained):
    held = trained.loaded()
    shifted = replace(held, calibration=replace(held.calibration, y=tuple(y + 2**-50 for y in held.calibration.y)))
    found = round_trip.same_predictions(shifted, trained.folder.model, trained.rows(), evaluated(trained))
    assert found.value > 0
    assert found.sentence.startswith("in a new process, the model predicts")


def test_a_model_that_a_fresh_process_cannot_load_is_caught(own):
    held = own.loaded()
    (own.folder.model / "model.json").write_text("{}")
    with pytest.raises(round_trip.NotLoaded, match="a new process cannot load the model and predict: KeyError"):
        round_trip.same_predictions(held, own.folder.model, own.rows(), evaluated(own))


def test_a_model_other_than_the_one_that_was_evaluated_is_caught(own):
    evaluation = own.folder.read(Evaluation)
    auc = evaluation.model["roc_auc"]
    own.folder.write(replace(evaluation, model={**evaluation.model, "roc_auc": replace(auc, value=auc.value + 0.01)}))
    (verdict,) = own.checked(ml.SamePredictions())
    assert not verdict.passed
    assert "AUC of the loaded model is" in verdict.sentence


def test_a_model_per_segment_answers_the_same_too(retold, tables, shop_pipeline):
    segmented = replace(shop_pipeline.model, segment_by="channel", least_segment_rows=500)
    shop = retold(tables, model=segmented)
    assert len(shop.loaded().parts) == 2, "web and app have rows enough"
    verdicts = shop.checked(ml.SamePredictions(), ml.NoLeakageSuspicion(), ml.Latency(10_000.0), ml.KpiAtLeast(-1e9))
    assert [verdict.sentence for verdict in verdicts if not verdict.passed] == []
