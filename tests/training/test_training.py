"""From an assembled set to a champion: what is recorded, what is refused, what twice does not do twice."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from mlprod_tasks.declaration import AtLeast, AtMost, Constant, LightGBM, LogisticRegression, Model, NotWorseThanChampion
from mlprod_tasks.evaluation.gate import GatesRefused, gate, gates_passed
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Fallback, GateResult, Promotion, Training
from mlprod_tasks.promotion.register import NotThisModel, promote
from mlprod_tasks.steps import register
from mlprod_tasks.training import train, workspace
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder


def test_the_way_to_the_first_champion_leaves_everything_needed_to_make_it_again(shop):
    outcome = shop.promoted("one")
    assert outcome.moved
    registry, pipeline = shop.platform.registry, shop.pipeline
    champion = registry.champion(pipeline)
    version = registry.client.get_model_version("returns", "1")
    run = registry.client.get_run(champion.run_id)
    assert champion.version == outcome.model_version == 1
    assert {"mlprod.git_commit", "mlprod.lock_digest", "mlprod.code_digest", "mlprod.data_version.orders"} <= set(version.tags)
    assert version.tags["mlprod.declaration_digest"] == pipeline.digest
    assert version.tags["mlprod.as_of"] == "2024-02-10"
    assert version.tags["mlprod.window.test"] == "2024-02-02..2024-02-08"
    assert run.data.tags["gates"] == "passed"
    assert run.data.params["learning_rate"] == "0.1"
    assert {"roc_auc", "roc_auc_low", "baseline_log_loss", "value_per_1000"} <= set(run.data.metrics)
    assert (run.data.params["learner"], run.data.params["trees"]) == ("lightgbm", str(train_of(shop).trees))
    training = shop.platform.ledger.get(Training, "one")
    assert (training.state, training.model_version, training.run_id) == ("promoted", 1, champion.run_id)
    assert training.metrics["roc_auc"] == pytest.approx(run.data.metrics["roc_auc"])
    assert run.info.status == "FINISHED"
    assert registry.reference_profile(pipeline, 1)["first"] == "2024-02-02"
    card = registry.read_file(champion.run_id, "report/model_card.md").decode()
    assert "version 1" in card.lower()
    assert "not registered yet" not in card


def train_of(shop) -> Trained:
    return TrainingFolder(shop.platform, "one").read(Trained)


def test_the_run_lists_the_chosen_candidates_parameters_and_what_each_scored_on_validation(shop):
    candidates = (Constant(), LightGBM(learning_rate=0.2, max_trees=10), LogisticRegression(c=0.5))
    several = shop.declared(model=replace(shop.pipeline.model, candidates=candidates))
    several.trained("one")
    run = shop.platform.registry.client.get_run(train_of(shop).run_id)
    scores = {name: run.data.metrics[f"validation.{name}.log_loss"] for name in ("constant", "lightgbm", "logistic_regression")}
    assert run.data.params["learner"] == min(scores, key=scores.get) == train_of(shop).learner
    others = {"lightgbm": ("learning_rate", "0.2"), "logistic_regression": ("c", "0.5")}
    for name, (parameter, value) in others.items():
        own = parameter if name == run.data.params["learner"] else f"{name}.{parameter}"
        assert run.data.params[own] == value
    made = load_model(TrainingFolder(shop.platform, "one").model)
    assert {one.name: one.metrics["log_loss"] for one in made.candidates} == pytest.approx(scores)


def test_the_champion_answers_from_the_registry_as_it_did_in_training_and_through_mlflow(promoted_shop, monkeypatch):
    folder = TrainingFolder(promoted_shop.platform, "one")
    rows = workspace.read_window(folder, "test")
    expected = load_model(folder.model).predict(rows)
    loaded = promoted_shop.platform.registry.load(promoted_shop.pipeline, 1)
    assert np.array_equal(loaded.predict(rows).score, expected.score)
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", promoted_shop.platform.settings.mlflow_url)
    served = mlflow.pyfunc.load_model(promoted_shop.platform.registry.client.get_model_version_download_uri("returns", "1"))
    answer = served.predict(rows.to_pandas())
    assert np.array_equal(answer["score"], expected.score)
    assert np.array_equal(answer["decision"], expected.decision)


def test_the_fallback_stands_beside_it_in_registry_and_ledger(promoted_shop):
    ref = promoted_shop.platform.registry.by_alias(names.fallback_model(promoted_shop.pipeline), "fallback")
    rows = workspace.read_window(TrainingFolder(promoted_shop.platform, "one"), "test")
    from_ledger = FallbackModel.from_json(promoted_shop.platform.ledger.get(Fallback, "returns", 1).model)
    answers: list[Predictions] = [promoted_shop.platform.registry.load_model(ref).predict(rows), from_ledger.predict(rows)]
    assert np.array_equal(answers[0].score, answers[1].score)
    training_rows = workspace.read_window(TrainingFolder(promoted_shop.platform, "one"), "train").to_pandas()
    overall = training_rows["label"].mean()
    phone = training_rows[training_rows["channel"] == "phone"]["label"]
    expected = (phone.sum() + 50 * overall) / (len(phone) + 50)
    assert from_ledger.predict({"channel": "phone"}).score[0] == pytest.approx(expected)


def test_all_steps_twice_make_no_second_run_version_or_promotion(shop):
    first = shop.promoted("one")
    assert shop.promoted("one") == first
    registry = shop.platform.registry
    assert len(registry.client.search_model_versions("name = 'returns'")) == 1
    assert len(registry.client.search_model_versions("name = 'returns_fallback'")) == 1
    assert len(registry.client.search_runs([registry.client.get_experiment_by_name("returns").experiment_id])) == 1
    assert len(shop.platform.ledger.all(Promotion)) == len(shop.platform.ledger.all(Training)) == 1


def test_a_model_that_fails_a_gate_is_recorded_refused_and_cannot_be_registered(promoted_shop):
    strict = promoted_shop.declared(gates=(AtLeast("roc_auc", 0.99), AtMost("brier", 0.9)))
    strict.trained("two", "2024-02-11")
    with pytest.raises(GatesRefused, match=r"1 of 2 gates refuse .* roc_auc is 0\.\d+ .*it must be at least 0.99"):
        gate(strict.pipeline, "two", strict.platform)
    results = {row.gate: row.passed for row in promoted_shop.platform.ledger.all(GateResult, training_id="two")}
    assert results == {"roc_auc >= 0.99": False, "brier <= 0.9": True}
    training = promoted_shop.platform.ledger.get(Training, "two")
    assert training.state == "refused"
    run = promoted_shop.platform.registry.client.get_run(training.run_id)
    assert run.data.tags["gates"] == "refused"
    assert run.data.tags["gate.roc_auc at least 0.99"].startswith("FAILED: roc_auc is")
    for step in (register, gates_passed):
        with pytest.raises(GatesRefused):
            step(strict.pipeline, "two", strict.platform)
    assert promoted_shop.platform.registry.champion(promoted_shop.pipeline).version == 1
    assert len(promoted_shop.platform.registry.client.search_model_versions("name = 'returns'")) == 1


def test_a_verdict_promotes_only_its_own_model(promoted_shop):
    other = promoted_shop.declared(model=replace(promoted_shop.pipeline.model, seed=2))
    other.trained("two", "2024-02-11")
    verdict = gate(other.pipeline, "two", other.platform)
    first = promoted_shop.platform.registry.version("returns", 1)
    with pytest.raises(NotThisModel, match="promote the version that passed"):
        promote(promoted_shop.pipeline, first, verdict, promoted_shop.platform)
    with pytest.raises(NotThisModel, match="is not the one that was registered"):
        promote(promoted_shop.pipeline, replace(first, digest=verdict.model_digest), verdict, promoted_shop.platform)
    assert promoted_shop.platform.registry.champion(promoted_shop.pipeline).version == 1


def test_files_changed_after_the_gates_are_not_registered(shop):
    shop.trained("one")
    gate(shop.pipeline, "one", shop.platform)
    booster = TrainingFolder(shop.platform, "one").model / "learner" / "booster.txt"
    booster.write_text(booster.read_text() + "\n")
    with pytest.raises(NotThisModel, match="changed after training one passed its gates"):
        register(shop.pipeline, "one", shop.platform)


def test_the_next_champion_is_judged_against_the_last_on_the_same_rows(promoted_shop):
    assert promoted_shop.promoted("two", "2024-02-12").model_version == 2
    evaluation = TrainingFolder(promoted_shop.platform, "two").read(Evaluation)
    rows = workspace.read_window(TrainingFolder(promoted_shop.platform, "two"), "test")
    from sklearn.metrics import roc_auc_score

    champion = promoted_shop.platform.registry.load(promoted_shop.pipeline, 1)
    expected = roc_auc_score(rows["label"].to_numpy(zero_copy_only=False), champion.predict(rows).score)
    assert evaluation.champion_version == 1
    assert evaluation.champion["roc_auc"].value == pytest.approx(expected)
    registry, ledger = promoted_shop.platform.registry, promoted_shop.platform.ledger
    versions = [
        registry.champion_at(promoted_shop.pipeline, promoted_shop.tick(day), ledger)
        for day in ("2024-02-09", "2024-02-11", "2024-02-12")
    ]
    assert [version and version.version for version in versions] == [None, 1, 2]


def test_a_training_of_the_past_does_not_replace_a_newer_champion(shop):
    shop.promoted("new", "2024-02-14")
    lenient = shop.declared(gates=(AtLeast("roc_auc", 0.6),))
    outcome = lenient.promoted("old", "2024-02-10")
    assert not outcome.moved
    assert "version 1 is champion from tick 2024-02-14 on: the alias stays" in outcome.sentence
    assert shop.platform.registry.champion(shop.pipeline).version == 1
    assert shop.platform.ledger.get(Training, "old").state == "superseded"
    assert [row.effective for row in shop.platform.ledger.all(Promotion)] == [date(2024, 2, 14)]


def test_a_champion_that_was_fitted_to_the_test_rows_is_no_comparison(shop):
    # The newer champion's validation window ends on 2024-02-03, within the older training's test window.
    shop.promoted("new", "2024-02-14")
    shop.trained("old", "2024-02-10")
    with pytest.raises(GatesRefused, match="fitted on rows up to 2024-02-03, which overlap this test window"):
        gate(shop.pipeline, "old", shop.platform)


def test_a_champion_that_cannot_be_evaluated_fails_the_gate_against_it_only(shop):
    shop.promoted("one")
    for path in (shop.platform.settings.home / "mlartifacts").rglob("booster.txt"):
        path.write_text("broken")
    for path in (shop.platform.settings.home / "models").rglob("booster.txt"):
        path.unlink()
    shop.trained("two", "2024-02-12")
    with pytest.raises(GatesRefused, match=r"1 of 3 gates .*champion version 1: BrokenArtifact"):
        gate(shop.pipeline, "two", shop.platform)
    without = shop.declared(gates=(AtLeast("roc_auc", 0.6),))
    assert gate(without.pipeline, "two", without.platform)


def test_a_champion_with_other_features_cannot_be_compared(promoted_shop):
    fewer = promoted_shop.declared(features=promoted_shop.pipeline.features[:2], gates=(NotWorseThanChampion("roc_auc", 0.5),))
    fewer.trained("two", "2024-02-12")
    with pytest.raises(GatesRefused, match="champion version 1: ModelInputError: feature 'items' is missing"):
        gate(fewer.pipeline, "two", fewer.platform)


def test_a_step_before_the_one_it_builds_on_says_which_to_run(shop):
    with pytest.raises(StepMissing, match="run assemble first"):
        train.train(shop.pipeline, "none", shop.platform)
    with pytest.raises(StepMissing, match="run train first"):
        gate(shop.pipeline, "none", shop.platform)


def test_the_baseline_is_the_training_rate_and_the_best_single_decision(shop):
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    evaluation = folder.read(Evaluation)
    rate = workspace.read_window(folder, "train")["label"].to_numpy(zero_copy_only=False).mean()
    outcome = workspace.read_window(folder, "test")["label"].to_numpy(zero_copy_only=False)
    assert evaluation.baseline["brier"].value == pytest.approx(np.mean((outcome - rate) ** 2))
    always = 1000 * np.where(outcome, 10, -4).mean()
    assert evaluation.baseline["value_per_1000"].value == pytest.approx(always if rate > 4 / 14 else 0.0)


@pytest.mark.parametrize("calibration", ["sigmoid", "none"])
def test_every_calibration_passes_the_way(shop, calibration):
    declared = shop.declared(
        model=Model(candidates=(LightGBM(max_trees=5),), threads=1, categorical=("channel",), calibration=calibration)
    )
    declared.trained("one")
    stored = json.loads((TrainingFolder(shop.platform, "one").model / "model.json").read_text())
    assert stored["calibration"]["way"] == calibration
