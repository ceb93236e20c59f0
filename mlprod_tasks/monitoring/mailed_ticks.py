"""Which ticks' decisions people were mailed about."""

from __future__ import annotations

from datetime import date

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Mail


def mailed_ticks(pipeline: Pipeline, platform: Platform) -> dict[date, list[Mail]]:
    """The mails about decisions, by the tick that they tell of."""
    found: dict[date, list[Mail]] = {}
    for mail in platform.ledger.all(Mail, Mail.key.like(f"{pipeline.name}/%/decision/%"), pipeline=pipeline.name):
        found.setdefault(date.fromisoformat(mail.key.split("/")[1]), []).append(mail)
    return found
