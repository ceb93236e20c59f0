"""Baselines of numbers: the quantile where one is predicted, and the best of constant, last value and mean of a season."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.evaluation.gate import evaluate_gates
from mlprod_tasks.evaluation.results import Evaluation, read_results
from mlprod_tasks.models import fallback
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.reporting.write import report
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.refund_shop import REFUNDS, refund_shop

TREES = ml.LightGBM(max_trees=20, min_data_in_leaf=30)
SEASON, LAST = ml.SeasonalMean(by=("channel",), smoothing=10.0), ml.LastValue("amount")


def pinball(outcome: np.ndarray, predicted: np.ndarray, quantile: float) -> float:
    error = outcome - predicted
    return float(np.maximum(quantile * error, (quantile - 1) * error).mean())


def test_a_use_case_of_a_quantile_has_a_baseline_and_a_fallback_of_that_quantile(filled_home: Path, tmp_path: Path):
    candidates = (replace(TREES, objective="quantile", alpha=0.8), ml.Constant(), SEASON)
    gates = (ml.BetterThanBaseline("pinball"),)
    pipeline = replace(REFUNDS, model=replace(REFUNDS.model, candidates=candidates, coverage=None), gates=gates)
    shop = refund_shop(filled_home, tmp_path, pipeline=pipeline)
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    train, test = (read_window(folder, name).to_pandas() for name in ("train", "test"))
    overall = np.quantile(train.label, 0.8)
    evaluation = folder.read(Evaluation)
    assert evaluation.baseline["pinball"].value == pytest.approx(pinball(test.label.to_numpy(), overall, 0.8))
    assert evaluation.baseline["pinball"].value < pinball(test.label.to_numpy(), train.label.mean(), 0.8), "the mean is worse"
    by_channel = train.fillna({"channel": "?"}).groupby("channel").label
    ends = (by_channel.count() * by_channel.quantile(0.8) + 10 * overall) / (by_channel.count() + 10)
    predicted = test.channel.fillna("?").map(ends).to_numpy()
    of_season = evaluation.simple["seasonal_mean"]["pinball"].value
    assert of_season == pytest.approx(pinball(test.label.to_numpy(), predicted, 0.8))
    constant = next(one for one in load_model(folder.model).candidates if one.name == "constant")
    validation = read_window(folder, "validation").to_pandas()
    assert constant.metrics["pinball"] == pytest.approx(pinball(validation.label.to_numpy(), overall, 0.8))
    answers = fallback.load(folder.fallback).predict({"channel": ["phone", "a new one"]}).score
    phone = train.label[train.channel == "phone"]
    smoothing = REFUNDS.fallback.smoothing
    assert answers[0] == pytest.approx((len(phone) * np.quantile(phone, 0.8) + smoothing * overall) / (len(phone) + smoothing))
    assert answers[1] == pytest.approx(overall)


def test_a_model_must_be_better_than_the_best_declared_baseline(filled_home: Path, tmp_path: Path):
    gates = (ml.BetterThanBaseline("mae"), ml.BetterThanBaseline("mae", by=0.9))
    pipeline = replace(REFUNDS, model=replace(REFUNDS.model, candidates=(TREES, LAST, SEASON), coverage=None), gates=gates[:1])
    shop = refund_shop(filled_home, tmp_path, pipeline=pipeline)
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    train, test = (read_window(folder, name).to_pandas() for name in ("train", "test"))
    overall = train.label.mean()
    by_channel = train.fillna({"channel": "?"}).groupby("channel").label.agg(["sum", "count"])
    means = (by_channel["sum"] + 10 * overall) / (by_channel["count"] + 10)
    expected = {
        "last_value": (test.amount.fillna(overall) - test.label).abs().mean(),
        "seasonal_mean": (test.channel.fillna("?").map(means) - test.label).abs().mean(),
    }
    evaluation = folder.read(Evaluation)
    assert {name: of["mae"].value for name, of in evaluation.simple.items()} == pytest.approx(expected)
    known = {"constant": evaluation.baseline["mae"].value, **expected}
    best = min(known, key=known.__getitem__)
    assert best != "constant"
    verdicts = evaluate_gates(gates, read_results(folder), folder.read(Trained).digest).gates
    assert verdicts[0].bound == pytest.approx(known[best])
    assert f"(better than the {best} baseline's" in verdicts[0].sentence
    assert not verdicts[1].passed
    assert report(shop.pipeline, "one", shop.platform).pictures > 3
    assert "seasonal_mean" in (folder.path / "report.html").read_text(encoding="utf-8")
    evaluate(shop.pipeline, "one", shop.platform)
    assert folder.read(Evaluation) == evaluation
