"""The registry: MLflow as it is, and verified copies of its models."""

import multiprocessing
import os
import shutil
import time
import traceback
from pathlib import Path

import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import mlflow_flavor
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import Input
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.platform.ledger_store import Ledger
from mlprod_tasks.platform.model_files import BrokenArtifact, ModelRef
from mlprod_tasks.platform.registry import Registry, RegistryUnreachable
from tests.support.paths import FLIGHTS


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory) -> Path:
    """MLflow's database without content; making one takes seconds."""
    home = tmp_path_factory.mktemp("mlflow")
    Registry(f"sqlite:///{home / 'mlflow.db'}", home).answers()
    return home / "mlflow.db"


@pytest.fixture
def registry(empty_mlflow, tmp_path) -> Registry:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


def a_model(rate: float) -> FallbackModel:
    return FallbackModel((Input("carrier", "text"),), {("A",): rate}, 0.5, 0.25)


def registered(registry: Registry, pipeline: Pipeline, training_id: str, rate: float = 0.3) -> ModelRef:
    """A small model as a version of the pipeline's own name."""
    run_id = registry.start_run(pipeline, training_id)
    folder = registry.home / "made" / training_id
    digest = a_model(rate).save(folder / "data")
    if not (folder / "logged").exists():
        mlflow_flavor.save(a_model(rate), folder / "data", folder / "logged" / "model")
    registry.log_folder(run_id, folder / "logged")
    return registry.register(names.registered_model(pipeline), run_id, digest, "model", {"why": "a test"}, "A model.")


def score(registry: Registry, ref: ModelRef) -> float:
    return float(registry.load_model(ref).predict({"carrier": "A"}).score[0])


def test_nobody_is_champion_until_the_alias_is_set_and_whoever_moves_it_is_heard(registry, flights_pipeline):
    assert registry.champion(flights_pipeline) is None
    first, second = (registered(registry, flights_pipeline, name, rate) for name, rate in (("a", 0.3), ("b", 0.6)))
    assert registry.champion(flights_pipeline) is None
    registry.set_alias(first.name, "champion", second.version)
    assert registry.champion(flights_pipeline) == second
    assert score(registry, second) == 0.6
    registry.client.set_registered_model_alias(first.name, "champion", "1")  # as the MLflow UI does
    assert registry.champion(flights_pipeline) == first
    assert score(registry, first) == 0.3


def test_registering_the_same_model_of_a_run_again_makes_no_second_version(registry, flights_pipeline):
    assert registered(registry, flights_pipeline, "a") == registered(registry, flights_pipeline, "a")
    assert registered(registry, flights_pipeline, "b").version == 2


def test_a_model_is_read_from_this_machines_copy_once_it_was_fetched(registry, flights_pipeline):
    ref = registered(registry, flights_pipeline, "a")
    assert score(registry, ref) == 0.3
    shutil.rmtree(registry.home / "mlartifacts")
    assert score(registry, ref) == 0.3


def test_a_damaged_copy_is_fetched_again(registry, flights_pipeline):
    ref = registered(registry, flights_pipeline, "a")
    assert score(registry, ref) == 0.3
    for path in (registry.home / "models").rglob("model.json"):
        path.write_text(path.read_text().replace("0.3", "0.9"))
    assert score(registry, ref) == 0.3


def test_copies_that_were_not_used_for_days_make_room_and_are_fetched_again(registry, flights_pipeline, monkeypatch):
    monkeypatch.setattr("mlprod_tasks.platform.model_copies.MOST_COPIES", 2)
    refs = [registered(registry, flights_pipeline, run) for run in "abcd"]
    folder, days_ago = registry.home / "models" / refs[0].name, time.time() - 3 * 24 * 3600
    for ref in refs[:3]:
        registry.load_model(ref)
        for copy in folder.iterdir():
            os.utime(copy, (days_ago, days_ago))
    registry.load_model(refs[0])  # used today
    registry.load_model(refs[3])
    assert sorted(copy.name[:2] for copy in folder.iterdir()) == ["1-", "4-"]
    registry.load_model(refs[1])
    registry.load_model(refs[2])
    assert len(list(folder.iterdir())) == 4  # too many, but each may be in use


