"""What a training of release 0.4 left in its folder is read as today's records, and what is written today is read again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlprod_tasks.evaluation.results import (
    BacktestResult,
    Comparison,
    Evaluation,
    KeptFold,
    ModelChecks,
    Slices,
    read_results,
)
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ContinuedFrom
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.versioned import UnreadableRecord, read_record, to_json, write_record
from mlprod_tasks.promotion.approve import ApprovalAsked
from mlprod_tasks.statistics.metrics import Estimate
from mlprod_tasks.training.provenance import Environment
from mlprod_tasks.training.records import Assembled, KeptPart, SearchResult, Segments, Trained, WarmStart
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder
from tests.support.paths import REPOSITORY

EARLIER = Path(__file__).parent / "release_0_4"
MODELS = REPOSITORY / "tests" / "models"
SAME_SHAPE = {
    Assembled: "assembled.json",
    Trained: "trained.json",
    WarmStart: "continued.json",
    Segments: "segments.json",
    SearchResult: "search.json",
    Environment: "environment.json",
    ApprovalAsked: "approval.json",
    Comparison: "comparison.json",
    Slices: "slices.json",
    BacktestResult: "backtest.json",
    KeptPart: "parts/global/part.json",
    KeptFold: "backtest/2024-02-05.json",
}
EVERY_KIND = SAME_SHAPE | {Evaluation: "evaluation.json", ModelChecks: "trials.json"}


@pytest.fixture
def folder(tmp_path: Path) -> TrainingFolder:
    """A training that release 0.4 began."""
    made = TrainingFolder(Platform(from_environment({"MLPROD_HOME": str(tmp_path), "MLPROD_PIPELINES": str(tmp_path)})), "two")
    shutil.copytree(EARLIER, made.path)
    return made


def written(name: str) -> dict:
    return json.loads((EARLIER / name).read_text(encoding="utf-8"))


def without_numbers(given: Any) -> Any:
    """Leave out what records have said since then of numbers, classes and other splits, None for a yes or no in time."""
    if isinstance(given, dict):
        added = {name for name in ("means", "mean_outcome", "classes", "split") if name in given and given[name] is None}
        added |= {"part"} if given.get("part") == "" else set()
        return {name: without_numbers(one) for name, one in given.items() if name not in added}
    return [without_numbers(one) for one in given] if isinstance(given, list) else given


@pytest.mark.parametrize(("kind", "name"), SAME_SHAPE.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_record_of_release_0_4_is_read_with_every_value(kind, name):
    since = {"unusable": dict.fromkeys(("train", "validation", "test"), 0)} if kind is Assembled else {}
    assert without_numbers(to_json(read_record(kind, EARLIER / name))) == {**written(name), **since, "version": 1}


def test_an_evaluation_of_release_0_4_is_read_with_every_value():
    read, earlier = read_record(Evaluation, EARLIER / "evaluation.json"), written("evaluation.json")
    for whose in ("model", "baseline", "champion"):
        assert getattr(read, whose) == {metric: Estimate(*numbers) for metric, numbers in earlier.pop(whose).items()}
    assert {name: value for name, value in to_json(read).items() if name in earlier} == earlier


def test_an_evaluation_of_release_0_4_without_a_champion_has_none(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps(written("evaluation.json") | {"champion": None}))
    assert read_record(Evaluation, tmp_path / "evaluation.json").champion is None


def test_trials_of_release_0_4_are_checks_of_the_model(folder):
    checks, earlier = read_results(folder).checks, written("trials.json")
    assert checks.model_digest == earlier["model_digest"]
    assert [(one.check, one.subject, one.value, one.n, one.sentence) for one in checks.results] == [
        tuple(one[name] for name in ("what", "subject", "value", "n", "told")) for one in earlier["findings"]
    ]


def test_checks_made_anew_take_the_place_of_the_trials_of_release_0_4(folder):
    made = ModelChecks("d" * 64, ())
    folder.write(made)
    assert read_results(folder).checks == made
    folder.remove(ModelChecks)
    assert read_results(folder).checks is None


@pytest.mark.parametrize(("kind", "name"), EVERY_KIND.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_written_is_read_again(kind, name, tmp_path):
    made = read_record(kind, EARLIER / name)
    write_record(made, tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["version"] == kind.version
    assert read_record(kind, tmp_path / "record.json") == made


@pytest.mark.parametrize(("kind", "name"), EVERY_KIND.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_record_of_a_newer_release_is_refused(kind, name, tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({**written(name), "version": kind.version + 1}))
    with pytest.raises(UnreadableRecord, match=rf"record.json has version {kind.version + 1}.* Upgrade mlprod"):
        read_record(kind, file)


def test_a_record_without_what_it_must_hold_says_what(folder):
    file = folder.path / "assembled.json"
    file.write_text(json.dumps({**written("assembled.json"), "rows": {"train": 7, "validation": "many", "test": 2}}))
    with pytest.raises(UnreadableRecord, match=r"assembled\.json is not a valid Assembled of version 1: rows\.validation: "):
        folder.read(Assembled)


def test_a_record_that_no_step_has_left_names_the_step(folder):
    (folder.path / "trained.json").unlink()
    with pytest.raises(StepMissing, match=r"training 'two' has no trained\.json: run train first"):
        folder.read(Trained)
    assert folder.find(Trained) is None


@pytest.mark.parametrize("name", ["release_0_4/model/data/model", "release_0_4/segmented/data/model"])
def test_the_facts_of_a_model_of_release_0_4_are_read_with_every_value(name):
    model = load_model(MODELS / name)
    file = next(path for path in sorted((MODELS / name).rglob("model.json")) if '"facts"' in path.read_text())
    earlier = json.loads(file.read_text(encoding="utf-8"))["facts"]
    assert {name: value for name, value in to_json(model.facts).items() if name in earlier} == earlier
    assert model.facts.windows.test.last < model.facts.as_of


def test_the_facts_of_the_first_models_are_read_as_far_as_they_go():
    facts = load_model(MODELS / "earlier_model").facts
    assert (facts.training_id, facts.training_rate, facts.validation_rate) == ("t", 0.404, 0.41375)
    assert (facts.as_of, facts.windows, facts.recipe, facts.versions) == (None, None, None, {})


def test_which_champion_a_warm_update_of_release_0_4_went_on_from_is_known(folder):
    assert folder.read(WarmStart).champion == ContinuedFrom(**written("continued.json")["champion"])
