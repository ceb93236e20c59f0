"""What a pipeline gets where it declares nothing: features, windows, fallback, value, gates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.aggregate import Count, SinceLast, Sum
from mlprod_tasks.declaration.checks.tables import RESERVED
from mlprod_tasks.declaration.feature import Expression, Feature, Lookup, Trailing
from mlprod_tasks.declaration.gate import AtLeast, BetterThanBaseline, Gate, NoLeakageSuspicion, NotWorseThanChampion
from mlprod_tasks.declaration.monitoring import Rule, Watch
from mlprod_tasks.declaration.outcome import Outcome
from mlprod_tasks.declaration.reads import resting_on_other_rows
from mlprod_tasks.declaration.split import Split, SplitByColumn, SplitByHash
from mlprod_tasks.declaration.standard import (
    ADAPTATION_RULES,
    ADAPTATION_WATCHES,
    CLASS_REQUEST_RULES,
    CLASS_REQUEST_WATCHES,
    INTERVAL_RULES,
    INTERVAL_WATCHES,
    MULTICLASS_RULES,
    MULTICLASS_WATCHES,
    REGRESSION_RULES,
    REGRESSION_WATCHES,
    REQUEST_RULES,
    REQUEST_WATCHES,
    RULES,
    WATCHES,
)
from mlprod_tasks.declaration.target import ClassValue, CostMatrix, Kpi, Label, PredictionValue, Value
from mlprod_tasks.declaration.training import MeanTable, RateTable, ShareTable

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline
    from mlprod_tasks.declaration.schedule import Schedule
    from mlprod_tasks.declaration.table import Table

ONE_DAY = timedelta(days=1)
WINDOWS = (timedelta(days=7), timedelta(days=28), timedelta(days=91))
SPLIT = Split(validation=timedelta(days=14), test=timedelta(days=14), gap=timedelta(0))  # the gap follows the label's delay
FORTNIGHT = timedelta(days=14)
OF_TICKS = {"hour": FORTNIGHT, "day": FORTNIGHT, "week": 4 * FORTNIGHT, "month": 13 * FORTNIGHT}  # the windows of that split
FALLBACK = RateTable(by=())  # what it is grouped by follows the features
VALUE = CostMatrix(true_positive=1, false_positive=-1, unit="points")
GATES: tuple[Gate, ...] = (
    AtLeast("roc_auc", 0.55), BetterThanBaseline("log_loss"), NotWorseThanChampion("log_loss"), NoLeakageSuspicion(),
)  # fmt: skip
MULTICLASS_GATES: tuple[Gate, ...] = (
    BetterThanBaseline("log_loss"), NotWorseThanChampion("log_loss"), NoLeakageSuspicion(),
)  # fmt: skip
REGRESSION_GATES: tuple[Gate, ...] = (BetterThanBaseline("mae"), NotWorseThanChampion("mae"), NoLeakageSuspicion())
KPI = Kpi("value_per_1000", "1000 * avg(value)", "the value of a thousand predictions")
REGRESSION_KPI = Kpi("mean_outcome", "avg(outcome)", "the mean of what came true")  # the value of errors is negative: no ratio


@dataclass(frozen=True)
class TaskDefaults:
    """What a task other than a yes or no has in place of the defaults above."""

    fallback: type[Any]
    value: Value
    gates: tuple[Gate, ...]
    kpi: Kpi
    watches: tuple[Watch, ...]
    rules: tuple[Rule, ...]
    request_watches: tuple[Watch, ...] = REQUEST_WATCHES
    request_rules: tuple[Rule, ...] = REQUEST_RULES


OF_TASK: Mapping[str, TaskDefaults] = MappingProxyType(
    {
        "regression": TaskDefaults(
            MeanTable, PredictionValue(), REGRESSION_GATES, REGRESSION_KPI, REGRESSION_WATCHES, REGRESSION_RULES
        ),
        "multiclass": TaskDefaults(
            ShareTable,
            ClassValue(),
            MULTICLASS_GATES,
            KPI,
            MULTICLASS_WATCHES,
            MULTICLASS_RULES,
            (*REQUEST_WATCHES, *CLASS_REQUEST_WATCHES),
            (*REQUEST_RULES, *CLASS_REQUEST_RULES),
        ),
    }
)
YES_OR_NO = TaskDefaults(RateTable, VALUE, GATES, KPI, WATCHES, RULES)


def placed(pipeline: Pipeline) -> dict[str, Any]:
    """The tables and the label, which all other defaults rest on: a scored table without a time has snapshots, and a label is
    in the scored row unless it says otherwise."""
    fields: dict[str, Any] = {}
    entity = next((table for table in pipeline.tables if table.name == pipeline.entity), None)
    if entity is not None and entity.time is None and not (entity.known_after or entity.ticks_ahead or entity.refresh_ticks):
        fields["tables"] = tuple(table.as_snapshots() if table is entity else table for table in pipeline.tables)
    zone = pipeline.schedule.timezone
    tables = fields.get("tables", pipeline.tables)
    tables = tuple(table.as_dated(zone) if _is_dated(table) else table for table in tables)
    named = {pipeline.entity, pipeline.label.table} if isinstance(pipeline.label, Label) else {pipeline.entity}
    tables = tuple(
        table.as_keyed() if not table.key and table.time is not None and table.name not in named else table for table in tables
    )
    if tables != pipeline.tables:
        fields["tables"] = tables
    label = pipeline.label
    if entity is not None and isinstance(label, Label) and not (label.table and label.on):
        table = label.table or entity.name
        same = {name: name for name in entity.key} if table == entity.name else {}
        fields["label"] = replace(label, table=table, on=label.on or same)
    return fields


def _is_dated(table: Table) -> bool:
    """Whether the time of a table is a date."""
    return any(column.name == table.time and column.kind == "date" for column in table.columns)


def filled(pipeline: Pipeline) -> dict[str, Any]:
    """The fields that the declaration leaves to their defaults, with what they are for this pipeline."""
    task = OF_TASK.get(pipeline.task, YES_OR_NO)
    fields: dict[str, Any] = {}
    entity = _entity(pipeline)
    if not pipeline.features and entity is not None:
        fields["features"] = features = _features(pipeline, entity)
    else:
        features = pipeline.features
    if not pipeline.doc.strip():
        what = pipeline.label.doc or pipeline.label.sql
        fields["doc"] = f"{what}, for every row of {pipeline.entity_name}"
    if pipeline.split == SPLIT and entity is not None and entity.snapshots:
        fields["split"] = SplitByHash()
    elif pipeline.split == SPLIT:
        window = _window(pipeline.schedule)
        fields["split"] = Split(validation=window, test=window, gap=-(-pipeline.label_delay // ONE_DAY) * ONE_DAY)
    if not pipeline.fallback.by:
        table = task.fallback if pipeline.fallback == FALLBACK else type(pipeline.fallback)
        fields["fallback"] = table(by=_groups(features, pipeline.tables), smoothing=pipeline.fallback.smoothing)
    for name in ("value", "gates", "kpi"):
        if getattr(pipeline, name) == getattr(YES_OR_NO, name) != getattr(task, name):
            fields[name] = getattr(task, name)
    if pipeline.serving is not None:
        fields["serving"] = pipeline.serving.of(pipeline.schedule)
    fields["watches"] = watches = pipeline.watches if pipeline.watches != WATCHES else _watches(pipeline, task)
    if pipeline.rules == RULES:
        watched = {watch.what for watch in watches}
        standard = _rules(pipeline, task)
        fields["rules"] = tuple(rule for rule in standard if all(one.watch in watched for one in rule.conditions))
    return fields


def _watches(pipeline: Pipeline, task: TaskDefaults) -> tuple[Watch, ...]:
    """The standard watches of the task and of the declared parts."""
    return (
        *task.watches,
        *(task.request_watches if pipeline.serving is not None else ()),
        *(INTERVAL_WATCHES if _has_intervals(pipeline) else ()),
        *(ADAPTATION_WATCHES if pipeline.adapt is not None else ()),
    )


def _rules(pipeline: Pipeline, task: TaskDefaults) -> tuple[Rule, ...]:
    """The standard rules about those watches."""
    return (
        *task.rules,
        *(_request_rules(task, pipeline) if pipeline.serving is not None else ()),
        *(INTERVAL_RULES if _has_intervals(pipeline) else ()),
        *(ADAPTATION_RULES if pipeline.adapt is not None else ()),
    )


def _has_intervals(pipeline: Pipeline) -> bool:
    """Whether predictions have intervals, which are refused of anything but numbers."""
    return pipeline.task == "regression" and pipeline.model.coverage is not None


def _request_rules(task: TaskDefaults, pipeline: Pipeline) -> tuple[Rule, ...]:
    """The rules about requests: of ticks within a day, that nobody asks must last a day, as nobody may ask at night."""
    ticks = pipeline.schedule.ticks_in(ONE_DAY)
    return tuple(
        replace(rule, breaches=ticks, of=ticks) if rule.watch == "online_rows" else rule for rule in task.request_rules
    )


def _window(schedule: Schedule) -> timedelta:
    """The windows of the default split: longer if ticks are rarer, and at least one tick."""
    every: str = schedule.every
    if every == "cron":
        every = {0: "month", 1: "week"}.get(schedule.ticks_a_week, "day")
    return max(OF_TICKS[every], timedelta(days=schedule.longest.days))  # without the hour of a clock change


def _entity(pipeline: Pipeline) -> Table | None:
    """The table of the scored rows; None if it is not declared, which is refused later."""
    name = pipeline.population.seen_in if pipeline.population is not None else pipeline.entity
    return pipeline.entity_table if name in {table.name for table in pipeline.tables} else None


def _features(pipeline: Pipeline, entity: Table) -> tuple[Feature, ...]:
    """Every column of the scored row that may be an input, weekday and hour, and for a population what it was seen with."""
    of_label = set()
    if not isinstance(pipeline.label, Outcome) and pipeline.label.table == entity.name:
        of_label = set(re.findall(r"\w+", pipeline.label.sql.lower()))
    of_split = [pipeline.split.column] if isinstance(pipeline.split, SplitByColumn) else []
    left_out = {*entity.key, entity.time, *of_label, *of_split}
    made: list[Feature] = [
        Expression(_free(column.name, entity), f'"{column.name}"', column.kind, column.doc or column.name)
        for column in entity.columns
        if column.name not in left_out and not column.personal and not column.known_at
        and column.kind not in ("timestamp", "date")
    ]  # fmt: skip
    local = f"\"{entity.time}\" AT TIME ZONE '{pipeline.schedule.timezone}'" if not entity.dated_by else f'"{entity.dated_by}"'
    moments = {"weekday": ("isodow", "the day of the week, 1 is Monday"), "hour": ("hour", "the hour of the day")}
    for name, (part, doc) in moments.items():
        if entity.snapshots or (name == "hour" and entity.dated_by):
            continue  # all rows of a training are of one tick; all days begin at midnight
        if name not in entity.names and entity.time is not None and (pipeline.population is None or _differs(name, pipeline)):
            made.append(Expression(name, f"extract({part} FROM {local})", "int", doc))
    if not made:  # of weekly or monthly keys, whose rows have nothing of their own
        made.append(Expression("month", f"extract(month FROM {local})", "int", "the month of the year"))
    if pipeline.population is not None:
        made.append(_seen(pipeline.table(pipeline.population.seen_in), pipeline.population.by))
    return tuple(made)


def _differs(part: str, pipeline: Pipeline) -> bool:
    """Whether ticks, at which the rows of a population are scored, differ in that part of their time."""
    return pipeline.schedule.is_within_day if part == "hour" else pipeline.schedule.every != "week"


def _seen(table: Table, by: tuple[str, ...]) -> Trailing:
    numbers = [
        column.name for column in table.columns
        if column.kind in ("int", "float") and not column.personal and not column.known_at
        and column.name not in (*by, *table.key)
    ]  # fmt: skip
    return Trailing("seen", table.name, {name: name for name in by}, WINDOWS, (Count(), SinceLast(), *map(Sum, numbers)))


def _free(name: str, entity: Table) -> str:
    """The name of a feature that passes a column on: with that of its table, if predictions have such a column already."""
    return f"{entity.name}_{name}" if name in RESERVED else name


def _groups(features: tuple[Feature, ...], tables: tuple[Table, ...]) -> tuple[str, ...]:
    """What the fallback is grouped by: the first text of the row itself, else one that is looked up, else a whole number or a
    yes or no. () if there is none: all rows are one group then."""
    resting = resting_on_other_rows(features)
    own = [(one.name, one.kind) for one in features if isinstance(one, Expression) and one.name not in resting]
    kinds = {(table.name, column.name): column.kind for table in tables for column in table.columns}
    looked_up = [
        (name, kinds.get((feature.table, column), ""))
        for feature in features
        if isinstance(feature, Lookup)
        for name, column in feature.columns.items()
    ]
    for named, kind in ((own, "text"), (looked_up, "text"), (own, "int"), (own, "bool")):
        for name, found in named:
            if found == kind:
                return (name,)
    return ()
