"""Two real Celery workers, each with a home of its own: any step on any of them, also if one is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text

from demo.airflow_api import AirflowApi, poll
from demo.local_airflow import LOOPBACK, LocalAirflow, die_with_parent, free_port
from demo.mail_catcher import MailCatcher
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.database import database_url, open_database
from mlprod_tasks.platform.ledger import Measurement, Scoring, StepRun, Training
from mlprod_tasks.platform.settings import from_environment
from tests.support.object_storage import FaultyProxy, faulty_proxy, new_bucket
from tests.support.paths import REPOSITORY
from tests.support.weekly_shop import FIRST, REGULARS, TRAINED, WEEK, purchases

USE_CASE = """
from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.weekly_shop import LAST, REGULARS

schedule = replace(REGULARS.schedule, ends=LAST)  # so that the scheduler starts nothing by itself
pipeline = replace(REGULARS, schedule=schedule, queues=ml.Queues(training="training"))
"""
SETTINGS = {
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # of a busy machine
    # A killed worker's task is found dead after seconds, not minutes.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


@dataclass
class Cluster:
    """Airflow, and its workers by name."""

    airflow: LocalAirflow
    platform: Platform
    folder: Path
    proxy: FaultyProxy
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> AirflowApi:
        return self.airflow.api

    def start(self, worker: str, queues: str) -> None:
        """Start a worker in a process group of its own, with homes of its own."""
        home = self.folder / worker
        home.mkdir(exist_ok=True)
        given = self.airflow.environment | {"HOME": str(home), "MLPROD_HOME": str(home / "var"), "TMPDIR": str(home)}
        given["MLPROD_EXPECTATIONS"] = str(home / "expectations")
        command = ["celery", "worker", "--queues", queues, "--concurrency", "1", "--skip-serve-logs", "--without-gossip"]
        with (self.folder / f"{worker}.log").open("ab") as log:
            self.workers[worker] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command, "--without-mingle", "--celery-hostname", f"{worker}@localhost"],
                env=given, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent(),
            )  # fmt: skip

    def kill(self, worker: str) -> None:
        """Kill a worker with all that it runs at once, as if its machine were gone."""
        process = self.workers.pop(worker)
        members = _tree(process.pid)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(10)
        psutil.wait_procs(members, timeout=10)

    def runs_on(self, dag: str, run: str, task: str) -> str | None:
        """The worker that runs a task now."""
        ((pid, state),) = [(one["pid"], one["state"]) for one in self.api.task_instances(dag, run) if one["task_id"] == task]
        if state != "running" or pid is None:
            return None
        return next((name for name, one in self.workers.items() if pid in {member.pid for member in _tree(one.pid)}), None)

    def kill_in(self, dag: str, run: str, task: str, method: str, path: str) -> None:
        """Kill the worker of a task while its request to the bucket waits."""
        before = self.proxy.befallen()
        self.proxy.befall(15.0, method, path, 1)
        poll(
            lambda: True if self.proxy.befallen() > before else None,
            seconds=240,
            waiting_for=lambda: f"{task} to write; {self.api.task_states(dag, run)}",
        )
        worker = self.runs_on(dag, run, task)
        assert worker is not None, self.api.task_states(dag, run)
        self.kill(worker)

    def tried_again(self, dag: str, run: str, task: str) -> None:
        """Wait until Airflow has found a task dead, and run it again now, not after the pause before a retry."""

        def dead() -> bool | None:
            states = {one["task_id"]: one["state"] for one in self.api.task_instances(dag, run)}
            return True if states[task] == "up_for_retry" else None

        poll(dead, seconds=120, waiting_for=lambda: f"{task} to be found dead; {self.api.task_states(dag, run)}")
        self.api.clear(dag, run, [task], downstream=False)

    def succeeded(self, workflow: str, run: str) -> None:
        dag = f"regulars.{workflow}"
        state = self.api.wait_for_run(dag, run, seconds=300)["state"]
        assert state == "success", self.api.task_states(dag, run)


def _tree(pid: int) -> list[psutil.Process]:
    """A worker and all that it started: each task has a process group of its own, but the worker's session or parents."""
    found = set(psutil.Process(pid).children(recursive=True))
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found.add(process)
        except ProcessLookupError:
            continue
    return [psutil.Process(pid), *found]


