"""The ticks about whose decisions mails were sent."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Mail, MailAbout

SHARED = "told by another use case"  # a kind of mail that was not sent: another use case's mail told of the same incident


def mailed_ticks(pipeline: Pipeline, platform: Platform) -> dict[TickName, list[Mail]]:
    """The mails about decisions, by the tick they are about."""
    by_tick: dict[TickName, list[Mail]] = {}
    for mail in platform.ledger.all(Mail, pipeline=pipeline.name, about=MailAbout.DECISION):
        if mail.tick is not None:
            by_tick.setdefault(mail.tick, []).append(mail)
    return by_tick
