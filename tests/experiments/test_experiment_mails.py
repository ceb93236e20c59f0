"""A verdict is mailed once, with its numbers and a picture of how it came about."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from demo.mail_catcher import MailCatcher
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.follow import follow
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.notifications.experiment_mails import tell_experiments
from mlprod_tasks.platform import Platform
from tests.support.trained_shop import Shop


def with_mail(shop: Shop, catcher: MailCatcher, mailing: Callable[[Any], Platform]) -> Shop:
    """The shop, whose mails go to the catcher."""
    settings = replace(shop.platform.settings, connection=mailing(shop.platform.clock).settings.connection)
    return replace(shop, platform=replace(shop.platform, settings=settings))


def test_a_verdict_that_was_read_before_its_tick_was_processed_is_mailed_all_the_same(never, catcher, mailing):
    shop = with_mail(never, catcher, mailing)
    read_out(shop.pipeline, experiments.get(shop.pipeline, "never", shop.platform), shop.tick("2024-02-02"), shop.platform)
    follow(shop.pipeline, shop.tick("2024-02-03"), shop.platform)
    assert tell_experiments(shop.pipeline, shop.tick("2024-02-03"), shop.platform) == ["never"]
    assert [mail["Subject"] for mail in catcher.outbox.mails()] == ["[returns] experiment never: worse"]


def test_a_verdict_is_mailed_once_and_what_is_running_is_not(never, catcher, mailing):
    shop = with_mail(never, catcher, mailing)
    for day, told in (("2024-01-29", []), ("2024-01-31", []), ("2024-02-02", ["never"])):
        follow(shop.pipeline, shop.tick(day), shop.platform)
        assert tell_experiments(shop.pipeline, shop.tick(day), shop.platform) == told
    follow(shop.pipeline, shop.tick("2024-02-02"), shop.platform)
    assert tell_experiments(shop.pipeline, shop.tick("2024-02-02"), shop.platform) == []
    (mail,) = catcher.outbox.mails()
    assert mail["Subject"] == "[returns] experiment never: worse"
    plain = mail.get_body(("plain",)).get_content()
    assert "champion@1.0: saved" in " ".join(plain.split())
    assert "The champion stays" in plain
    assert [part.get_content_type() for part in mail.walk()].count("image/png") == 1
