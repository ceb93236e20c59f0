"""What people and rules did to a use case besides its daily work: who, when, why."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Intervention, Promotion

UNKNOWN = "unknown"
BY_RULE = "rule "
SWITCHED = "switched to the fallback"  # how a scoring says that the fallback was to answer


def by_rule(rule: str) -> str:
    """Who did it where a rule's action did."""
    return f"{BY_RULE}{rule}"


def is_rule(done: Intervention) -> bool:
    return done.by.startswith(BY_RULE)


def intervene(
    pipeline: Pipeline,
    kind: str,
    by: str,
    platform: Platform,
    *,
    subject: str = "",
    reason: str = "",
    until: datetime | None = None,
    tick: date | None = None,
    once: str = "",
) -> Intervention:
    """Write down what was done. With `once`, what is known by that word is written the first time only; the entry that stands.

    Raises: ValueError where nobody is said to have done it.
    """
    if not by.strip():
        raise ValueError(f"{pipeline.name}: {kind}: who does it? Give a name with `by`")
    now = platform.clock.now()
    word = once or f"{subject}/{now.isoformat()}"
    row = Intervention(
        id=_id(pipeline.name, kind, word),
        pipeline=pipeline.name,
        kind=kind,
        by=by.strip(),
        at=now,
        subject=subject,
        reason=reason.strip(),
        until=until,
        tick=tick,
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


def of_promotion(made: Promotion, by: str, reason: str, tick: date | None) -> Intervention:
    """The entry of a rollback, written with the promotion that it is: one for one."""
    return Intervention(
        id=_id(made.pipeline, "rollback", f"{made.model_version}/{made.at.isoformat()}"),
        pipeline=made.pipeline,
        kind="rollback",
        by=by.strip() or UNKNOWN,
        at=made.at,
        subject=str(made.model_version),
        reason=reason.strip(),
        tick=tick,
    )


def _id(pipeline: str, kind: str, word: str) -> str:
    # A rule's name may be longer than the column holds.
    return f"{pipeline}/{kind}/{hashlib.sha256(word.encode()).hexdigest()[:20]}"
