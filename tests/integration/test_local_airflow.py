"""A real Airflow starts in a folder, runs a DAG, speaks on loopback only, and leaves nothing behind."""

from __future__ import annotations

import ipaddress
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psutil
import pytest

from demo.airflow_api import ApiError, poll
from demo.local_airflow import AirflowFailed, LocalAirflow

DAGS = """
    import pendulum
    from airflow.sdk import CronPartitionTimetable, dag, task

    ZONE = "America/New_York"


    @dag(
        schedule=CronPartitionTimetable("0 4 * * *", timezone=ZONE, key_format="%Y-%m-%d"),
        start_date=pendulum.datetime(2013, 1, 1, tz=ZONE),
        end_date=pendulum.datetime(2013, 12, 31, 23, tz=ZONE),
        catchup=False,
    )
    def daily():
        @task
        def say(partition_key):
            print(f"the tick is {partition_key}")

        say()


    @dag(schedule=None)
    def endless():
        @task
        def wait():
            import subprocess

            subprocess.run(["sleep", "300"])

        wait()


    daily()
    endless()
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "daily.py").write_text(textwrap.dedent(DAGS))
    with LocalAirflow(folder / "home", dags=dags, cores=2) as running:
        running.api.wait_for_dags(["daily", "endless"])
        running.api.unpause("daily")
        running.api.unpause("endless")
        yield running


def test_a_triggered_run_succeeds_and_its_log_can_be_read(airflow: LocalAirflow) -> None:
    run_id = airflow.api.trigger("daily", partition_key="2013-06-17", note="by hand")
    run = airflow.api.wait_for_run("daily", run_id)
    assert (run["state"], run["partition_key"], run["note"]) == ("success", "2013-06-17", "by hand")
    assert airflow.api.task_states("daily", run_id) == {"say": "success"}
    assert "the tick is 2013-06-17" in airflow.api.task_log("daily", run_id, "say")


def test_a_backfill_runs_each_tick_once_on_both_sides_of_the_change_of_clocks(airflow: LocalAirflow) -> None:
    first, last = date(2013, 3, 9), date(2013, 3, 11)
    backfill = airflow.api.backfill("daily", first, last)
    airflow.api.wait_for_backfill(backfill)
    runs = [run for run in airflow.api.runs("daily") if run["run_type"] == "backfill"]
    assert {run["partition_key"]: run["state"] for run in runs} == {
        "2013-03-09": "success",
        "2013-03-10": "success",
        "2013-03-11": "success",
    }


def test_a_cleared_task_runs_again(airflow: LocalAirflow) -> None:
    run_id = airflow.api.trigger("daily", partition_key="2013-06-18")
    airflow.api.wait_for_run("daily", run_id)
    airflow.api.clear("daily", run_id, ["say"])
    airflow.api.wait_for_run("daily", run_id)
    assert [task["try_number"] for task in airflow.api.task_instances("daily", run_id)] == [2]


def test_a_refused_request_says_why(airflow: LocalAirflow) -> None:
    with pytest.raises(ApiError, match="no_such_dag"):
        airflow.api.trigger("no_such_dag")


def test_a_component_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = {"AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"}
    with pytest.raises(AirflowFailed, match=r"(?s)ended with exit code.*NoSuchExecutor"):
        LocalAirflow(tmp_path / "home", dags=tmp_path, environment=broken).start()


def test_nothing_listens_beyond_loopback_and_stopping_ends_running_tasks_too(airflow: LocalAirflow) -> None:
    airflow.api.trigger("endless")
    members = _with_the_sleeping_task(airflow)
    listening = {
        ipaddress.ip_address(socket.laddr.ip)
        for process in members
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    }
    assert listening
    assert all(address.is_loopback for address in listening)

    airflow.stop()
    airflow.stop()

    assert [process for process in members if process.is_running()] == []


def _with_the_sleeping_task(airflow: LocalAirflow) -> list[psutil.Process]:
    def members() -> list[psutil.Process] | None:
        found = airflow.processes()
        return found if any("sleep" in process.name() for process in found) else None

    return poll(members, seconds=30, waiting_for=lambda: "the task that sleeps")
