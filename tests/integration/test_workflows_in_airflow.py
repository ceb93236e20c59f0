"""The DAG files in a real Airflow: failures are told once, a refused declaration takes no other use case away."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from demo.airflow_api import AirflowApi, ApiError, poll
from demo.local_airflow import LocalAirflow
from demo.mail_catcher import MailCatcher
from demo.stack import PRELOADED
from mlprod_tasks import workflows
from mlprod_tasks.declaration import load
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Approval, Measurement, Review, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.log_row import log_schema
from tests.support import returns_pipeline
from tests.support.paths import FLIGHTS, REPOSITORY
from tests.support.request_log import log_row, write_log
from tests.support.returns_lake import fill

WORKFLOWS = {
    f"{name}.{workflow}" for name in ("flight_delays", "returns") for workflow in ("ingest", "train", "score", "monitor")
} | {"flight_delays.online", "flight_delays.requests"}
FAILING = """
    import os
    from datetime import timedelta

    from airflow.sdk import dag, task
    from mlprod_airflow.installation import declared
    from mlprod_airflow.runs import on_request


    @task(retries=1, retry_delay=timedelta(seconds=1))
    def divides():
        raise ZeroDivisionError("nothing to divide by")


    @task(retries=0)
    def dies():
        os.kill(os.getpid(), 9)


    @dag("raises", **on_request(declared()[0], "A task that raises."))
    def raises():
        divides()


    @dag("killed", **on_request(declared()[0], "A task that is killed."))
    def killed():
        dies()


    raises()
    killed()
"""


@dataclass(frozen=True)
class Running:
    airflow: LocalAirflow
    api: AirflowApi
    catcher: MailCatcher
    platform: Platform

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.catcher.outbox.mails()]

    def failed(self, dag: str) -> None:
        poll(lambda: True if dag in self.api.dag_ids() else None, seconds=60, waiting_for=lambda: f"DAG {dag}")
        self.api.unpause(dag)
        assert self.api.wait_for_run(dag, self.api.trigger(dag, conf={"as_of": "2013-06-17"}))["state"] == "failed"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("workflows")
    shutil.copytree(REPOSITORY / "dags", home / "dags")
    (home / "dags" / "failing.py").write_text(textwrap.dedent(FAILING))
    (home / "pipelines").mkdir()
    shutil.copy(FLIGHTS, home / "pipelines")
    returns_pipeline.write(home / "pipelines")
    (home / "pipelines" / "broken.py").write_text("from mlprod_tasks import declaration as ml\n\npipeline = ml.Outcome('x')\n")
    with MailCatcher(home / "outbox") as catcher:
        variables = {
            "MLPROD_HOME": str(home / "var"),
            "MLPROD_PIPELINES": str(home / "pipelines"),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",  # an answer that does not come
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://127.0.0.1:{catcher.smtp_port}?disable_ssl=true&disable_tls=true",
        }
        plugins = REPOSITORY / "plugins"
        platform = Platform(from_environment(variables))
        with LocalAirflow(
            home / "airflow", dags=home / "dags", plugins=plugins, preload=PRELOADED, environment=variables, cores=2
        ) as airflow:
            yield Running(airflow, airflow.api, catcher, platform)


def test_a_refused_declaration_is_shown_and_the_other_use_cases_go_on(running: Running) -> None:
    def read() -> bool | None:
        return True if running.api.dag_ids() >= WORKFLOWS and running.api.import_errors() else None

    poll(read, seconds=60, waiting_for=lambda: f"{WORKFLOWS}; there are {running.api.dag_ids()}")
    ((file, told),) = running.api.import_errors().items()
    assert file.endswith("refused.py")
    assert "pipelines/broken.py:3: Outcome" in told
    assert "returns.requests" not in running.api.dag_ids(), "it answers no requests"


def test_a_task_that_raises_is_told_once_after_its_retries(running: Running) -> None:
    running.failed("raises")
    poll(lambda: True if running.subjects() else None, seconds=30, waiting_for=lambda: "the mail")
    (mail,) = [mail for mail in running.catcher.outbox.mails() if "raises divides" in str(mail["Subject"])]
    body = mail.get_body(("plain",))
    assert body is not None
    assert "nothing to divide by" in body.get_content()
    assert "/dags/raises/runs/" in body.get_content(), "the log is linked"


def test_a_task_that_is_killed_is_told_once_too(running: Running) -> None:
    running.failed("killed")

    def told() -> list[str] | None:
        return [subject for subject in running.subjects() if "killed dies" in subject] or None

    poll(told, seconds=60, waiting_for=lambda: f"a mail about the killed task; there are {running.subjects()}")


def test_no_failure_was_told_twice(running: Running) -> None:
    # The DAG's own callback of the run that raised comes before that of a run that fails after it.
    before = len(running.subjects())
    running.failed("killed")
    poll(lambda: True if len(running.subjects()) > before else None, seconds=60, waiting_for=lambda: "one mail more")
    assert len(running.subjects()) == before + 1 == len(set(running.catcher.outbox.files()))
    assert sum("raises divides" in subject for subject in running.subjects()) == 1


def test_what_the_service_logs_is_collected_and_measured_and_people_are_asked(running: Running) -> None:
    dag, platform = "flight_delays.requests", running.platform
    pipeline = load(platform.settings.pipelines / "flight_delays.py")
    moment = datetime(2013, 6, 17, 15, tzinfo=UTC)
    schema, nobody = log_schema(pipeline), {"model_version": None, "milliseconds": 2.0}  # nothing is trained yet
    rows = [log_row(schema, f"r-{i}", moment, score=None if i < 30 else 0.5, review=i == 7, **nobody) for i in range(120)]
    write_log(pipeline, platform, rows)

    poll(lambda: True if dag in running.api.dag_ids() else None, seconds=60, waiting_for=lambda: f"DAG {dag}")
    running.api.unpause(dag)
    for _ in range(2):
        assert running.api.wait_for_run(dag, running.api.trigger(dag))["state"] == "success"
    assert platform.lake.rows(names.requests(pipeline)).num_rows == 120
    measured = {row.what: row.value for row in platform.ledger.all(Measurement, pipeline=pipeline.name)}
    assert (measured["online_rows"], measured["online_refused"], measured["online_latency"]) == (120, 0.25, 2.0)
    assert [one.request_id for one in platform.ledger.all(Review)] == ["r-7"]


def asked(running: Running, dag: str, run: str) -> dict[str, Any]:
    """What the run's task `approve` asks, once it waits for the answer."""
    api = running.api
    question = poll(lambda: api.question(dag, run, "approve"), seconds=120, waiting_for=lambda: str(api.task_states(dag, run)))
    # An answer within the second in which the asking process ends, Airflow takes for that process failing.
    attempt = question["task_instance"]["try_number"]
    ended = f"task_id='approve', run_id='{run}', try_number={attempt}, map_index=-1)"
    log = running.airflow.home / "scheduler.log"

    def over() -> bool | None:
        lines = log.read_text(errors="replace").splitlines()
        return True if any("Received executor event" in line and ended in line for line in lines) else None

    poll(over, seconds=60, waiting_for=lambda: f"the end of the process that asks, in {log}")
    return question


