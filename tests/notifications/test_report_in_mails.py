"""Whoever is told of an alarm has the tick's report in the same mail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks.dashboard import report
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.notifications.decision_mails import tell_decision
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.clock import SetClock
from tests.support.seeded_ledger import FIRST, LAST, evening, fill


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


@pytest.fixture
def alarmed(tmp_path: Path, catcher: MailCatcher, flights_pipeline: Pipeline) -> Platform:
    """A ledger in which rules begin to fire near the end."""
    smtp = f"smtp://127.0.0.1:{catcher.smtp_port}"
    given = {"MLPROD_HOME": str(tmp_path / "home"), "MLPROD_CONNECTION_SMTP": smtp}
    platform = Platform(from_environment(given), clock=SetClock(evening(LAST)))
    fill(platform, flights_pipeline, 64)
    return platform


def first_alarm(pipeline: Pipeline, platform: Platform) -> Tick:
    from mlprod_tasks.dashboard.data import detail

    fired = [row.tick for row in detail(pipeline, platform, (FIRST, None)).by_tick if row.rules]
    return pipeline.schedule.tick(fired[-1])


def test_the_mail_of_an_alarm_brings_the_report(alarmed: Platform, catcher: MailCatcher, flights_pipeline: Pipeline) -> None:
    tick = first_alarm(flights_pipeline, alarmed)
    assert tell_decision(flights_pipeline, tick, alarmed)
    (mail,) = catcher.outbox.mails()
    (attachment,) = mail.iter_attachments()
    assert attachment.get_content_type() == "text/html"
    assert attachment.get_filename() == f"flight_delays-{tick}.html"
    kept = alarmed.settings.home / "reports" / "flight_delays" / f"{tick}.html"
    assert attachment.get_content() == kept.read_text(encoding="utf-8")
    body = mail.get_body(("html",))
    assert body is not None
    assert "board-data" not in body.get_content(), "the mail itself stays short"


def test_a_report_that_cannot_be_made_keeps_no_mail_back(
    alarmed: Platform, catcher: MailCatcher, flights_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(report, "html", broken)
    assert tell_decision(flights_pipeline, first_alarm(flights_pipeline, alarmed), alarmed)
    (mail,) = catcher.outbox.mails()
    assert list(mail.iter_attachments()) == []
