"""What the last requests of a day tell raises an alarm, though the next tick is decided by then: once, whoever is killed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.requests import measure_collected
from mlprod_tasks.notifications.decision_mails import tell_decision
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement
from mlprod_tasks.steps import decide_again
from tests.support import monitored_shop as monitored
from tests.support.answered_shop import DAY, SERVED, T, answer, clock_at_noon
from tests.support.clock import SetClock

MINUTE = timedelta(minutes=1)
RULES = (ml.Rule("models fail on requests", "online_errors", "alert"),)
OWN = replace(SERVED, rules=RULES)


@pytest.fixture
def clock() -> SetClock:
    return clock_at_noon(T)


@pytest.fixture
def shop(mailing: Callable[[Any], Platform], clock: SetClock) -> Platform:
    platform = mailing(clock)
    platform.__dict__["registry"] = monitored.StoredProfiles({monitored.VERSION: monitored.reference().as_json()})
    return platform


def asked(platform: Platform, day: date, part: slice, pipeline: ml.Pipeline = OWN, *, failing: bool = False) -> None:
    rows = monitored.scored(day).slice(part.start, part.stop - part.start)
    answer(platform, rows, pipeline, error=failing)
    measure_collected(pipeline, platform)


def monitor_day(platform: Platform, day: date, pipeline: ml.Pipeline = OWN) -> bool:
    """As the monitor DAG does: whether a mail went out."""
    tick = pipeline.schedule.tick(day)
    decide(pipeline, tick, platform)
    return tell_decision(pipeline, tick, platform)


def subjects(catcher: MailCatcher) -> list[str]:
    return [str(mail["Subject"]) for mail in catcher.outbox.mails()]


def late(platform: Platform, clock: SetClock, pipeline: ml.Pipeline = OWN, day: date = T) -> None:
    """A day goes well until its last requests, which are collected after the next tick was decided."""
    asked(platform, day, slice(0, 300), pipeline)
    clock.at = pipeline.schedule.moment(day + DAY) + MINUTE
    assert not monitor_day(platform, day + DAY, pipeline)
    clock.at += 10 * MINUTE
    asked(platform, day, slice(300, 400), pipeline, failing=True)


def test_the_last_requests_of_a_day_raise_their_alarm_and_mail_once(
    shop: Platform, clock: SetClock, catcher: MailCatcher
) -> None:
    late(shop, clock)
    for _ in range(3):
        assert decide_again(OWN, shop) == []
        clock.at += 10 * MINUTE
    assert subjects(catcher) == [f"[shop] alert at {T + DAY}: models fail on requests"]
    decided = shop.ledger.get(Decision, "shop", T + DAY)
    assert decided is not None
    assert decided.action == "alert"
    clock.at = OWN.schedule.moment(T + 2 * DAY) + MINUTE
    asked(shop, T + DAY, slice(0, 400))
    assert monitor_day(shop, T + 2 * DAY)
    assert subjects(catcher)[1:] == [f"[shop] over at {T + 2 * DAY}: models fail on requests"]


@pytest.mark.parametrize(
    "where",
    [
        "mlprod_tasks.monitoring.redecide_late.decide",
        "mlprod_tasks.monitoring.redecide_late.act",
        "mlprod_tasks.notifications.decision_mails.tell_decision",
    ],
)
def test_what_a_failure_kept_from_being_told_the_next_run_tells(
    shop: Platform, clock: SetClock, catcher: MailCatcher, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("killed")

    late(shop, clock)
    with monkeypatch.context() as patch:
        patch.setattr(where, broken)
        with pytest.raises(OSError, match="killed"):
            decide_again(OWN, shop)
    clock.at += 10 * MINUTE
    decide_again(OWN, shop)
    assert subjects(catcher) == [f"[shop] alert at {T + DAY}: models fail on requests"]


def test_a_day_that_the_monitor_has_not_decided_yet_is_left_to_it(shop: Platform, clock: SetClock) -> None:
    asked(shop, T, slice(0, 400), failing=True)
    clock.at = OWN.schedule.moment(T + DAY) + MINUTE
    assert decide_again(OWN, shop) == []
    assert shop.ledger.all(Decision) == []
    assert monitor_day(shop, T + DAY)
    clock.at += 10 * MINUTE
    measured = shop.ledger.all(Measurement)
    decide_again(OWN, shop)
    assert shop.ledger.all(Measurement) == measured


def test_a_retraining_that_is_asked_for_then_is_started_under_the_name_that_the_monitor_gives_it(
    shop: Platform, clock: SetClock
) -> None:
    own = replace(OWN, rules=(replace(RULES[0], action="retrain"),))
    late(shop, clock, own)
    (training,) = decide_again(own, shop)
    assert training["trigger_run_id"] == f"monitor__{T + DAY}"
    assert training["conf"] == {"as_of": str(T + DAY), "reason": training["note"], "decided_at": str(T + DAY)}
    assert training["note"].startswith("Retrain: models fail on requests")


def test_weeks_that_are_measured_late_are_no_news(shop: Platform, clock: SetClock, catcher: MailCatcher) -> None:
    late(shop, clock)
    for n in range(2, 12):
        clock.at = OWN.schedule.moment(T + n * DAY) + MINUTE
        monitor_day(shop, T + n * DAY)
    answer(shop, monitored.scored(T).slice(0, 1), OWN, request_id="late")
    assert measure_collected(OWN, shop)[-1].tick == str(T)
    decide_again(OWN, shop)
    assert not [subject for subject in subjects(catcher) if "models fail" in subject and f"at {T + DAY}" in subject]
