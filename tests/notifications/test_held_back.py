"""An old tick is decided near a training that there is already: nobody is told that a model is being trained."""

from collections.abc import Callable
from typing import Any

import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks import workflows
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.monitoring.decide import Decided, decide
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.why import why
from mlprod_tasks.notifications.decision_mails import tell_decision
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Decision, Mail, Training
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock

DAYS = [monitored.FIRST + n * monitored.DAY for n in range(10)]
OLD, NEW = DAYS[7], DAYS[8]  # at both the rules want a training, and one lies within the cooldown of the other
HELD = f"the training as of {NEW} is within the cooldown of 4 days"


@pytest.fixture
def shop(mailing: Callable[[Any], Platform]) -> Platform:
    """The shop with all ticks measured; the newer of the two was decided and told, and its training was made."""
    platform = mailing(SetClock(monitored.NOW))
    platform.__dict__["registry"] = monitored.StoredProfiles({monitored.VERSION: monitored.reference().as_json()})
    monitored.whole_lake(platform)
    for day in DAYS:
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), platform)
    assert decided(platform, NEW).retrain_now
    assert tell_decision(monitored.pipeline, monitored.pipeline.schedule.tick(NEW), platform)
    platform.ledger.put(training("promoted"))
    return platform


def training(state: str) -> Training:
    return Training(
        id="t", pipeline="shop", as_of=NEW, reason="x", state=state, at=monitored.NOW, asker=Asker.RULE, decided_at=NEW
    )


def decided(shop: Platform, day: Any) -> Decided:
    return decide(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)


def mails(catcher: MailCatcher) -> list[str]:
    """Subject and text of each."""
    found = []
    for mail in catcher.outbox.mails():
        body = mail.get_body(("plain",))
        assert body is not None
        found.append(f"{mail['Subject']}\n{' '.join(body.get_content().split())}")
    return found


def test_the_mail_about_a_training_that_was_held_back_says_what_held_it_back(shop: Platform, catcher: MailCatcher) -> None:
    assert decided(shop, OLD).held_back == HELD
    assert tell_decision(monitored.pipeline, monitored.pipeline.schedule.tick(OLD), shop)
    asked, held = mails(catcher)
    assert "A new model is being trained" in asked
    assert "a retraining is requested" in asked
    assert "A new model is being trained" not in held
    assert "a retraining is requested" not in held
    assert held.startswith(f"[shop] alert at {OLD}: ")
    assert f"Nothing is done automatically: no training was started: {HELD}." in held
    assert [mail.kind for mail in sorted(shop.ledger.all(Mail), key=lambda mail: mail.tick or OLD)] == ["alert", "retrain"]


def test_page_why_and_shell_say_so_too(shop: Platform) -> None:
    decided(shop, OLD)
    tick = monitored.pipeline.schedule.tick(OLD)
    assert f"no training was started: {HELD}" in why(monitored.pipeline, tick, shop).since
    (row,) = [row for row in detail(monitored.pipeline, shop).by_tick if row.tick == str(OLD)]
    assert row.reason.endswith(f" No training was started: {HELD}.")
    (line,) = workflows.monitor(monitored.pipeline, [tick], shop)
    assert line.endswith(f" No training is started: {HELD}.")


def test_a_training_that_was_asked_for_is_not_said_to_be_held_back_by_itself(shop: Platform, catcher: MailCatcher) -> None:
    again = decided(shop, NEW)
    assert (again.retrain_now, again.held_back) == (False, "")
    found = shop.ledger.get(Decision, "shop", NEW)
    assert found is not None
    assert (found.trained, found.training_asked_at, found.training_held) == (True, monitored.NOW, "")
    assert not tell_decision(monitored.pipeline, monitored.pipeline.schedule.tick(NEW), shop)


def test_held_back_and_decided_again_once_nothing_holds_it_back_it_is_asked_for_and_told(
    shop: Platform, catcher: MailCatcher
) -> None:
    decided(shop, OLD)
    tell_decision(monitored.pipeline, monitored.pipeline.schedule.tick(OLD), shop)
    shop.ledger.put(training("failed"))
    assert decided(shop, OLD).retrain_now
    assert tell_decision(monitored.pipeline, monitored.pipeline.schedule.tick(OLD), shop)
    assert mails(catcher)[-1].startswith(f"[shop] retrain at {OLD}: ")
