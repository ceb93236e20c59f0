"""The command line, as a person types it: a process of its own, on real data where it needs some."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from getpass import getuser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlprod_tasks.cli import main
from mlprod_tasks.evaluation.gate import GatesRefused, GateVerdict, Refused
from mlprod_tasks.platform.ledger import Decision, Fallback, Intervention, Promotion
from mlprod_tasks.platform.ledger_store import Ledger
from tests.support.paths import REPOSITORY

AT = datetime(2013, 6, 24, 9, tzinfo=UTC)


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
    assert {"coupon_redemption", "household_spend"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def test_pipelines_fails_where_a_use_case_names_a_database_that_is_not_supported(home: Path) -> None:
    done = mlprod(home, "pipelines", MLPROD_CONNECTION_BUSINESS="oracle://me:verysecret@db/shop")
    assert done.returncode == 1
    assert "flight_delays: connection 'business' is a URL of 'oracle'" in done.stderr
    assert "verysecret" not in done.stdout + done.stderr


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
        (("why", "flight_delays", "2013-01-06"), "NotDecided: flight_delays: tick 2013-01-06 has no decision: decide it first"),
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


@pytest.fixture
def alarmed(tmp_path: Path) -> tuple[Path, Ledger]:
    """A home whose newest tick has one open alarm."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'var' / 'ledger.db'}")
    ledger.migrate()
    measured = {
        "tick": "2013-06-24", "what": "null_share", "slice": "distance", "value": 0.4, "reference": 0.0, "low": None,
        "high": 0.1, "n": 900, "model_version": 1, "cause": "data fault upstream",
        "sentence": "2013-06-24: null share of feature distance minus the reference's is 0.4, above the bound 0.1",
    }  # fmt: skip
    rule = {"rule": "nulls", "watch": "null_share", "action": "alert", "cause": measured["cause"], "measurements": [measured]}
    ledger.put(
        Decision(pipeline="flight_delays", tick=date(2013, 6, 24), action="alert", reason="x", at=AT, rules=[rule]),
        Promotion(pipeline="flight_delays", model_version=1, effective=date(2013, 6, 17), training_id="t", reason="x", at=AT),
        Fallback(pipeline="flight_delays", model_version=1, model={}, at=AT),
    )
    return tmp_path, ledger


def said(home: Path, *arguments: str) -> str:
    """What a command prints, in this process."""
    environment = {"MLPROD_HOME": str(home / "var"), "MLPROD_LEDGER_URL": None, "MLFLOW_TRACKING_URI": None}
    done = CliRunner().invoke(main.app, arguments, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("acknowledge", "flight_delays", "volume", "--by", "ana"), "no open alarm 'volume'; open alarms: 'nulls'"),
        (("acknowledge", "flight_delays", "nulls", "--by", " "), "who does it"),
        (("mute", "flight_delays", "no such", "--until", "2099-01-01"), "flight_delays has no rule 'no such'"),
        (("mute", "flight_delays", "--until", "2013-07-01"), "is in the past: give a moment in the future"),
        (("mute", "flight_delays", "--until", "soon"), "'soon' is neither a day such as 2013-07-01"),
        (("bound", "flight_delays", "no_such", "--high", "1"), "'no_such' is not a measurement"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_about_an_alarm_is_said_and_leaves_no_trace(
    alarmed: tuple[Path, Ledger], arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises((LookupError, ValueError), match=told):
        said(alarmed[0], *arguments)
    assert alarmed[1].all(Intervention) == []


def test_an_open_alarm_is_listed_told_acknowledged_and_muted(alarmed: tuple[Path, Ledger]) -> None:
    home, ledger = alarmed
    name = "flight_delays"
    assert said(home, "alarms", name).startswith("nulls (alert, since 2013-06-24, 1 tick): 2013-06-24: null share of feature")
    told = said(home, "why", name, "2013-06-24")
    assert "nulls fired and asks for: alert" in told
    assert "cause: data fault upstream. Fix the source" in told
    assert "'nulls' was acknowledged by ana" in said(home, "acknowledge", name, "nulls", "--by", "ana", "--note", "known")
    assert "nulls is muted until 2099-01-01 05:00 UTC" in said(home, "mute", name, "nulls", "--until", "2099-01-01")
    assert "; acknowledged by ana; muted until 2099-01-01 05:00 UTC" in said(home, "status", name)
    assert "nulls is no longer muted" in said(home, "unmute", name, "nulls", "--reason", "back")
    assert "muted" not in said(home, "alarms", name)
    assert "1 open alarm" in said(home, "digest", name, "--to", "2013-06-24")
    kept = sorted((one.kind, one.subject, one.by, one.reason) for one in ledger.all(Intervention))
    user = getuser()
    assert kept == [
        ("acknowledge", "nulls", "ana", "known"), ("mute", "nulls", user, ""), ("unmute", "nulls", user, "back"),
    ]  # fmt: skip


def test_the_fallback_is_switched_to_and_back_by_somebody(alarmed: tuple[Path, Ledger]) -> None:
    home, ledger = alarmed
    on = said(home, "fallback", "flight_delays", "--on", "--by", "ana", "--reason", "odd scores")
    assert "switched to the fallback by ana at " in on
    assert "fallback answers: switched to the fallback by ana" in said(home, "status", "flight_delays")
    assert "the champion answers again" in said(home, "fallback", "flight_delays", "--off", "--by", "ben")
    assert "nothing changed" in said(home, "fallback", "flight_delays", "--off", "--by", "ben")
    assert sorted((one.kind, one.by) for one in ledger.all(Intervention)) == [("champion", "ben"), ("fallback", "ana")]


def test_a_bound_is_set_and_cleared_by_somebody(alarmed: tuple[Path, Ledger]) -> None:
    home, ledger = alarmed
    name = "flight_delays"
    done = said(
        home, "bound", name, "null_share", "--slice", "distance", "--high", "0.5", "--by", "ana", "--reason", "new feed"
    )
    assert done.startswith("flight_delays: null_share/distance: at most 0.5 set by ana")
    assert "null_share/distance" in said(home, "bound", name)
    ended = said(home, "bound", name, "null_share", "--slice", "distance", "--clear", "--by", "ben")
    assert ended == "flight_delays: null_share/distance: the bound at most 0.5 ends"
    assert sorted((one.kind, one.by, one.high) for one in ledger.all(Intervention)) == [
        ("bound", "ana", 0.5),
        ("unbound", "ben", None),
    ]


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

    monkeypatch.setattr(main, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("GatesRefused: 1 of 1 gates refuse the model of training t1: roc_auc is 0.7")