@pytest.fixture(scope="module")
def databases(postgres_url: str) -> Iterator[dict[str, str]]:
    """Databases of their own."""
    made = {name: f"celery_{name}_{os.getpid()}" for name in ("airflow", "ledger", "shop")}
    server = open_database(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for name in made.values():
            connection.execute(text(f"CREATE DATABASE {name}"))
    yield {
        name: database_url(postgres_url).set(database=database).render_as_string(hide_password=False)
        for name, database in made.items()
    }
    with server.connect() as connection:
        for name in made.values():
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, which keeps artifacts for all workers."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "files")]
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=die_with_parent(),
        )  # fmt: skip
    url = f"http://{LOOPBACK}:{port}"

    def answers() -> bool | None:
        try:
            return True if httpx.get(f"{url}/health", trust_env=False).is_success else None
        except httpx.TransportError:
            return None

    try:
        poll(answers, seconds=120, waiting_for=lambda: f"MLflow: {(folder / 'mlflow.log').read_text()[-2000:]}")
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, s3_port: int, redis_url: str, databases: dict[str, str], registry: str
) -> Iterator[Cluster]:
    folder, bucket = tmp_path_factory.mktemp("celery"), new_bucket(s3_port)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "regulars.py").write_text(USE_CASE)
    purchases().to_sql("purchases", open_database(databases["shop"]), index=False)
    with faulty_proxy(s3_port) as proxy, MailCatcher(folder / "outbox") as catcher:
        mlprod = {
            "MLPROD_PIPELINES": str(folder / "pipelines"),
            "MLPROD_LAKE": f"{bucket.url}/lake",
            "MLPROD_LEDGER_URL": databases["ledger"],
            "MLPROD_CONNECTION_LAKE": bucket.connection(proxy.port),
            "MLPROD_CONNECTION_SHOP": databases["shop"],
            "MLFLOW_TRACKING_URI": registry,
        }
        given = mlprod | {
            "MLPROD_HOME": str(folder / "home"),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://{LOOPBACK}:{catcher.smtp_port}?disable_ssl=true&disable_tls=true",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": redis_url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{databases['airflow']}",
            "AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": "mlprod_airflow.celery_workers.CONFIG",
            **SETTINGS,
        }
        platform = Platform(from_environment(mlprod | {"MLPROD_HOME": str(folder / "looker")}))
        platform.ledger.answers()
        airflow = LocalAirflow(
            folder / "airflow", dags=REPOSITORY / "dags", plugins=REPOSITORY / "plugins", environment=given, cores=2,
            database=databases["airflow"],
        )  # fmt: skip
        made = Cluster(airflow, platform, folder, proxy)
        with airflow:
            try:
                for worker in ("first", "second"):
                    made.start(worker, "default,training")
                airflow.api.wait_for_dags([f"regulars.{name}" for name in ("ingest", "train", "score", "monitor")], seconds=120)
                for name in ("ingest", "train", "score", "monitor"):
                    airflow.api.unpause(f"regulars.{name}")
                yield made
            finally:
                for worker in list(made.workers):
                    made.kill(worker)


def rows_of(cluster: Cluster, tick: Any) -> list[int]:
    rows = cluster.platform.lake.rows(names.predictions(REGULARS), [tick])
    return sorted(rows["customer_id"].to_pylist())


def test_a_use_case_runs_on_whatever_worker_and_survives_one_that_is_killed(cluster: Cluster) -> None:
    api, ticks = cluster.api, [TRAINED + i * WEEK for i in range(3)]
    history = api.trigger("regulars.ingest", conf={"first": str(FIRST + WEEK), "last": str(ticks[-1])})
    cluster.succeeded("ingest", history)

    # A worker is killed while it shows the training set that it wrote; another one starts, which has nothing.
    training = api.trigger("regulars.train", conf={"as_of": str(TRAINED)})
    cluster.kill_in("regulars.train", training, "assemble", "PUT", r"trainings/.*/log/\d+\.json")
    cluster.start("third", "default,training")
    cluster.tried_again("regulars.train", training, "assemble")
    cluster.succeeded("train", training)
    (trained,) = cluster.platform.ledger.all(Training, pipeline="regulars")
    champion = cluster.platform.registry.champion(REGULARS)
    assert champion is not None
    assert (trained.state, trained.model_version, champion.version) == ("promoted", 1, 1)

    # And one while it commits a tick's predictions.
    runs = {tick: api.trigger("regulars.score", partition_key=str(tick)) for tick in ticks[:1]}
    cluster.kill_in("regulars.score", runs[ticks[0]], "score", "PUT", r"predictions/_delta_log/.*\.json")
    cluster.start("fourth", "default,training")
    cluster.tried_again("regulars.score", runs[ticks[0]], "score")
    runs |= {tick: api.trigger("regulars.score", partition_key=str(tick)) for tick in ticks[1:]}
    for run in runs.values():
        cluster.succeeded("score", run)
    for tick in ticks:
        scored = rows_of(cluster, tick)
        assert len(scored) > 30
        assert len(set(scored)) == len(scored), "a row is scored twice"
        (entry,) = cluster.platform.ledger.all(Scoring, pipeline="regulars", tick=tick)
        assert (entry.rows, entry.fallback_reason) == (len(scored), None)

    watched = {tick: api.trigger("regulars.monitor", partition_key=str(tick)) for tick in ticks}
    for run in watched.values():
        cluster.succeeded("monitor", run)
    assert {one.tick for one in cluster.platform.ledger.all(Measurement, pipeline="regulars")} >= set(ticks)

    done = {one.step for one in cluster.platform.ledger.all(StepRun, pipeline="regulars", succeeded=True)}
    assert done >= {"extract", "audit", "publish", "assemble", "fit *", "train", "register", "score", "measure", "decide"}
    queues = {one["queue"] for one in api.task_instances("regulars.train", training)}
    assert queues == {"training"}
    assert {one["queue"] for one in api.task_instances("regulars.ingest", history)} == {"default"}
    assert not (cluster.folder / "home" / "trainings").exists(), "nobody wrote to the home folder of Airflow's components"
