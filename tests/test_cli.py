"""The command line, as a person types it: a process of its own, on real data where it needs some."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlprod_tasks import cli
from mlprod_tasks.gate import GatesRefused, GateVerdict, Refused

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


def mlprod(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLPROD_", "MLFLOW_"))}
    environment |= {"MLPROD_HOME": str(home / "var"), "MLPROD_EXPECTATIONS": str(home / "great_expectations"), **variables}
    command = [str(Path(sys.executable).with_name("mlprod")), *arguments]
    return subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


def test_pipelines_lists_what_is_declared(home: Path) -> None:
    done = mlprod(home, "pipelines")
    assert done.returncode == 0, done.stderr
    assert "flight_delays  Will a flight arrive more than 15 minutes late?" in done.stdout
    assert "every day at 04:00 America/New_York" in done.stdout


def test_features_sql_prints_every_feature(home: Path, flights_pipeline) -> None:
    done = mlprod(home, "features", "sql", "flight_delays")
    assert done.returncode == 0, done.stderr
    assert all(re.search(rf"\b{name}\b", done.stdout) for name in flights_pipeline.feature_names)


def test_ingest_takes_ticks_in_and_status_tells_it(home: Path, flights_db: Path) -> None:
    business = {"MLPROD_CONNECTION_BUSINESS": f"sqlite:///{flights_db}"}
    done = mlprod(home, "ingest", "flight_delays", "--from", "2013-01-05", "--to", "2013-01-06", **business)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^flights: 1,\d\d\d rows$", done.stdout, re.M), done.stdout
    told = mlprod(home, "status", "flight_delays")
    assert told.returncode == 0, told.stderr
    assert "champion  none: run `mlprod train`" in told.stdout
    assert re.search(r"^2013-01-06 +[\d,]+ ", told.stdout, re.M), told.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("score", "flight_delays", "--from", "2013-01-06"), "NoModel: flight_delays has no champion"),
        (("score", "flight_delays", "--from", "2012-01-06"), "tick 2012-01-06 is outside the schedule"),
        (("score", "flight_delays", "--from", "yesterday"), "yesterday"),
        (("monitor", "flight_delays", "--from", "2013-01-06"), "has no predictions"),
        (("rollback", "flight_delays"), "CannotRollBack: flight_delays has no champion, so there is nothing to roll back"),
        (("reproduce", "flight_delays"), "CannotReproduce: flight_delays has no champion: train a model first"),
        (("reproduce", "flight_delays", "--version", "3"), "model 'flight_delays' has no version 3"),
        (("explain", "flight_delays", "--key", "x"), "NoSuchPrediction: flight_delays has no predictions yet"),
        (("status", "no_such"), "no_such.py: no such pipeline file"),
        (
            ("ingest", "flight_delays", "--from", "2013-01-06"),
            "connection 'business' is not configured: set MLPROD_CONNECTION_BUSINESS",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_error_that_a_person_can_act_on_is_one_line(home: Path, arguments: tuple[str, ...], told: str) -> None:
    done = mlprod(home, *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_doctor_names_what_is_missing_and_what_to_do(home: Path, flights_db: Path) -> None:
    sick = mlprod(home, "doctor")
    assert sick.returncode == 1
    assert "FAIL  flight_delays: connection 'business'" in sick.stdout
    assert "set MLPROD_CONNECTION_BUSINESS" in sick.stdout
    assert re.search(r"^ok +ledger", sick.stdout, re.M), sick.stdout
    with_source = mlprod(home, "doctor", MLPROD_CONNECTION_BUSINESS=f"sqlite:///{flights_db}")
    assert re.search(r"^ok +flight_delays: connection 'business'", with_source.stdout, re.M), with_source.stdout


def test_a_refusal_of_the_gates_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failed = GateVerdict("roc_auc >= 0.9", False, 0.7, 0.9, 100, "roc_auc is 0.7 on 100 rows; it must be at least 0.9")

    def refuse() -> None:
        raise GatesRefused(Refused("t1", "digest", (failed,)))

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("GatesRefused: 1 of 1 gates refuse the model of training t1: roc_auc is 0.7")
