"""What people and rules did to a use case besides its daily work: who, when, why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Intervention, Promotion

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ByRule:
    """A rule, as the one who does something. Who gives a text instead is a person of that name, whatever it says."""

    rule: str

    def __str__(self) -> str:
        return f"rule {self.rule}"


Who = str | ByRule


def asker(by: Who) -> Asker:
    """Whether a rule does it, or a person."""
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
    tick: date | None = None,
    once: str = "",
) -> Intervention:
    """Write down what was done. With `once`, what is known by that word is written the first time only; the entry that stands.

    subject: what it is about, for people to read. rule: the one that a person acknowledges or mutes; '' is every one.

    Raises: ValueError where nobody is said to have done it.
    """
    if not str(by).strip():
        raise ValueError(f"{pipeline.name}: {kind}: who does it? Give a name with `by`")
    now = platform.clock.now()
    word = once or f"{subject}/{now.isoformat()}"
    row = Intervention(
        id=_id(pipeline.name, kind, word),
        pipeline=pipeline.name,
        kind=kind,
        by=str(by).strip(),
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
    """What was written by that word, if anything."""
    return platform.ledger.get(Intervention, _id(pipeline.name, kind, once))


def interventions(pipeline: Pipeline, platform: Platform, *kinds: str) -> list[Intervention]:
    """Those of some kinds (all where none is named), in the order of time."""
    conditions = (Intervention.kind.in_(kinds),) if kinds else ()
    found = platform.ledger.all(Intervention, *conditions, pipeline=pipeline.name)
    return sorted(found, key=lambda one: (one.at, one.id))


def of_promotion(made: Promotion, by: Who, reason: str, tick: date | None) -> Intervention:
    """The entry of a rollback, written with the promotion that it is: one for one."""
    return Intervention(
        id=_id(made.pipeline, "rollback", f"{made.model_version}/{made.at.isoformat()}"),
        pipeline=made.pipeline,
        kind="rollback",
        by=str(by).strip() or UNKNOWN,
        at=made.at,
        subject=str(made.model_version),
        reason=reason.strip(),
        tick=tick,
        asker=asker(by),
        rule=by.rule if isinstance(by, ByRule) else None,
        model_version=made.model_version,
    )


def _id(pipeline: str, kind: str, word: str) -> str:
    # A rule's name may be longer than the column holds.
    return f"{pipeline}/{kind}/{hashlib.sha256(word.encode()).hexdigest()[:20]}"
