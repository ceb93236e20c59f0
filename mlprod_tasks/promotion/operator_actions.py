"""The record of actions by people and rules on a use case: who, when, why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Intervention, Promotion

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ByRule:
    """A rule that does something.

    Given a string instead, it is a person of that name, whatever the string says.
    """

    rule: str

    def __str__(self) -> str:
        return f"rule {self.rule}"


Who = str | ByRule


def asker(by: Who) -> Asker:
    """Whether `by` is a rule or a person."""
    return Asker.RULE if isinstance(by, ByRule) else Asker.PERSON


def is_rule(done: Intervention) -> bool:
    return done.asker is Asker.RULE


def intervene(
    pipeline: Pipeline,
    kind: str,
    by: Who,
    platform: Platform,
    *,
    subject: str = "",
    rule: str | None = None,
    model_version: int | None = None,
    reason: str = "",
    until: datetime | None = None,
    tick: TickName | None = None,
    once: str = "",
) -> Intervention:
    """Record an action. Returns the entry in the ledger.

    subject: what it is about, for people to read. rule: the rule that a person acknowledges or mutes; '' for all rules. once:
    an identifier; an action with the same kind and identifier is recorded only once, and the first entry is returned.

    Raises: ValueError if `by` is empty.
    """
    name = _name_of(by, pipeline, kind)
    now = platform.clock.now()
    row = Intervention(
        id=_id(pipeline.name, kind, once or f"{subject}/{now.isoformat()}"),
        pipeline=pipeline.name,
        kind=kind,
        by=name,
        at=now,
        subject=subject,
        reason=reason.strip(),
        until=until,
        tick=tick,
        asker=asker(by),
        rule=by.rule if isinstance(by, ByRule) else rule,
        model_version=model_version,
    )
    if platform.ledger.add_once(row):
        return row
    return platform.ledger.get(Intervention, row.id) or row


def known(pipeline: Pipeline, platform: Platform, kind: str, once: str) -> Intervention | None:
    """The entry recorded with this kind and identifier, if there is one."""
    return platform.ledger.get(Intervention, _id(pipeline.name, kind, once))


def interventions(pipeline: Pipeline, platform: Platform, *kinds: str) -> list[Intervention]:
    """All actions of these kinds (default: all kinds), in order of time."""
    conditions = (Intervention.kind.in_(kinds),) if kinds else ()
    return sorted(platform.ledger.all(Intervention, *conditions, pipeline=pipeline.name), key=lambda one: (one.at, one.id))


def of_promotion(promotion: Promotion, by: Who, reason: str, tick: TickName | None) -> Intervention:
    """The entry of a rollback, to be written together with its promotion.

    There is exactly one per promotion.
    """
    return Intervention(
        id=_id(promotion.pipeline, "rollback", f"{promotion.model_version}/{promotion.at.isoformat()}"),
        pipeline=promotion.pipeline,
        kind="rollback",
        by=str(by).strip() or UNKNOWN,
        at=promotion.at,
        subject=str(promotion.model_version),
        reason=reason.strip(),
        tick=tick,
        asker=asker(by),
        rule=by.rule if isinstance(by, ByRule) else None,
        model_version=promotion.model_version,
    )


def _name_of(by: Who, pipeline: Pipeline, kind: str) -> str:
    name = str(by).strip()
    if not name:
        raise ValueError(f"{pipeline.name}: {kind}: who does it? Give a name with `by`")
    return name


def _id(pipeline: str, kind: str, word: str) -> str:
    # Hashed, because a rule's name may be longer than the column.
    return f"{pipeline}/{kind}/{hashlib.sha256(word.encode()).hexdigest()[:20]}"