def test_artifacts_that_are_not_what_was_registered_are_refused(registry, flights_pipeline):
    ref = registered(registry, flights_pipeline, "a")
    for path in (registry.home / "mlartifacts").rglob("model.json"):
        path.write_text(path.read_text().replace("0.3", "0.9"))
    with pytest.raises(BrokenArtifact, match="version 1 are not the registered ones"):
        registry.load_model(ref)


def test_artifacts_that_are_gone_are_told(registry, flights_pipeline):
    ref = registered(registry, flights_pipeline, "a")
    shutil.rmtree(registry.home / "mlartifacts")
    with pytest.raises(BrokenArtifact):
        registry.load_model(ref)


def test_a_version_that_was_deleted_is_told(registry, flights_pipeline):
    registered(registry, flights_pipeline, "a")
    registry.client.delete_model_version("flight_delays", "1")
    with pytest.raises(BrokenArtifact, match="has no version 1"):
        registry.load(flights_pipeline, 1)


def test_an_artifact_that_another_module_reads_is_not_run(registry, flights_pipeline):
    ref = registered(registry, flights_pipeline, "a")
    for path in (registry.home / "mlartifacts").rglob("MLmodel"):
        path.write_text(path.read_text().replace("mlprod_tasks.models.mlflow_flavor", "os.path"))
    with pytest.raises(BrokenArtifact, match="was not made by mlprod"):
        registry.load_model(ref)


def test_the_champion_of_a_tick_is_the_last_that_was_promoted_for_it(registry, flights_pipeline, tmp_path, make_platform):
    ledger: Ledger = make_platform("ledger").ledger
    clock = make_platform("ledger").clock
    for name, day in (("a", "2013-06-10"), ("b", "2013-06-17")):
        ref = registered(registry, flights_pipeline, name)
        tick = flights_pipeline.schedule.tick(day)
        ledger.put(
            Promotion(
                pipeline="flight_delays",
                model_version=ref.version,
                effective=tick.name,
                training_id=name,
                reason="",
                at=clock.now(),
            )
        )
    found = [
        registry.champion_at(flights_pipeline, flights_pipeline.schedule.tick(f"2013-06-{day:02}"), ledger)
        for day in (9, 10, 16, 17, 30)
    ]
    assert [ref and ref.version for ref in found] == [None, 1, 1, 2, 2]


def test_a_server_that_does_not_answer_is_told_within_seconds(tmp_path, flights_pipeline, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnreachable, match=r"http://127\.0\.0\.1:9 does not answer"):
        Registry("http://127.0.0.1:9", tmp_path).champion(flights_pipeline)


def test_a_database_that_does_not_answer_is_told_without_its_password(tmp_path, flights_pipeline):
    with pytest.raises(RegistryUnreachable) as told:
        Registry("postgresql+psycopg2://mlflow:secret@127.0.0.1:9/mlflow?connect_timeout=1", tmp_path).champion(
            flights_pipeline
        )
    assert "secret" not in str(told.value)


def test_a_server_that_does_not_answer_is_told_without_its_password(tmp_path, flights_pipeline, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://mlflow:secret@127.0.0.1:9", tmp_path)
    with pytest.raises(RegistryUnreachable, match=r"http://mlflow:\*\*\*@127\.0\.0\.1:9 does not answer") as told:
        registry.champion(flights_pipeline)
    assert "secret" not in "".join(traceback.format_exception(told.value))


def _race(url: str, home: str, pipeline_file: str, name: str, start) -> None:
    from mlprod_tasks.declaration import load

    registry, pipeline = Registry(url, Path(home) / name), load(Path(pipeline_file))
    registry.answers()
    start.wait(60)
    registered(registry, pipeline, name)


def test_two_processes_that_make_the_experiment_and_the_model_at_once_both_succeed(registry, flights_pipeline):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    processes = [
        context.Process(target=_race, args=(registry.url, str(registry.home), str(FLIGHTS), name, start)) for name in ("a", "b")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0]
    assert {version.version for version in registry.client.search_model_versions("name = 'flight_delays'")} == {1, 2}


def test_nothing_is_written_to_the_working_folder(registry, flights_pipeline, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    score(registry, registered(registry, flights_pipeline, "a"))
    assert list((tmp_path / "cwd").iterdir()) == []
