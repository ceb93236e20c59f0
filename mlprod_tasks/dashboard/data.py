"""The data of the page, from the ledger alone: the overview of all pipelines, and one pipeline over a range of ticks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard import queries, status
from mlprod_tasks.dashboard.adaptation import adaptation
from mlprod_tasks.dashboard.experiments import experiments
from mlprod_tasks.dashboard.incident_schemas import IncidentRow
from mlprod_tasks.dashboard.schemas import AlarmRow, Detail, Overview, PipelineCard, Spark
from mlprod_tasks.dashboard.series import BY_FEATURE, NOT_BY_FEATURE, Ticks, charts, heat_maps, read
from mlprod_tasks.dashboard.served import open_reviews, rollout_row, served
from mlprod_tasks.dashboard.status import WORST_FIRST, Facts
from mlprod_tasks.dashboard.titles import TITLES
from mlprod_tasks.declaration import Pipeline, Schedule, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.incidents import incidents_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import (
    Audit,
    Decision,
    Intervention,
    Measurement,
    Promotion,
    Publication,
    Rollout,
    Scoring,
    Training,
)
from mlprod_tasks.scoring.unscored_rows import unscored_rows

SHOWN_TICKS, MOST_TICKS, SPARK_TICKS = 60, 400, 30
PRESETS = (14, 30, 60, 90, 180)  # so many of the newest ticks can be chosen
HEAT = BY_FEATURE[:1]


def overview(pipelines: Iterable[Pipeline], platform: Platform, broken: Iterable[tuple[str, str]] = ()) -> Overview:
    """Make a card for every pipeline, the worst state first. broken: declarations that could not be loaded, and why."""
    declared, now = list(pipelines), platform.clock.now()
    alarms = {pipeline.name: queries.alarms(pipeline, platform) for pipeline in declared}
    with platform.ledger.session() as session:
        facts = _facts(session, declared, alarms)
        sparks = _sparks(session, declared, facts)
        with_requests = [pipeline.name for pipeline in declared if pipeline.serving is not None]
        rollouts = {row.pipeline: row for row in _newest(session, Rollout, with_requests, "at") if row.mode != "champion"}
        reviews = open_reviews(session, with_requests)
    cards = [
        replace(
            _card(pipeline, facts[pipeline.name], sparks.get(pipeline.name), now),
            rollout=rollout_row(rollouts[pipeline.name]) if pipeline.name in rollouts else None,
            open_reviews=reviews.get(pipeline.name, 0),
        )
        for pipeline in declared
    ]
    cards.sort(key=lambda card: (WORST_FIRST.index(card.state.light), -card.open_alarms, card.name))
    return Overview(now.isoformat(), tuple(cards), tuple(broken))


def detail(
    pipeline: Pipeline,
    platform: Platform,
    ticks: tuple[TickName | None, TickName | None] = (None, None),
    heat: Sequence[str] = HEAT,
    as_of: Tick | None = None,
) -> Detail:
    """Show one pipeline over `ticks`, first and last included; the newest SHOWN_TICKS if they are None.

    heat: kinds that are measured per feature; each becomes a heat map. At most the MOST_TICKS newest ticks of the range are
    shown. as_of: show the state when that tick was decided instead of the current one, without later ticks.

    Raises: ValueError if `heat` names another kind, or the range is empty.
    """
    _check_heat(heat)
    alarms = queries.alarms(pipeline, platform, as_of)
    with platform.ledger.session() as session:
        view = _view(session, pipeline, platform, alarms, as_of)
        return _detail(
            session,
            pipeline,
            platform,
            view,
            alarms,
            _shown_ticks(pipeline.schedule, ticks, view.first, view.last),
            heat,
            as_of,
        )


def _detail(
    session: Session,
    pipeline: Pipeline,
    platform: Platform,
    view: _View,
    alarms: tuple[AlarmRow, ...],
    shown: Ticks,
    heat: Sequence[str],
    as_of: Tick | None,
) -> Detail:
    facts, now = view.facts, view.now
    champion = status.champion(pipeline, facts)
    version = champion.version if champion else None
    measured = read(session, pipeline, shown, (*NOT_BY_FEATURE, *heat))
    scored = queries.scorings(session, pipeline, shown)
    return Detail(
        name=pipeline.name,
        doc=pipeline.doc.strip(),
        owner=pipeline.owner,
        at=now.isoformat(),
        first=str(view.first) if view.first else None,
        last=str(view.last) if view.last else None,
        ticks=tuple(str(day) for day in shown.days),
        newest=_newest_ticks(pipeline.schedule, view.first, view.last),
        state=status.state(pipeline, facts, now),
        champion=champion,
        last_tick=status.last_tick(pipeline, facts, now),
        key=pipeline.entity_table.key,
        rules=tuple(rule.name for rule in pipeline.rules),
        versions=queries.versions(facts.promotions),
        scored_by=tuple(scored[day].model_version if day in scored else None for day in shown.days),
        heat_kinds=_heat_kinds(session, pipeline, shown),
        heat=heat_maps(pipeline, measured, shown, status.importance(facts, version)),
        charts=charts(pipeline, measured, shown),
        by_tick=queries.by_tick(session, pipeline, shown, scored),
        alarms=alarms,
        trainings=queries.trainings(session, facts.trainings, version),
        doings=queries.doings(session, pipeline, as_of),
        served=served(session, pipeline, view.until),
        experiments=experiments(session, pipeline, view.until, None if as_of is None else as_of.name),
        adaptation=adaptation(pipeline, shown, platform),
        incidents=_incidents(facts.decided, platform),
    )


def _incidents(decided: Decision | None, platform: Platform) -> tuple[IncidentRow, ...]:
    found = () if decided is None else incidents_of(decided, platform)
    return tuple(IncidentRow(one.cause, one.alarms) for one in found)


@dataclass(frozen=True)
class _View:
    """The facts, moments and ticks of one pipeline's page.

    now: the moment that the page shows. until: the moment up to which requests count. first, last: the ticks with data.
    """

    facts: Facts
    now: datetime
    until: datetime
    first: TickName | None
    last: TickName | None


def _view(session: Session, pipeline: Pipeline, platform: Platform, alarms: Sequence[AlarmRow], as_of: Tick | None) -> _View:
    now, facts = platform.clock.now(), _facts(session, [pipeline], {pipeline.name: alarms})[pipeline.name]
    first, last = _extent(session, pipeline)
    if as_of is None:
        return _View(facts, now, now, first, last)
    facts, now = _facts_at(session, pipeline, facts, as_of), min(now, as_of.end)
    # A backfilled tick is decided after its end; requests up to its decision count.
    until = now if facts.decided is None else max(now, facts.decided.at)
    return _View(facts, now, until, first, min(last, as_of.name) if last else None)


def _check_heat(heat: Sequence[str]) -> None:
    for what in heat:
        if what not in BY_FEATURE:
            raise ValueError(f"{what!r} is not measured per feature: choose one of {', '.join(BY_FEATURE)}")


def _facts(session: Session, pipelines: Sequence[Pipeline], alarms: Mapping[str, Sequence[AlarmRow]]) -> dict[str, Facts]:
    """The current facts of each pipeline; the number of queries does not grow with the pipelines."""
    names = [pipeline.name for pipeline in pipelines]
    scored = {row.pipeline: row for row in _newest(session, Scoring, names)}
    decided = {row.pipeline: row for row in _newest(session, Decision, names)}
    promotions = _by_pipeline(session, select(Promotion).order_by(Promotion.effective, Promotion.at), Promotion, names)
    trainings = _by_pipeline(session, select(Training).order_by(Training.at.desc()), Training, names)
    switched = select(Intervention).where(Intervention.kind.in_(("fallback", "champion"))).order_by(Intervention.at.desc())
    switches = _by_pipeline(session, switched, Intervention, names)
    since = [and_(Audit.pipeline == name, Audit.tick > row.tick) for name, row in scored.items()]
    unscored = [name for name in names if name not in scored]
    failed = select(Audit).where(Audit.passed.is_(False), or_(Audit.pipeline.in_(unscored), *since))
    refused = _by_pipeline(session, failed.order_by(Audit.tick.desc()), Audit, names)
    late = unscored_rows(session, pipelines)
    return {
        name: Facts(
            promotions=promotions[name],
            trainings=trainings[name],
            scored=scored.get(name),
            decided=decided.get(name),
            refused=refused[name],
            switches=switches[name],
            alarms=alarms[name],
            unscored=late[name],
        )
        for name in names
    }


def _facts_at(session: Session, pipeline: Pipeline, facts: Facts, tick: Tick) -> Facts:
    """The facts as of a tick: its own scoring and decision, and the promotions and trainings up to it."""
    of_tick = {"pipeline": pipeline.name, "tick": tick.name}
    refused = select(Audit).filter_by(**of_tick).where(Audit.passed.is_(False)).order_by(Audit.table_name)
    return replace(
        facts,
        promotions=[one for one in facts.promotions if one.effective <= tick.name],
        trainings=[one for one in facts.trainings if one.as_of <= tick.name],
        scored=session.scalars(select(Scoring).filter_by(**of_tick)).one_or_none(),
        decided=session.scalars(select(Decision).filter_by(**of_tick)).one_or_none(),
        refused=list(session.scalars(refused)),
        unscored={day: rows for day, rows in facts.unscored.items() if day == tick.name},
        switches=[one for one in facts.switches if (one.tick or pipeline.schedule.name_at(one.at)) <= tick.name],
    )


def _newest(session: Session, kind: Any, names: Sequence[str], by: str = "tick") -> Iterable[Any]:
    """The newest entry of each pipeline."""
    when = getattr(kind, by)
    query = select(kind.pipeline, func.max(when).label("newest")).where(kind.pipeline.in_(names)).group_by(kind.pipeline)
    last = query.subquery()
    return session.scalars(select(kind).join(last, and_(kind.pipeline == last.c.pipeline, when == last.c.newest)))


def _by_pipeline(session: Session, query: Any, kind: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for row in session.scalars(query.where(kind.pipeline.in_(names))):
        rows[row.pipeline].append(row)
    return rows


def _card(pipeline: Pipeline, facts: Facts, kpi: Spark | None, now: Any) -> PipelineCard:
    open_alarms = [alarm for alarm in facts.alarms if alarm.open]
    muted = [alarm for alarm in open_alarms if alarm.muted_until]
    acknowledged = [alarm for alarm in open_alarms if alarm.acknowledged_by and not alarm.muted_until]
    return PipelineCard(
        name=pipeline.name,
        doc=pipeline.doc.strip().splitlines()[0],
        owner=pipeline.owner,
        state=status.state(pipeline, facts, now),
        champion=status.champion(pipeline, facts),
        last=status.last_tick(pipeline, facts, now),
        open_alarms=len(open_alarms) - len(muted) - len(acknowledged),
        acknowledged=len(acknowledged),
        muted=len(muted),
        training=facts.trainings[0].state if facts.trainings else None,
        kpi=kpi,
    )


def _sparks(session: Session, pipelines: Sequence[Pipeline], facts: Mapping[str, Facts]) -> dict[str, Spark]:
    """The KPI over the last ticks of each pipeline, in its unit."""
    m = Measurement
    schedules = {pipeline.name: pipeline.schedule for pipeline in pipelines}
    recent = [
        and_(m.pipeline == name, m.tick > schedules[name].shift(one.scored.tick, -SPARK_TICKS))
        for name, one in facts.items()
        if one.scored
    ]
    if not recent:
        return {}
    query = select(m.pipeline, m.tick, m.value, m.reference, m.low).where(m.what == "kpi", or_(*recent)).order_by(m.tick)
    rows: dict[str, list[Any]] = {}
    for row in session.execute(query):
        rows.setdefault(row.pipeline, []).append(row)
    return {
        pipeline.name: Spark(
            name=pipeline.kpi.name,
            unit=pipeline.kpi.unit,
            ticks=tuple(str(row.tick) for row in measured),
            values=tuple(_product(row.value, row.reference) for row in measured),
            bound=_product(measured[-1].low, measured[-1].reference),
        )
        for pipeline in pipelines
        if (measured := rows.get(pipeline.name))
    }


def _product(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value * reference


def _extent(session: Session, pipeline: Pipeline) -> tuple[TickName | None, TickName | None]:
    """The oldest and the newest scored tick; if none is scored, the oldest and newest published one."""
    for kind in (Scoring, Publication):
        first, last = session.execute(
            select(func.min(kind.tick), func.max(kind.tick)).where(kind.pipeline == pipeline.name)
        ).one()
        if first is not None:
            return first, last
    return None, None


def _shown_ticks(
    schedule: Schedule, ticks: tuple[TickName | None, TickName | None], first: TickName | None, last: TickName | None
) -> Ticks:
    if first is None or last is None:
        return Ticks(())
    begin, end = ticks
    if begin is not None and end is not None and end < begin:
        raise ValueError(f"the range of ticks {begin} to {end} is empty")
    # A date that is no tick means the ticks from it on, or up to it.
    begin = schedule.at_or_after(begin) if isinstance(begin, date) else begin
    end = schedule.at_or_before(end) if isinstance(end, date) else end
    end = min(end or last, last)
    begin = max(begin or schedule.shift(end, 1 - SHOWN_TICKS), first, schedule.shift(end, 1 - MOST_TICKS))
    # Empty if the range ends before the first tick with data.
    return Ticks(tuple(schedule.names(begin, end)))


def _newest_ticks(schedule: Schedule, first: TickName | None, last: TickName | None) -> tuple[tuple[int, str], ...]:
    if first is None or last is None:
        return ()
    total = schedule.ticks_between(first, last) + 1
    return tuple((count, str(schedule.shift(last, 1 - count))) for count in (*(n for n in PRESETS if n < total), total))


def _heat_kinds(session: Session, pipeline: Pipeline, ticks: Ticks) -> tuple[tuple[str, str], ...]:
    """The kinds that were measured per feature at these ticks, with their titles; an index lookup each, in one statement."""
    if not ticks.days:
        return ()
    m = Measurement
    mine = m.pipeline == pipeline.name, m.tick >= ticks.days[0], m.tick <= ticks.days[-1]
    measured = session.execute(select(*(exists().where(*mine, m.what == what) for what in BY_FEATURE))).one()
    return tuple((what, TITLES[what].title) for what, there in zip(BY_FEATURE, measured, strict=True) if there)
