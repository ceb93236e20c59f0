"""The ledger's entries of one pipeline as rows of the page: ticks, versions, trainings with gates, alarms, actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard.schemas import ActionRow, AlarmRow, GateRow, RuleFired, TickRow, TrainingRow, VersionMark
from mlprod_tasks.dashboard.series import Ticks
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import TASKS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import (
    Audit,
    Decision,
    GateResult,
    Intervention,
    Promotion,
    Publication,
    Scoring,
    Training,
)

MOST_TRAININGS, MOST_DOINGS, MOST_ALARMS = 20, 50, 50
# Of any task; a training has those of its own.
METRICS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.shown))


def by_tick(session: Session, pipeline: Pipeline, ticks: Ticks, scored: dict[TickName, Scoring]) -> tuple[TickRow, ...]:
    """What was published, scored and decided at each tick that has entries, the newest first."""
    if not ticks.days:
        return ()
    first, last = ticks.days[0], ticks.days[-1]
    rows = select(Publication.tick, func.sum(Publication.rows)).where(*_within(Publication, pipeline, first, last))
    published: dict[TickName, int] = {tick: int(total) for tick, total in session.execute(rows.group_by(Publication.tick))}
    refused: dict[TickName, list[str]] = {}
    failed = select(Audit.tick, Audit.table_name).where(*_within(Audit, pipeline, first, last), Audit.passed.is_(False))
    for tick, table in session.execute(failed):
        refused.setdefault(tick, []).append(table)
    equal = select(Audit.tick, func.sum(Audit.rows_repeated)).where(*_within(Audit, pipeline, first, last))
    repeated: dict[TickName, int] = {tick: int(total) for tick, total in session.execute(equal.group_by(Audit.tick))}
    decisions = {d.tick: d for d in session.scalars(select(Decision).where(*_within(Decision, pipeline, first, last)))}
    return tuple(
        _tick(day, published.get(day, 0), repeated.get(day, 0), refused.get(day, ()), scored.get(day), decisions.get(day))
        for day in reversed(ticks.days)
        if day in published or day in refused or day in scored or day in decisions
    )


def scorings(session: Session, pipeline: Pipeline, ticks: Ticks) -> dict[TickName, Scoring]:
    """The scorings of those ticks, by tick."""
    if not ticks.days:
        return {}
    query = select(Scoring).where(*_within(Scoring, pipeline, ticks.days[0], ticks.days[-1]))
    return {scoring.tick: scoring for scoring in session.scalars(query)}


def versions(promotions: Sequence[Promotion]) -> tuple[VersionMark, ...]:
    """Every change of the champion, in the order in which they took effect."""
    return tuple(
        VersionMark(str(one.effective), one.model_version, one.reason, one.at.isoformat(), one.rolled_back_from)
        for one in promotions
    )


def trainings(
    session: Session, newest_first: Sequence[Training], champion: int | None, most: int = MOST_TRAININGS
) -> tuple[TrainingRow, ...]:
    """The newest trainings with their gates."""
    shown = newest_first[:most]
    gates: dict[str, list[GateRow]] = {}
    query = select(GateResult).where(GateResult.training_id.in_([one.id for one in shown]))
    for gate in session.scalars(query.order_by(GateResult.passed, GateResult.gate)):
        row = GateRow(gate.gate, gate.passed, gate.value, gate.bound, gate.sentence)
        gates.setdefault(gate.training_id, []).append(row)
    return tuple(
        TrainingRow(
            id=one.id,
            as_of=str(one.as_of),
            at=one.at.isoformat(),
            state=one.state,
            reason=one.reason,
            version=one.model_version,
            champion=one.model_version is not None and one.model_version == champion,
            run_id=one.run_id,
            metrics=tuple(_metrics(one.metrics)),
            gates=tuple(gates.get(one.id, ())),
        )
        for one in shown
    )


def doings(session: Session, pipeline: Pipeline, as_of: Tick | None = None) -> tuple[ActionRow, ...]:
    """The actions of people and rules, the newest first; without actions about ticks later than `as_of`."""
    query = select(Intervention).where(Intervention.pipeline == pipeline.name).order_by(Intervention.at.desc())
    if as_of is not None:
        query = query.where(or_(Intervention.tick.is_(None), Intervention.tick <= as_of.name))
    return tuple(
        ActionRow(one.at.isoformat(), one.by, one.kind, one.subject, one.reason, one.until.isoformat() if one.until else None)
        for one in session.scalars(query.limit(MOST_DOINGS))
    )


def alarms(pipeline: Pipeline, platform: Platform, at: Tick | None = None) -> tuple[AlarmRow, ...]:
    """Open alarms, then those that are over, the newest first; as of the decision of tick `at`, if given."""
    from mlprod_tasks.monitoring.alarms import alarms as of_rules

    return tuple(
        AlarmRow(
            rule=one.rule,
            action=one.action,
            since=str(one.since),
            last=str(one.last),
            ticks=one.ticks,
            open=one.open,
            cause=one.cause,
            held=one.held,
            sentence=one.sentence,
            acknowledged_by=one.acknowledged_by or None,
            acknowledged_at=one.acknowledged_at.isoformat() if one.acknowledged_at else None,
            note=one.note,
            muted_until=one.muted_until.isoformat() if one.muted_until else None,
        )
        for one in of_rules(pipeline, platform, at)[:MOST_ALARMS]
    )


def _tick(
    day: TickName, published: int, repeated: int, refused: Sequence[str], scored: Scoring | None, decision: Decision | None
) -> TickRow:
    return TickRow(
        tick=str(day),
        published=published,
        repeated=repeated,
        refused=tuple(sorted(refused)),
        scored=scored.rows if scored else None,
        fallback_rows=scored.fallback_rows if scored else 0,
        version=scored.model_version if scored else None,
        action=decision.action if decision else None,
        reason=_reason(decision) if decision else "",
        rules=tuple(_rule_fired(rule) for rule in decision.rules) if decision else (),
    )


def _reason(decision: Decision) -> str:
    not_trained = f" No training was started: {decision.training_held}." if decision.training_held else ""
    return f"{decision.reason}{not_trained}"


def _rule_fired(rule: dict[str, Any]) -> RuleFired:
    sentences = tuple(one["sentence"] for one in rule.get("measurements", ()))
    return RuleFired(
        rule["rule"], rule["action"], rule.get("cause", ""), rule.get("held", "") or rule.get("harmless", ""), sentences
    )


def _metrics(metrics: dict[str, Any]) -> Iterable[tuple[str, float, float | None, float | None]]:
    for name in METRICS:
        if metrics.get(name) is not None:
            yield name, metrics[name], metrics.get(f"{name}_low"), metrics.get(f"{name}_high")


def _within(kind: Any, pipeline: Pipeline, first: TickName, last: TickName) -> tuple[Any, ...]:
    return kind.pipeline == pipeline.name, kind.tick >= first, kind.tick <= last
