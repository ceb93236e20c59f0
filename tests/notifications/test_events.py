"""People are told once, with the numbers, by a mail that a real server receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.mail_content import Content, Tile
from mlprod_tasks.evaluation.gate import GatesRefused, GateVerdict, Refused
from mlprod_tasks.ingest.batch_verdict import BatchRefused, BatchVerdict
from mlprod_tasks.ingest.batch_verdict import FailedExpectation as Broken
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.notifications import events
from mlprod_tasks.notifications.events import Failure
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import FallbackCause, GateResult, Mail, MailAbout, Scoring, Training

NOW = datetime(2013, 6, 20, 9, tzinfo=UTC)
DAY = date(2013, 6, 20)


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


@pytest.fixture
def platform(make_platform: Callable[..., Platform], catcher: MailCatcher) -> Platform:
    return make_platform(smtp=f"smtp://127.0.0.1:{catcher.smtp_port}")


def texts(catcher: MailCatcher) -> list[str]:
    """Subject and both bodies of every mail."""
    told = []
    for mail in catcher.outbox.mails():
        plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert plain is not None
        assert html is not None
        told.append(f"{mail['Subject']}\n{plain.get_content()}\n{html.get_content()}")
    return told


def test_a_refused_batch_is_told_with_its_expectations_and_rows(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    broken = Broken(
        "expect_x", "distance", "distance is int", "5 values that are not int", "int", 5, "batch", ({"distance": "far"},)
    )
    refused = BatchRefused("flight_delays", "flights", (BatchVerdict(DAY, 900, 900, (broken,)),))
    link = ("Log of the task", "http://127.0.0.1/log")
    error = TablesFailed("flight_delays", str(DAY), "audit", {"flights": refused})
    assert events.tell_failure(flights_pipeline, Failure("k", "ingest audit", error, (link,)), platform)
    (told,) = texts(catcher)
    for part in ("flights refused for 2013-06-20", "distance is int", "5 values that are not int", "far", "900 rows", link[1]):
        assert told.count(part) >= 2 or part in told.splitlines()[0], part


def test_several_failed_tables_are_one_mail_with_the_cause_of_each(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    broken = Broken("expect_x", "distance", "distance is int", "5 values that are not int", "int", 5, "batch", ())
    refused = BatchRefused("flight_delays", "flights", (BatchVerdict(DAY, 900, 900, (broken,)),))
    errors = {"flights": refused, "weather": OSError("the file server does not answer")}
    error = TablesFailed("flight_delays", str(DAY), "audit", errors)
    assert events.tell_failure(flights_pipeline, Failure("k", "ingest audit", error), platform)
    (told,) = texts(catcher)
    for part in (
        "audit of flights, weather failed for 2013-06-20",
        "distance is int",
        "weather: the file server does not answer",
    ):
        assert part in told, part


def test_the_failures_of_a_run_are_found_by_the_run_since_it_last_began(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    run, error = "flight_delays.ingest/scheduled__2013-06-20", RuntimeError("no")
    assert not events.failure_mailed(flights_pipeline, run, NOW - timedelta(days=1), platform)
    assert events.tell_failure(flights_pipeline, Failure("k", "ingest extract", error, run=run), platform)
    (mail,) = platform.ledger.all(Mail)
    assert events.failure_mailed(flights_pipeline, run, mail.at, platform)
    assert not events.failure_mailed(flights_pipeline, run, mail.at + timedelta(seconds=1), platform), "cleared since"
    assert not events.failure_mailed(flights_pipeline, run + "x", mail.at, platform)


def test_a_refused_model_is_told_with_every_gate(flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher) -> None:
    bad = GateVerdict("roc_auc >= 0.99", False, 0.7, 0.99, 100, "roc_auc is 0.7 on 100 rows; it must be at least 0.99")
    good = GateVerdict("brier <= 0.3", True, 0.2, 0.3, 100, "brier is 0.2")
    platform.ledger.put(Training(id="t1", pipeline="flight_delays", as_of=DAY, reason="KPI fell", state="refused", at=NOW))
    for one in (bad, good):
        platform.ledger.put(
            GateResult(
                training_id="t1", gate=one.gate, pipeline="flight_delays", passed=one.passed, value=one.value, bound=one.bound,
                sentence=one.sentence, at=NOW,
            )
        )  # fmt: skip
    error = GatesRefused(Refused("t1", "digest", (bad, good)))
    assert events.tell_failure(flights_pipeline, Failure("k", "train gate", error), platform)
    (told,) = texts(catcher)
    for part in ("1 of 2 gates failed", "KPI fell", "roc_auc &gt;= 0.99", "brier <= 0.3", "FAILED", "passed"):
        assert part in told, part


def test_one_failure_is_one_mail_however_often_it_is_told(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    failure = Failure("run/task/1", "score", ValueError("<b>no</b> such column"))
    assert events.tell_failure(flights_pipeline, failure, platform)
    assert not events.tell_failure(flights_pipeline, failure, platform)
    (told,) = texts(catcher)
    assert "&lt;b&gt;no&lt;/b&gt; such column" in told
    assert len(platform.ledger.all(Mail)) == 1


def test_killed_before_a_mail_is_recorded_the_second_one_has_the_id_of_the_first(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure("k", "score", OSError("the disk is full"))
    with monkeypatch.context() as killed:
        killed.setattr(type(platform.ledger), "add_once", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            events.tell_failure(flights_pipeline, failure, platform)
    assert events.tell_failure(flights_pipeline, failure, platform)
    first, second = catcher.outbox.mails()
    assert first["Message-ID"] == second["Message-ID"]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_mail_that_the_server_does_not_take_can_be_sent_again(
    flights_pipeline: Pipeline, make_platform: Callable[..., Platform], catcher: MailCatcher
) -> None:
    failure = Failure("run/task/1", "score", ValueError("x"))
    with pytest.raises(OSError, match="refused"):
        events.tell_failure(flights_pipeline, failure, make_platform(smtp="smtp://127.0.0.1:9"))
    assert events.tell_failure(flights_pipeline, failure, make_platform(smtp=f"smtp://127.0.0.1:{catcher.smtp_port}"))
    assert len(texts(catcher)) == 1


def test_the_fallback_is_told_and_the_champion_is_not(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    tick = flights_pipeline.schedule.tick(DAY)
    scoring = {
        "pipeline": "flight_delays",
        "tick": DAY,
        "model_version": 3,
        "rows": 900,
        "features_digest": "d",
        "delta_version": 1,
        "at": NOW,
    }
    platform.ledger.put(Scoring(**scoring, fallback_rows=0, fallback_reason=None))
    assert not events.tell_fallback(flights_pipeline, tick, platform)
    broken = {"fallback_reason": "BrokenArtifact: files changed", "fallback_cause": FallbackCause.FAILED}
    platform.ledger.put(Scoring(**scoring, fallback_rows=900, **broken))
    assert events.tell_fallback(flights_pipeline, tick, platform)
    (told,) = texts(catcher)
    assert "900 of 900" in told
    assert "BrokenArtifact: files changed" in told


def test_a_fallback_that_was_switched_to_is_not_told_at_every_tick(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    platform.ledger.put(
        Scoring(
            pipeline="flight_delays", tick=DAY, model_version=3, rows=900, features_digest="d", delta_version=1, at=NOW,
            fallback_rows=900, fallback_reason="switched to the fallback by ana at 2013-06-19 12:00 UTC",
            fallback_cause=FallbackCause.SWITCHED,
        )
    )  # fmt: skip
    assert not events.tell_fallback(flights_pipeline, flights_pipeline.schedule.tick(DAY), platform)
    assert texts(catcher) == []


def test_a_mail_may_be_for_others_than_those_who_are_alerted(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    content = Content("subject", "headline", tiles=(Tile("earned", "1,200 USD", "more than before"),))
    assert events.send(flights_pipeline, MailAbout.DIGEST, "k", content, platform, to=("owner@example.com",))
    (mail,) = catcher.outbox.mails()
    assert mail["To"] == "owner@example.com"
    assert [row.recipients for row in platform.ledger.all(Mail)] == ["owner@example.com"]
    (told,) = texts(catcher)
    assert "earned: 1,200 USD (more than before)" in told
    assert told.count("1,200 USD") == 2


def test_long_keys_are_told_apart_by_their_ends_and_fit_the_ledger(
    flights_pipeline: Pipeline, platform: Platform, catcher: MailCatcher
) -> None:
    run = "flight_delays.ingest/" + "long" * 60
    for attempt in (1, 2, 2):
        events.tell_failure(flights_pipeline, Failure(f"{run}/{attempt}", "score", ValueError("x")), platform)
    assert len(texts(catcher)) == 2
    assert [len(mail.key) for mail in platform.ledger.all(Mail)] == [200, 200]
