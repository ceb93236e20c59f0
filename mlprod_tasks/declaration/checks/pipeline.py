"""Rules between the parts of a declaration. The type of a field checks its single values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.approval import approval_problems
from mlprod_tasks.declaration.checks.adapt import adapt_problems
from mlprod_tasks.declaration.checks.bandit import bandit_problems
from mlprod_tasks.declaration.checks.capacity import capacity_problems
from mlprod_tasks.declaration.checks.evaluation import evaluation_problems
from mlprod_tasks.declaration.checks.experiment import experiment_problems
from mlprod_tasks.declaration.checks.features import (
    class_problems,
    condition_problems,
    feature_problems,
    mentioned,
    number_problems,
    pair_problems,
)
from mlprod_tasks.declaration.checks.gates import gate_problems
from mlprod_tasks.declaration.checks.monitoring import monitoring_problems
from mlprod_tasks.declaration.checks.population import outcome_problems, population_problems
from mlprod_tasks.declaration.checks.queues import queue_problems
from mlprod_tasks.declaration.checks.search import search_problems
from mlprod_tasks.declaration.checks.serving import serving_problems
from mlprod_tasks.declaration.checks.snapshots import snapshot_problems
from mlprod_tasks.declaration.checks.tables import (
    ADDRESS,
    IDENTIFIER,
    connection_problems,
    listed,
    repeated,
    scored_table_problems,
    table_problems,
)
from mlprod_tasks.declaration.checks.task import task_problems
from mlprod_tasks.declaration.checks.training import training_problems
from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.feature import Expression, Trailing
from mlprod_tasks.declaration.outcome import Outcome
from mlprod_tasks.declaration.reads import taken_from, words_in
from mlprod_tasks.declaration.target import Before, Label

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline
    from mlprod_tasks.declaration.table import Table

PROBLEMS_OF_KIND = {"yes_no": condition_problems, "number": number_problems, "class": class_problems}


def check(pipeline: Pipeline) -> None:
    """Raise a DeclarationError that lists every broken rule, each with the field and a remedy."""
    problems = list(_problems(pipeline))
    if problems:
        raise DeclarationError(*problems)


def _problems(pipeline: Pipeline) -> Iterator[str]:
    if not IDENTIFIER.fullmatch(pipeline.name):
        yield f"name {pipeline.name!r} must be lower-case letters, digits and _, starting with a letter"
    if not pipeline.alert_to:
        yield "alert_to is empty: give at least one mail address"
    for address in pipeline.alert_to:
        if not ADDRESS.fullmatch(address):
            yield f"alert_to: {address!r} is not one mail address such as 'ops@example.com'"
    if pipeline.top_k < 1:
        yield f"top_k {pipeline.top_k} must be at least 1"
    if not 0 < pipeline.top_share < 1:
        yield f"top_share {pipeline.top_share} must lie between 0 and 1"
    yield from repeated("tables", (table.name for table in pipeline.tables))
    for table in pipeline.tables:
        yield from table_problems(table)
    if (population := pipeline.population) is not None:
        broken = list(population_problems(pipeline, population))
        yield from broken
        if broken:
            return  # what follows is about the columns of its rows
    elif pipeline.entity_name not in {table.name for table in pipeline.tables}:
        yield f"entity {pipeline.entity_name!r} is not a declared table; declared are {listed(t.name for t in pipeline.tables)}"
        return  # what follows is about the entity's columns
    yield from scored_table_problems(pipeline.entity_table)
    yield from snapshot_problems(pipeline)
    yield from repeated("features", pipeline.feature_names)
    for feature in pipeline.features:
        yield from feature_problems(pipeline, feature)
    yield from task_problems(pipeline)
    yield from _label(pipeline)
    yield from _predict_at(pipeline)
    yield from training_problems(pipeline)
    yield from search_problems(pipeline)
    yield from gate_problems(pipeline)
    yield from approval_problems(pipeline)
    yield from evaluation_problems(pipeline)
    yield from monitoring_problems(pipeline)
    yield from serving_problems(pipeline)
    yield from capacity_problems(pipeline)
    yield from adapt_problems(pipeline)
    yield from queue_problems(pipeline)
    yield from experiment_problems(pipeline)
    yield from bandit_problems(pipeline)
    yield from _publish(pipeline)


def _told_by_features(pipeline: Pipeline, table: Table, sql: str) -> Iterator[str]:
    """Features that are the outcome itself, where the scored table has it. sql: of the label."""
    read_by_label = mentioned(sql, table)
    outcomes = {column.name for column in read_by_label if column.kind == "bool"}
    if pipeline.label.kind != "yes_no" and sql.strip().strip('"') in table.names:
        outcomes.add(sql.strip().strip('"'))
    for feature in pipeline.features:
        if isinstance(feature, Expression):
            read = outcomes & {column.name for column in mentioned(feature.sql, table)}
            if read or feature.sql.split() == sql.split():
                told = f"column {listed(read)!r}" if read else f"{sql!r}"
                yield (
                    f"feature {feature.name!r} reads {told}, which is the label: it is not known when the row is scored. Leave "
                    "it out, or declare known_at of the column"
                )
    if not table.ticks_ahead and not any(column.known_at for column in read_by_label):
        only = {column.name for column in read_by_label} if len(read_by_label) == 1 else set()
        yield from _told_by_own_row(pipeline, table, outcomes | only)


def _told_by_own_row(pipeline: Pipeline, table: Table, outcomes: set[str]) -> Iterator[str]:
    """Windows over the scored table that hold the row itself, which was known before its tick, with its outcome."""
    longest = pipeline.schedule.longest
    tick = timedelta(days=longest.days) or longest  # a day of 25 hours counts as one
    skip = f"ml.days({tick.days})" if tick.days else f"ml.hours({tick / timedelta(hours=1):g})"
    for feature in pipeline.features:
        if not isinstance(feature, Trailing) or feature.table != table.name or feature.skip >= tick:
            continue
        for aggregate in feature.aggregates:
            if read := outcomes & words_in(taken_from(aggregate)):
                yield (
                    f"Trailing {feature.name!r}: {aggregate.called!r} reads {listed(read)}, which is the label, and windows "
                    f"hold the scored row itself: declare known_at of the column, or skip={skip} of the feature"
                )


def _label(pipeline: Pipeline) -> Iterator[str]:
    label = pipeline.label
    if isinstance(label, Outcome):
        yield from outcome_problems(pipeline, label)
        return
    table = next((table for table in pipeline.tables if table.name == label.table), None)
    if table is None:
        yield f"label: table {label.table!r} is not declared; declared are {listed(t.name for t in pipeline.tables)}"
        return
    yield from pair_problems("label", label.on, pipeline.entity_table, table)
    if set(label.on.values()) != set(table.key):
        yield f"label: `on` must match the whole key {table.key} of {table.name!r}, else rows would multiply"
    yield from PROBLEMS_OF_KIND[label.kind]("label", label.sql, table)
    yield from _classes(label)
    if table.name == pipeline.entity_name and not table.snapshots:
        yield from _told_by_features(pipeline, table, label.sql)
    if table.time is None:
        yield f"label: table {table.name!r} has no time column, so it is unknown when an outcome was known"
    if table.ticks_ahead and not table.snapshots and not any(column.known_at for column in mentioned(label.sql, table)):
        yield f"label: table {table.name!r} is known ahead (ticks_ahead): declare known_at of the columns with the outcome"
    if label.delay <= timedelta(0):
        yield "label: delay must be positive: an outcome that is known at predict_at need not be predicted"


def _predict_at(pipeline: Pipeline) -> Iterator[str]:
    if isinstance(pipeline.predict_at, Before):
        needed = pipeline.entity_table.ticks_ahead * pipeline.schedule.longest
        if not needed:
            yield (
                f"predict_at: Before(...) needs rows that are known ahead, but {pipeline.entity_name!r} declares no "
                "ticks_ahead. Use AtTick(), or declare ticks_ahead"
            )
        if pipeline.predict_at.lead < needed:
            yield (
                f"predict_at: Before({pipeline.predict_at.lead}) is later than the tick that scores the row, up to "
                f"{needed} before {pipeline.entity_table.time!r}, and features of a later moment are not there yet. "
                f"Use AtTick() or a lead of at least {needed}"
            )


def _classes(label: Label) -> Iterator[str]:
    """The names of classes, of a label that has some."""
    if label.kind != "class":
        if label.classes:
            yield f"label.classes are of kind 'class', not {label.kind!r}: leave them out, or declare kind='class'"
        return
    if len(label.classes) == 1:
        yield f"label.classes has only {label.classes[0]!r}: declare at least two, or none to take those of the training"
    yield from repeated("label.classes", label.classes)


def _publish(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.publish is None:
        return
    to = pipeline.publish
    yield from connection_problems("publish.connection", to.connection)
    if not IDENTIFIER.fullmatch(to.table):
        yield f"publish.table {to.table!r} must be lower-case letters, digits and _, starting with a letter"
    for table in pipeline.tables:
        if (table.source.connection, getattr(table.source, "table", None)) == (to.connection, to.table):
            yield f"publish.table {to.table!r} is the source of table {table.name!r}: predictions would overwrite it"
