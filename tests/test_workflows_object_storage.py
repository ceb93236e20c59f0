"""A lake in a bucket: the same rows, trainings and ledger as in a folder, whatever befalls the requests."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import inspect

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps, workflows
from mlprod_tasks.models import learners
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Audit, Decision, Measurement, Publication, Row, Scoring, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training import fit_model, search
from mlprod_tasks.training.workspace import NotAStep, TrainingFolder
from tests.support.keys import PSEUDONYM_KEY
from tests.support.new_home import new_home
from tests.support.object_storage import Bucket, FaultyProxy, new_bucket
from tests.support.processes import PROCESSES
from tests.support.shop import SHOP
from tests.support.trained_shop import AS_OF, Shop, copied, fill, raw_tables
from tests.support.weekly_shop import FIRST, REGULARS, WEEK, purchases, variables, write_source

# What says when, where or how long, not what.
CIRCUMSTANCES = {"at", "first_at", "seconds", "staging", "delta_version", "source"}


def at(home: Path, bucket: Bucket, port: int | None = None) -> Platform:
    """An installation with its lake in the bucket, reached through a proxy if a port is given."""
    given = {
        "MLPROD_HOME": str(home),
        "MLPROD_PIPELINES": str(home),
        "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY,
        "MLPROD_LAKE": f"{bucket.url}/deep/lake",
        "MLPROD_CONNECTION_LAKE": bucket.connection(port),
    }
    return Platform(from_environment(given))


@dataclass(frozen=True)
class Both:
    """The same shop with a champion: with its lake in a folder, and in a bucket."""

    local: Shop
    remote: Shop
    bucket: Bucket
    home: Path

    def reached_by(self, port: int) -> Shop:
        """Another process of the one with the bucket, which reaches it through a proxy."""
        return Shop(self.remote.pipeline, at(self.home, self.bucket, port))


@pytest.fixture(scope="module")
def both(promoted_home: Path, tmp_path_factory: pytest.TempPathFactory, s3_port: int) -> Both:
    folder, bucket = tmp_path_factory.mktemp("lakes"), new_bucket(s3_port)
    (folder / "local").mkdir()
    local = copied(promoted_home, folder / "local")
    shutil.copytree(promoted_home, folder / "remote", ignore=shutil.ignore_patterns("lake"))
    remote = Shop(local.pipeline, at(folder / "remote", bucket))
    fill(remote.platform, *raw_tables())
    return Both(local, remote, bucket, folder / "remote")


def rows_of(shop: Shop, name: str) -> list[dict[str, Any]]:
    rows = shop.platform.lake.rows(name)
    return list(rows.drop_columns(["scored_at"] if "scored_at" in rows.column_names else []).sort_by("order_id").to_pylist())


def ledger_of(platform: Platform) -> dict[str, list[dict[str, Any]]]:
    kinds: tuple[type[Row], ...] = (Audit, Publication, Scoring, Measurement, Decision)
    return {
        kind.__tablename__: [
            {c.key: getattr(row, c.key) for c in inspect(kind).column_attrs if c.key not in CIRCUMSTANCES}
            for row in platform.ledger.all(kind)
            if not isinstance(row, Measurement) or row.what not in of_family("health")
        ]
        for kind in kinds
    }


def machine(home: Path, bucket: Bucket, ledger_url: str, mlflow_url: str) -> Platform:
    """A machine of an installation: it has a home folder of its own, and shares databases and the lake."""
    return Platform(replace(at(home, bucket).settings, ledger_url=ledger_url, mlflow_url=mlflow_url))


def killed_in_fit(home: Path, bucket: Bucket, ledger_url: str, mlflow_url: str) -> None:
    """The process of a machine is killed when its model is fitted, and nothing of it written."""
    fitted = fit_model.fit_learner
    fit_model.fit_learner = lambda *given, **named: (fitted(*given, **named), os.kill(os.getpid(), signal.SIGKILL))
    steps.fit(SHOP, "two", "*", machine(home, bucket, ledger_url, mlflow_url))


def test_every_step_of_a_training_may_run_on_another_machine_also_after_one_was_killed(
    both: Both, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shop, settings = both.remote, both.remote.platform.settings
    installation = (both.bucket, settings.ledger_url, settings.mlflow_url)
    workers = (machine(tmp_path / f"machine{i}", *installation) for i in range(6))
    steps.assemble(shop.pipeline, shop.tick(AS_OF), "two", "a test", next(workers))
    killed = PROCESSES.Process(target=killed_in_fit, args=(tmp_path / "killed", *installation))
    killed.start()
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    assembled = next(workers)
    assert steps.segments(shop.pipeline, "two", assembled) == ["*"]
    steps.fit(shop.pipeline, "two", "*", assembled)
    steps.train(shop.pipeline, "two", next(workers))
    assert "part * is already fitted" in caplog.text
    steps.evaluate(shop.pipeline, "two", next(workers))
    steps.gate(shop.pipeline, "two", next(workers))
    reader = next(workers)
    registered = steps.register(shop.pipeline, "two", reader)
    assert registered.version == 2
    training = reader.ledger.get(Training, "two")
    assert training is not None
    assert set(training.importance) == set(SHOP.feature_names)
    assert sum(training.importance.values()) == pytest.approx(1)
    undisturbed = both.local.platform.registry
    golden = [
        pq.read_table(registry.golden_predictions(ref))
        for registry, ref in ((undisturbed, undisturbed.version(registered.name, 1)), (reader.registry, registered))
    ]
    assert golden[0].equals(golden[1])
    assert golden[0].num_rows == 100
    folders = TrainingFolder(both.local.platform, "one"), TrainingFolder(reader, "two")
    sets = [pq.read_table(folder.training_set) for folder in folders]
    assert sets[0].num_rows > 3000
    assert sets[1].equals(sets[0])
    assert list(tmp_path.glob("*/trainings")) == [], "nothing is left but copies"
    assert [list((tmp_path / f"machine{i}" / "work").iterdir()) for i in range(5)] == [[]] * 5


SEARCHED = replace(
    SHOP,
    model=replace(
        SHOP.model,
        candidates=(ml.LightGBM(max_trees=8, num_leaves=2),),
        search=ml.Search(trials=6, workers=2, space={"num_leaves": ml.Between(2, 15, log=True)}),
    ),
)


def killed_in_second_trial(home: Path, bucket: Bucket, ledger_url: str, mlflow_url: str) -> None:
    """The process of a worker is killed when it has fitted its second trial."""
    fit, fits = learners.fit_learner, iter((lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    learners.fit_learner = lambda *given, **named: (fit(*given, **named), next(fits)())[0]
    steps.search(SEARCHED, "four", machine(home, bucket, ledger_url, mlflow_url), 0)


def test_workers_on_several_machines_share_a_search_also_after_one_was_killed(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = both.remote, both.remote.platform.settings
    installation = (both.bucket, settings.ledger_url, settings.mlflow_url)
    machines = [machine(tmp_path / f"machine{i}", *installation) for i in range(3)]
    steps.assemble(SEARCHED, shop.tick(AS_OF), "four", "a test", machines[2])
    killed = PROCESSES.Process(target=killed_in_second_trial, args=(tmp_path / "killed", *installation))
    killed.start()
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL

    fit, first, at_once = learners.fit_learner, threading.local(), threading.Barrier(2)

    def fit_when_both_have_a_trial(*given: Any, **named: Any) -> Any:
        if not hasattr(first, "fit"):
            first.fit = at_once.wait(60)
        return fit(*given, **named)

    with monkeypatch.context() as together, ThreadPoolExecutor(2) as pool:
        together.setattr(learners, "fit_learner", fit_when_both_have_a_trial)
        done = list(pool.map(lambda worker: steps.search(SEARCHED, "four", machines[worker], worker), range(2)))
    folder = TrainingFolder(machines[2], "four")
    made = search.trials_of(SEARCHED, folder, 0).ended()
    assert [one.place for one in made] == list(range(6))
    assert {one.worker for one in made} == {0, 1}
    assert "lightgbm/1-1.claim" in search.trials_of(SEARCHED, folder, 0).records.read(), "the lost trial is made again"
    best = min(made, key=lambda one: (one.loss or 0.0, one.place))
    assert {"lightgbm": best.loss} in [one.best for one in done]
    assert search.tuned(SEARCHED, folder) == {"lightgbm": replace(SEARCHED.model.candidates[0], **best.parameters)}

    def runs_below() -> list[str]:
        client, parent = shop.platform.registry.client, shop.platform.registry.start_run(SEARCHED, "four")
        below = f"tags.`mlflow.parentRunId` = '{parent}'"
        return sorted(run.info.run_name for run in client.search_runs([client.get_run(parent).info.experiment_id], below))

    assert runs_below() == [f"lightgbm {place}" for place in range(1, 7)]
    again = machine(tmp_path / "again", *installation)
    steps.search(SEARCHED, "four", again, 1)
    assert search.trials_of(SEARCHED, folder, 0).ended() == made
    assert runs_below() == [f"lightgbm {place}" for place in range(1, 7)]


def test_what_would_write_to_a_copy_of_a_training_is_refused(both: Both) -> None:
    from mlprod_tasks.training.assemble import assemble

    with pytest.raises(NotAStep, match=r"call the one in mlprod_tasks\.steps"):
        assemble(both.remote.pipeline, both.remote.tick(AS_OF), "three", "a test", both.remote.platform)


def assert_same_rows_of(day: str, both: Both) -> None:
    """A tick was scored once, with the same rows."""
    name = names.predictions(both.local.pipeline)
    local, remote = ([row for row in rows_of(shop, name) if str(row["tick"]) == day] for shop in (both.local, both.remote))
    assert len(local) == 120
    assert remote == local


def scored(shop: Shop, *days: str) -> None:
    for day in days:
        steps.score(shop.pipeline, shop.tick(day), shop.platform)
        steps.measure(shop.pipeline, shop.tick(day), shop.platform)
        steps.decide_and_act(shop.pipeline, shop.tick(day), shop.platform)


def test_ticks_are_scored_and_measured_the_same_also_twice(both: Both) -> None:
    days = (AS_OF, "2024-02-11")
    scored(both.local, *days)
    scored(both.remote, *days)
    name = names.predictions(both.local.pipeline)
    expected, ledger = rows_of(both.local, name), ledger_of(both.local.platform)
    assert len(expected) == 240
    assert rows_of(both.remote, name) == expected
    assert ledger_of(both.remote.platform) == ledger
    scored(both.remote, *days)
    assert rows_of(both.remote, name) == expected
    scored(both.local, *days)
    assert ledger_of(both.remote.platform) == ledger_of(both.local.platform)


def test_two_processes_that_score_one_tick_leave_it_once(both: Both) -> None:
    day = "2024-02-12"
    scored(both.local, day)
    others = [both.reached_by(both.bucket.port) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda shop: steps.score(shop.pipeline, shop.tick(day), shop.platform), others))
    assert_same_rows_of(day, both)


COMMIT = r"predictions/_delta_log/\d+\.json"


@pytest.mark.parametrize(
    ("day", "fault", "method", "path", "times"),
    [
        ("2024-02-05", "lost", "PUT", COMMIT, 1),
        ("2024-02-06", "dropped", "PUT", COMMIT, 1),
        ("2024-02-07", "busy", ".*", ".*", 6),
        ("2024-02-08", "cut", "GET", r"\.parquet", 2),
        ("2024-02-09", 0.3, "PUT", ".*", 10**6),
    ],
    ids=["commit_unanswered", "commit_undone", "busy", "answer_cut", "slow"],
)
def test_a_tick_is_scored_once_whatever_befalls_its_requests(
    both: Both, proxy: FaultyProxy, day: str, fault: Any, method: str, path: str, times: int
) -> None:
    steps.score(both.local.pipeline, both.local.tick(day), both.local.platform)
    proxy.befall(fault, method, path, times)
    shutil.rmtree(both.home / "lake_copies", ignore_errors=True)
    shop = both.reached_by(proxy.port)
    steps.score(shop.pipeline, shop.tick(day), shop.platform)
    assert proxy.befallen(), "the fault did not happen"
    assert_same_rows_of(day, both)


def test_ticks_are_ingested_audited_and_published_the_same(tmp_path: Path, bucket: Bucket) -> None:
    ticks, platforms = REGULARS.schedule.range(FIRST + WEEK, FIRST + 4 * WEEK), []
    for folder, given in (
        ("local", {}),
        ("remote", {"MLPROD_LAKE": bucket.url, "MLPROD_CONNECTION_LAKE": bucket.connection()}),
    ):
        (tmp_path / folder).mkdir()
        write_source(purchases(), tmp_path / folder / "shop.db")
        new_home(tmp_path / folder / "var")
        platforms.append(Platform(from_environment({**variables(tmp_path / folder), **given})))
    for platform in platforms:
        workflows.ingest(REGULARS, ticks, platform)
        workflows.ingest(REGULARS, REGULARS.schedule.range(FIRST + 2 * WEEK), platform)
    local, remote = (
        one.lake.rows(names.raw(REGULARS, "purchases")).drop_columns("_arrived_at").sort_by("purchase_id") for one in platforms
    )
    assert local.num_rows > 100
    assert remote.equals(local)
    assert ledger_of(platforms[1]) == ledger_of(platforms[0])
