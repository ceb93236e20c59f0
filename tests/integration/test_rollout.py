"""The rollout DAG in a real Airflow: a version that training made goes to the end; a worse one is taken back, and told."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np
import pytest

from demo.airflow_api import FINISHED, AirflowApi, poll
from demo.local_airflow import LocalAirflow
from demo.mail_catcher import MailCatcher
from demo.stack import PRELOADED
from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Rollout, RolloutCheck
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.rollout import routing as rollout
from mlprod_tasks.scoring.log_row import log_schema
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service
from tests.support import returns_pipeline
from tests.support.paths import REPOSITORY
from tests.support.ramped_shop import RolledOut
from tests.support.request_log import log_row, write_log
from tests.support.returns_lake import fill

DAG = "returns.rollout"
# Looked at often, so that the trial is short.
EXPERIMENT = "returns.experiment"
EXPERIMENTS = "ml.Experiments((ml.UnitMetric('saved', 'value', 'what acting saved'),))"
SERVING = "ml.Serving(log_seconds=0.2, ramp=ml.Ramp(shares=(0.5, 1.0), hold=ml.hours(0), rows=100))"


@dataclass
class Running(RolledOut):
    """A shop whose version 1 is champion, in a real Airflow, with a service in this process."""

    api: AirflowApi
    service: Service
    asked: int = 0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(4))

    def answer(self) -> None:
        """Bring the service's models up to date, and ask it for 60 rows."""
        self.service.loader.refresh()
        rows = []
        for _ in range(60):
            self.asked += 1
            channel = ("web", "app", "phone")[self.asked % 3]
            amount = float(self.random.normal())
            rows.append(
                {"order_id": 10_000 + self.asked, "placed_at": "2024-02-01T10:00:00Z", "channel": channel, "amount": amount}
            )

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.service)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://served") as client:
                return await client.post("/v1/pipelines/returns/score", content=json.dumps({"rows": rows}))

        assert asyncio.run(ask()).status_code == 200
        self.service.scorers["returns"].log.flush()

    def fail(self) -> None:
        """Log what a service would whose challenger raises on each row."""
        asked = self.rollout()
        rows, schema = [], log_schema(self.pipeline)
        for _ in range(200):
            self.asked += 1
            key, now = str(self.asked), self.platform.clock.now()
            assigned = rollout.answers(rollout.routing(asked), "returns", key)
            broken = assigned == "challenger"
            values: dict[str, Any] = {
                "key": key, "tick": self.pipeline.schedule.tick_at(now).name, "score": 0.3, "model_version": self.champion(),
                "route": "fallback" if broken else "champion", "assigned": assigned, "fallback": broken, "error": broken,
                "key_order_id": self.asked,
            }  # fmt: skip
            rows.append(log_row(schema, f"f-{key}", now, **values))
        write_log(self.pipeline, self.platform, rows)

    def over(self, run: str, meanwhile: Callable[[], None]) -> dict[str, str]:
        """The states of a run's tasks when it has ended; until then, `meanwhile` goes on."""

        def ended() -> bool | None:
            if self.api.run(DAG, run)["state"] in FINISHED:
                return True
            meanwhile()
            return None

        poll(ended, seconds=400, waiting_for=lambda: f"{run}: {self.api.task_states(DAG, run)}")
        return self.api.task_states(DAG, run)


def registered(pipeline: Pipeline, platform: Platform) -> int:
    """A second version that passed its gates."""
    plain = replace(pipeline, model=replace(pipeline.model, search=None, segment_by=None))
    steps.assemble(plain, plain.schedule.tick("2024-01-29"), "second", "a test", platform)
    for step in (steps.train, steps.evaluate, steps.gate):
        step(plain, "second", platform)
    return steps.register(plain, "second", platform).version


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("rollout")
    shutil.copytree(REPOSITORY / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "pipelines").mkdir()
    returns_pipeline.write(home / "pipelines", approval="None", serving=SERVING, experiments=EXPERIMENTS)
    with MailCatcher(home / "outbox") as catcher:
        variables = {
            "MLPROD_HOME": str(home / "var"),
            "MLPROD_PIPELINES": str(home / "pipelines"),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://127.0.0.1:{catcher.smtp_port}?disable_ssl=true&disable_tls=true",
        }
        platform = Platform(from_environment(variables))
        pipeline = load(home / "pipelines" / "returns.py")
        fill(platform, pipeline)
        assert workflows.train(pipeline, pipeline.schedule.tick("2024-01-28"), "a first champion", platform) == 1
        assert registered(pipeline, platform) == 2
        service = build_service(platform, {"returns": pipeline}, keys_needed=False)
        plugins = REPOSITORY / "plugins"
        with LocalAirflow(
            home / "airflow", dags=home / "dags", plugins=plugins, preload=PRELOADED, environment=variables, cores=2
        ) as airflow:
            api = airflow.api
            wanted = {DAG, EXPERIMENT, "returns.train"}
            poll(lambda: True if api.dag_ids() >= wanted else None, seconds=90, waiting_for=lambda: str(api.import_errors()))
            for dag in wanted:
                api.unpause(dag)
            yield Running(pipeline, platform, catcher, api, service)


