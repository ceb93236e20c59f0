"""What a declaration says of the probabilities of classes is tried on real rows; what features add to them adds up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gate import GateVerdict, evaluate_gates
from mlprod_tasks.evaluation.results import read_results
from mlprod_tasks.evaluation.run_checks import run_checks
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.reporting import importance
from mlprod_tasks.scoring.score import score
from mlprod_tasks.training import fit_model
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.reason_shop import BROKEN, KEPT, REASONS, SIZE, reason_shop
from tests.support.trained_shop import Shop

CANDIDATES = (
    ml.LightGBM(max_trees=25),
    ml.XGBoost(max_trees=10),
    ml.Stacking(of=("lightgbm", "xgboost"), folds=2),
    ml.RandomForest(trees=3),
    ml.CatBoost(max_trees=10, max_depth=3),
)


@pytest.fixture(scope="module")
def shop(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Training 'one' became champion, and its next tick is scored."""
    gates = (ml.AtMost("log_loss", 1.1),)
    model = replace(REASONS.model, candidates=CANDIDATES[:1], categorical=("weekday",))
    made = reason_shop(filled_home, tmp_path_factory.mktemp("shop"), pipeline=replace(REASONS, model=model, gates=gates))
    assert made.promoted("one").moved
    score(made.pipeline, made.tick(), made.platform)
    return made


def checked(shop: Shop, *gates: ml.gate.Gate) -> tuple[GateVerdict, ...]:
    folder = TrainingFolder(shop.platform, "one")
    run_checks(replace(shop.pipeline, gates=gates), "one", shop.platform)
    return evaluate_gates(gates, read_results(folder), folder.read(Trained).digest).gates


def rows_of(shop: Shop) -> pd.DataFrame:
    return read_window(TrainingFolder(shop.platform, "one"), "test").to_pandas()


def test_raising_a_number_moves_the_probability_of_the_class_that_is_named(shop):
    up, down = checked(
        shop,
        ml.Monotonic("dearer orders do not fit", "amount", "up", by=50.0, of=SIZE, most_share=0.9),
        ml.Monotonic("dearer orders are not kept", "amount", "up", by=50.0, of=KEPT),
    )
    model = load_model(TrainingFolder(shop.platform, "one").model)
    rows = rows_of(shop)
    rows = rows[rows["amount"].notna()]
    before, after = model.predict(rows).score, model.predict(rows.assign(amount=rows["amount"] + 50)).score
    for verdict, name in ((up, SIZE), (down, KEPT)):
        fell = before.aligned((name,))[:, 0] - after.aligned((name,))[:, 0]
        assert verdict.value == pytest.approx((fell > 1e-12).mean())
    assert up.passed
    assert not down.passed
    at = int(np.argmax(before.aligned((KEPT,))[:, 0] - after.aligned((KEPT,))[:, 0]))
    assert f"the probability of 'kept' goes from {before.aligned((KEPT,))[at, 0]:.4f}" in down.sentence


def test_what_must_not_matter_may_move_no_class(shop):
    of_all, of_one, unknown = checked(
        shop,
        ml.Invariance("the channel must not matter", {"channel": "'phone'"}, tolerance=0.05),
        ml.Invariance("the channel breaks nothing", {"channel": "'phone'"}, tolerance=0.05, of=BROKEN),
        ml.Invariance("the channel loses nothing", {"channel": "'phone'"}, of="lost"),
    )
    model, rows = load_model(TrainingFolder(shop.platform, "one").model), rows_of(shop)
    others = rows[rows["channel"] != "phone"]
    before, after = model.predict(others).score, model.predict(others.assign(channel="phone")).score
    moved = np.abs(after.shares - before.shares)
    assert of_all.value == pytest.approx((moved.max(axis=1) > 0.05).mean())
    assert of_one.value == pytest.approx((moved[:, before.classes.index(BROKEN)] > 0.05).mean())
    assert "NothingToCheck: the channel loses nothing: the model does not know the class 'lost'" in unknown.sentence


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.name)
def test_what_features_add_to_a_class_adds_up_to_its_probability(shop, candidate):
    folder = TrainingFolder(shop.platform, "one")
    candidates = CANDIDATES if isinstance(candidate, ml.Stacking) else (candidate,)
    pipeline = replace(shop.pipeline, model=replace(shop.pipeline.model, candidates=candidates))
    train, validation = (read_window(folder, name) for name in ("train", "validation"))
    prepared = fit_model.prepare(pipeline, train, validation)
    fitted = {one.learner.name: one for one in fit_model._fit_candidates(pipeline, prepared, validation, None)}
    model = fit_model._as_model(pipeline, prepared, list(fitted.values()), fitted[candidate.name], ModelFacts())
    rows = read_window(folder, "test")
    added = model.class_contributions(rows)
    assert model.contributions(rows) is None
    if isinstance(candidate, ml.RandomForest):
        assert added is None
        return
    logs = np.log(model.raw(model.matrix(rows)))
    assert added.shape == (rows.num_rows, 3, len(model.inputs) + 1)
    assert added.sum(axis=2) == pytest.approx(logs - logs.mean(axis=1, keepdims=True), abs=1e-4)
    shown = importance.contributions(model, rows, (), SIZE)
    assert shown.values == pytest.approx(added[:, model.rule.classes.index(SIZE), :-1])
    assert next(iter(shown.mean_size)) == "amount", "dear orders do not fit"


def test_a_predicted_class_is_explained_by_what_features_add(shop):
    row = shop.platform.lake.rows("returns/predictions").to_pylist()[0]
    told = explain(shop.pipeline, [row["order_id"]], shop.platform)
    assert told.predicted == row["prediction"]
    assert told.way.startswith("added: what each feature adds before calibration, as the logarithm of the class's probability")
    assert sum(part.log_odds for part in told.parts) + told.base_log_odds == pytest.approx(told.log_odds)
    model = load_model(TrainingFolder(shop.platform, "one").model)
    raw = np.log(model.raw(model.matrix(pd.DataFrame([row]))))[0]
    assert told.log_odds == pytest.approx(raw[model.rule.classes.index(told.predicted)] - raw.mean())
    assert "together" in text(told)
