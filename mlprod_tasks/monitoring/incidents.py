"""Alarms of several use cases whose cause is one column of one source: one incident.

With a decision is kept which columns of which sources lie behind each of its alarms about inputs, so that no use case needs
another one's declaration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import and_, func, select

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.feature import AsOf, Expression, Lookup, Trailing
from mlprod_tasks.declaration.reads import read_by, taken_from, words_in
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.table import Database, Table
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.rules import NOTE
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision

COLUMNS = "columns"  # of a rule that fired, in a decision
SAME_TIME = timedelta(days=7)  # between ticks of use cases, at most: some are scored once a week


@dataclass(frozen=True)
class Incident:
    """A broken source. columns: of it, '' for its rows as such; alarms: of all use cases that it reached, (use case, rule)."""

    source: str
    columns: tuple[str, ...]
    alarms: tuple[tuple[str, str], ...]

    @property
    def use_cases(self) -> tuple[str, ...]:
        """Those that it reached, in order."""
        return tuple(dict.fromkeys(name for name, _ in self.alarms))

    @property
    def cause(self) -> str:
        """The cause in words: 'column amount of business/orders'."""
        named = [one for one in self.columns if one]
        if not named:
            return f"rows of {self.source}"
        return f"column{'s' * (len(named) > 1)} {', '.join(named)} of {self.source}"

    def sentence(self) -> str:
        """The incident in one line."""
        by = [f"{name} ({', '.join(dict.fromkeys(rule for of, rule in self.alarms if of == name))})" for name in self.use_cases]
        return f"one incident: {self.cause}; alarms of {' and of '.join(by)}"


def columns_behind(pipeline: Pipeline, rule: Mapping[str, Any]) -> list[str]:
    """Return the columns behind a rule that fired, as 'connection/table.column', sorted; none if it is not about inputs."""
    found, of_features = set[str](), _columns_of(pipeline)
    for one in rule["measurements"]:
        kind = KINDS[one["what"]]
        if kind.family != "input" and one["what"] != "data_delay":
            continue
        if kind.by == "feature":
            found |= of_features.get(one["slice"], set())
        elif kind.by == "table":
            found |= {f"{_source(table)}." for table in pipeline.tables if table.name == one["slice"]}
        elif one["what"] == "volume":
            found.add(f"{_source(pipeline.entity_table)}.")
    return sorted(found)


def incidents(pipeline: Pipeline, platform: Platform) -> tuple[Incident, ...]:
    """Return the incidents that a use case shares with others, by its newest decision."""
    with platform.ledger.session() as session:
        last = select(Decision).where(Decision.pipeline == pipeline.name).order_by(Decision.tick.desc()).limit(1)
        mine = session.scalars(last).one_or_none()
    return () if mine is None else incidents_of(mine, platform)


def incidents_of(decision: Decision, platform: Platform) -> tuple[Incident, ...]:
    """Return the incidents that a decision shares with those of other use cases, the newest of its time."""
    return _shared(decision, _newest_near(decision, platform)) if dict(_by_column(decision)) else ()


def _shared(mine: Decision, near: Sequence[Decision]) -> tuple[Incident, ...]:
    own = dict(_by_column(mine))
    shared: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for column in own:
        others = [(one.pipeline, rule) for one in near for rule in dict(_by_column(one)).get(column, ())]
        if others:
            source, _, name = column.rpartition(".")
            shared.setdefault(source, {})[name] = [*((mine.pipeline, rule) for rule in own[column]), *others]
    return tuple(
        Incident(source, tuple(sorted(columns)), tuple(dict.fromkeys(one for alarms in columns.values() for one in alarms)))
        for source, columns in sorted(shared.items())
    )


def same_time(one: TickName, other: TickName) -> bool:
    """Whether ticks of two use cases, which may have other schedules, are about the same time."""
    return abs(_day(one) - _day(other)) <= SAME_TIME


def _newest_near(mine: Decision, platform: Platform) -> Sequence[Decision]:
    """The newest decision of each other use case that is about the same time, by its name."""
    day = _day(mine.tick)
    near = and_(
        Decision.pipeline != mine.pipeline,
        Decision.tick >= day - SAME_TIME,
        Decision.tick < day + SAME_TIME + timedelta(days=1),  # any hour of the last day
    )
    last = select(Decision.pipeline, func.max(Decision.tick).label("tick")).where(near).group_by(Decision.pipeline).subquery()
    same = and_(Decision.pipeline == last.c.pipeline, Decision.tick == last.c.tick)
    with platform.ledger.session() as session:
        return list(session.scalars(select(Decision).join(last, same).order_by(Decision.pipeline)))


def _by_column(decision: Decision) -> Iterator[tuple[str, list[str]]]:
    """The rules that raised an alarm about each column."""
    found: dict[str, list[str]] = {}
    for rule in decision.rules:
        if rule["action"] != NOTE:
            for column in rule.get(COLUMNS, ()):
                found.setdefault(column, []).append(str(rule["rule"]))
    yield from found.items()


def _day(tick: TickName) -> date:
    return date.fromisoformat(str(tick)[:10])


def _source(table: Table) -> str:
    """What a table is read from, the same for every use case that reads it."""
    source = table.source
    if not isinstance(source, Database):
        return f"{source.connection}/{source.path}"
    schema = f"{source.schema}." if source.schema else ""
    return f"{source.connection}/{schema}{source.table or ' '.join(source.sql.split())}"


def _columns_of(pipeline: Pipeline) -> Mapping[str, set[str]]:
    """The columns of sources that each feature reads, also through other features."""
    tables, entity = {one.name: one for one in pipeline.tables}, pipeline.entity_table
    found: dict[str, set[str]] = {}
    for feature in pipeline.features:
        match feature:
            case Expression():
                words = words_in(feature.sql)
                through = [columns for name, columns in found.items() if name in words]
                found[feature.name] = _named(entity, feature.sql).union(*through)
            case Lookup() | AsOf():
                found |= {name: _named(tables[feature.table], column) for name, column in feature.columns.items()}
            case Trailing():
                for aggregate in feature.aggregates:
                    read = _named(tables[feature.table], taken_from(aggregate)) or {f"{_source(tables[feature.table])}."}
                    found |= {feature.feature(aggregate, window): read for window in feature.windows}
    return found


def _named(table: Table, sql: str) -> set[str]:
    return {f"{_source(table)}.{column.name}" for column in read_by(table, sql)}
