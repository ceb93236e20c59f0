"""A verdict is mailed once, with its numbers and a picture of how it came about."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from demo.mail_catcher import MailCatcher
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.follow import follow
from mlprod_tasks.experiments.plan import Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import plan_for
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


def test_one_that_was_ended_before_its_first_row_is_told_without_rows(shop, catcher, mailing):
    shop = with_mail(shop, catcher, mailing)
    planned = plan_for(shop.pipeline, Wanted("saved", difference=1.2), ["champion@1.0"], shop.platform)
    run = experiments.start(shop.pipeline, "none", planned, "Ann", "", shop.platform)
    experiments.stop(shop.pipeline, "none", "Bob", "not needed", shop.platform)
    follow(shop.pipeline, shop.tick(str(run.starts)), shop.platform)
    assert tell_experiments(shop.pipeline, shop.tick(str(run.starts)), shop.platform) == ["none"]
    (mail,) = catcher.outbox.mails()
    plain = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "Bob ended it before there was a verdict: not needed" in plain
    assert "None of its rows was read. Planned were" in plain
    assert "to None" not in plain


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
