"""The DAG files in a real Airflow: failures are told once, a refused declaration takes no other use case away."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.airflow_api import AirflowApi, poll
from demo.local_airflow import LocalAirflow
from demo.mail_catcher import MailCatcher

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = {f"flight_delays.{workflow}" for workflow in ("ingest", "train", "score", "monitor")}
FAILING = """
    import os
    from datetime import timedelta

    from airflow.sdk import dag, task
    from mlprod_airflow import declared, on_request


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
    api: AirflowApi
    catcher: MailCatcher

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
    shutil.copytree(REPOSITORY / "pipelines", home / "pipelines")
    (home / "pipelines" / "broken.py").write_text("from mlprod_tasks import declaration as ml\n\npipeline = ml.Label('x')\n")
    with MailCatcher(home / "outbox") as catcher:
        variables = {
            "MLPROD_HOME": str(home / "var"),
            "MLPROD_PIPELINES": str(home / "pipelines"),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://127.0.0.1:{catcher.smtp_port}?disable_ssl=true&disable_tls=true",
        }
        plugins = REPOSITORY / "plugins"
        with LocalAirflow(home / "airflow", dags=home / "dags", plugins=plugins, environment=variables, cores=2) as airflow:
            yield Running(airflow.api, catcher)


def test_a_refused_declaration_is_shown_and_the_other_use_cases_go_on(running: Running) -> None:
    def read() -> bool | None:
        return True if running.api.dag_ids() >= WORKFLOWS and running.api.import_errors() else None

    poll(read, seconds=60, waiting_for=lambda: f"{WORKFLOWS}; there are {running.api.dag_ids()}")
    ((file, told),) = running.api.import_errors().items()
    assert file.endswith("refused.py")
    assert "pipelines/broken.py:3: Label" in told


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
