"""A use case whose task changed: what its champion gives is not what is declared, and is neither published nor compared."""

from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gates import evaluate_gates
from mlprod_tasks.evaluation.results import read_results
from mlprod_tasks.models.check_task import OtherTask
from mlprod_tasks.platform import names
from mlprod_tasks.promotion.fallback_switch import switch_to_fallback
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop

AS_NUMBERS = {
    "task": "regression",
    "label": replace(SHOP.label, sql="CASE WHEN returned THEN 1.0 ELSE 0.0 END", kind="number"),
    "fallback": ml.MeanTable(by=SHOP.fallback.by),
    "value": ml.PredictionValue(),
    "gates": (ml.NotWorseThanChampion("mae"),),
    "kpi": ml.Kpi("mean", "avg(outcome)", "the mean outcome"),
    "watches": ml.WATCHES,
    "rules": ml.RULES,
}


@pytest.fixture
def changed(promoted_shop: Shop) -> Shop:
    """A champion that predicts a yes or no, and a declaration of a number."""
    return promoted_shop.declared(**AS_NUMBERS)


@pytest.mark.parametrize("switched", [False, True], ids=("champion", "fallback"))
def test_neither_champion_nor_fallback_scores_another_task(changed, switched):
    if switched:
        switch_to_fallback(changed.pipeline, "Ann", changed.platform, reason="a test")
    with pytest.raises(OtherTask, match=r"version 1 .*was trained for task 'binary', .*declares 'regression'"):
        score(changed.pipeline, changed.tick(), changed.platform)
    assert not changed.platform.lake.exists(names.predictions(changed.pipeline))


def test_a_gate_that_compares_with_a_champion_of_another_task_cannot_be_evaluated(changed):
    changed.trained("two", "2024-02-12")
    results = read_results(TrainingFolder(changed.platform, "two"))
    assert results.evaluation.champion is None
    (one,) = evaluate_gates(changed.pipeline.gates, results, results.evaluation.model_digest).gates
    assert not one.passed
    assert "was trained for task 'binary'" in one.sentence


def test_the_service_loads_neither_champion_nor_fallback_of_another_task(changed):
    loader = ModelLoader({changed.pipeline.name: changed.pipeline}, changed.platform)
    loader.load_models()
    loaded = loader.loaded[changed.pipeline.name]
    assert (loaded.champion, loaded.fallback) == (None, None)
    assert "version 1 was trained for task 'binary'" in loaded.trouble