def test_search_and_segments_run_as_mapped_tasks_and_a_person_decides_what_becomes_champion(running: Running) -> None:
    dag, run, api, platform = "returns.train", "by_hand", running.api, running.platform
    file = platform.settings.pipelines / "returns.py"
    pipeline = load(file)
    fill(platform, pipeline)
    unasked = replace(pipeline, approval=None, model=replace(pipeline.model, search=None, segment_by=None))
    assert workflows.train(unasked, pipeline.schedule.tick("2024-01-28"), "a first champion", platform) == 1

    def state() -> tuple[str, int]:
        (training,) = platform.ledger.all(Training, pipeline="returns", as_of=date(2024, 1, 30))
        champion = platform.registry.champion(pipeline)
        assert champion is not None
        return training.state, champion.version

    # Nobody answers.
    patient = file.read_text()
    file.write_text(patient.replace("wait=ml.hours(1)", "wait=ml.hours(0.001)"))
    poll(lambda: True if dag in api.dag_ids() else None, seconds=60, waiting_for=lambda: f"DAG {dag}")
    tasks = {one["task_id"] for one in api.get("dags/flight_delays.train/tasks")["tasks"]}
    assert {"gate", "register"} <= tasks
    assert "approve" not in tasks, "where no approval is declared"

    api.unpause(dag)
    api.trigger(dag, conf={"as_of": "2024-01-30", "reason": "a test"}, run_id=run)
    assert api.wait_for_run(dag, run)["state"] == "failed"
    assert api.mapped_states(dag, run, "search") == {"0": "success", "1": "success"}
    assert api.mapped_states(dag, run, "fit") == {"*": "success", "web": "success", "app": "success"}
    states = api.task_states(dag, run)
    assert (states["approve"], states["register"], states["promote"]) == ("failed", "upstream_failed", "upstream_failed")
    assert state() == ("rejected", 1)
    file.write_text(patient)

    # Asked again, a person rejects.
    api.clear(dag, run, ["approve"])
    question = asked(running, dag, run)
    assert question["subject"] == "Promote the new model of returns as of 2024-01-30?"
    assert r"| roc_auc \>= 0.6 |" in question["body"]
    assert state() == ("awaiting approval", 1)
    api.answer(dag, run, "approve", "Reject")
    assert api.wait_for_run(dag, run)["state"] == "success"
    states = api.task_states(dag, run)
    assert (states["approve"], states["register"], states["promote"]) == ("success", "skipped", "skipped")
    assert state() == ("rejected", 1)
    with pytest.raises(ApiError, match="409"):
        api.answer(dag, run, "approve", "Approve")

    # Asked once more, a person approves.
    api.clear(dag, run, ["approve"])
    asked(running, dag, run)
    api.answer(dag, run, "approve", "Approve")
    assert api.wait_for_run(dag, run)["state"] == "success"
    assert state() == ("promoted", 2)
    champion = platform.registry.champion(pipeline)
    assert champion is not None
    assert isinstance(platform.registry.load_model(champion), SegmentedModel)
    (answer,) = platform.ledger.all(Approval)
    assert (answer.approved, answer.by, answer.model_digest) == (True, "Anonymous", champion.digest)
    assert platform.registry.run_tags(champion.run_id)["approval"].startswith("approved by Anonymous at ")

    told = [mail for mail in running.catcher.outbox.mails() if "[returns]" in str(mail["Subject"])]
    assert [str(mail["Subject"]) for mail in told] == [
        "[returns] a new model waits for approval",
        "[returns] returns.train approve failed",
    ]
    body = told[0].get_body(("plain",))
    assert body is not None
    assert f"/dags/{dag}/runs/{run}/tasks/approve/required_actions" in body.get_content()