def test_an_experiment_is_planned_started_and_ended_by_its_own_dag(running: Running) -> None:
    api, pipeline, platform = running.api, running.pipeline, running.platform
    for tick in pipeline.schedule.range("2024-01-15", "2024-01-21"):
        steps.score(pipeline, tick, platform)

    def ran(run: str, **asked: Any) -> tuple[str, str]:
        conf = {"variants": "2", "metric": "saved", "difference": 3.0, "reason": "a test", "name": "newer", **asked}
        state = api.wait_for_run(EXPERIMENT, api.trigger(EXPERIMENT, conf=conf, run_id=run))["state"]
        return state, api.task_log(EXPERIMENT, run, "carry_out")

    state, log = ran("planned", what="plan")
    assert state == "success", log
    assert "in 2024-01-15 to 2024-01-21: " in log
    assert experiments.every(pipeline, platform) == []
    state, log = ran("too_small", what="plan", difference=0.001)
    assert state == "failed"
    assert "Ask for a greater difference" in log
    assert ran("started", what="start")[0] == "success"
    (run,) = experiments.every(pipeline, platform)
    assert (run.name, run.reason, run.plan["wanted"]["difference"]) == ("newer", "a test", 3.0)
    assert run.by
    state, log = ran("again", what="start")
    assert state == "failed"
    assert "there was one of that name" in log
    assert ran("ended", what="stop", reason="enough")[0] == "success"
    (run,) = experiments.every(pipeline, platform)
    assert (run.ended, run.end_reason) == (run.starts, "enough")
    assert running.mails() == [], "who asked for what was refused reads why"


def test_a_version_that_is_no_worse_goes_through_all_shares_and_becomes_champion(running: Running) -> None:
    api = running.api
    run = api.trigger(DAG, conf={"challenger": 2, "by": "Ada", "reason": "it is newer"}, run_id="better")
    states = running.over(run, running.answer)
    found = [one.sentence for one in running.platform.ledger.all(RolloutCheck, pipeline="returns")]
    assert api.run(DAG, run)["state"] == "success", found
    assert set(states.values()) == {"success"}
    assert (running.champion(), running.rollout().mode) == (2, "champion")
    alias = running.platform.registry.champion(running.pipeline)
    assert alias is not None
    assert alias.version == 2
    shares = [one.share for one in running.platform.ledger.all(Rollout, pipeline="returns", mode="canary")]
    assert shares == [0.5, 1.0]
    checks = running.platform.ledger.all(RolloutCheck, pipeline="returns")
    assert {(one.share, one.passed) for one in checks if one.what == "scores"} == {(0.5, True), (1.0, True)}
    assert running.mails() == []


def test_a_challenger_that_fails_is_taken_back_and_one_mail_says_why(running: Running) -> None:
    api = running.api
    run = api.trigger(DAG, conf={"challenger": 1, "by": "Ada", "reason": "the old one was better"}, run_id="worse")
    states = running.over(run, lambda: running.fail() if running.rollout().mode == "canary" else None)
    assert (states["to_50_percent.check"], states["finish"], states["take_back"]) == ("failed", "upstream_failed", "success")
    assert api.run(DAG, run)["state"] == "failed"
    assert (running.champion(), running.rollout().mode) == (2, "champion")
    (mail,) = running.mails()
    assert mail.startswith("[returns] version 1 was taken back at 50% of entities\n")
    assert "significantly more than 1 percentage point above" in " ".join(mail.split())
    assert f"/dags/{DAG}/runs/{run}" in mail


def test_what_a_person_sets_by_hand_ends_a_run_and_holds(running: Running) -> None:
    def by_hand() -> None:
        if running.rollout().mode == "canary":
            rollout.roll_out(running.pipeline, running.platform, mode="champion", by="Bo", reason="not today")

    run = running.api.trigger(DAG, conf={"challenger": 1, "hold_minutes": 60}, run_id="stopped")
    states = running.over(run, by_hand)
    assert states["finish"] == "skipped"
    assert running.api.run(DAG, run)["state"] == "success"
    assert (running.rollout().by, running.champion(), len(running.mails())) == ("Bo", 2, 1)
    asked = {one.by for one in running.platform.ledger.all(Rollout, pipeline="returns", challenger=1)}
    assert asked == {"ramp for Ada", "ramp for Anonymous"}, "who triggers a run is who asks for it, where no name is given"


def test_what_training_registers_is_rolled_out_and_taken_back_where_the_run_is_marked_as_failed(running: Running) -> None:
    api, run = running.api, "train__v3"
    api.trigger("returns.train", conf={"as_of": "2024-01-30", "reason": "a test"}, run_id="by_hand")
    assert api.wait_for_run("returns.train", "by_hand", seconds=600)["state"] == "success"
    states = api.task_states("returns.train", "by_hand")
    assert (states["register"], states["roll_out"], states["promote"]) == ("success", "success", "skipped")
    assert running.champion() == 2

    def waits() -> bool | None:
        return True if api.task_states(DAG, run).get("to_50_percent.wait") == "deferred" else None

    poll(waits, seconds=180, waiting_for=lambda: str(api.task_states(DAG, run)))
    assert (running.rollout().share, running.rollout().challenger, running.rollout().by) == (0.5, 3, "ramp for training")
    api.patch(f"dags/{DAG}/dagRuns/{run}", {"state": "failed"})
    poll(
        lambda: True if running.rollout().mode == "champion" and len(running.mails()) == 2 else None,
        seconds=180,
        waiting_for=lambda: f"{running.rollout()}, {api.task_states(DAG, run)}",
    )
    assert "version 3 was taken back" in running.mails()[1]
    assert running.champion() == 2
