"""Rules between the parts of a declaration; what one field alone may hold, its type says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.feature import AsOf, Expression, Lookup, Mean, Trailing, names_of
from mlprod_tasks.declaration.table import Files, Table
from mlprod_tasks.declaration.target import Before

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
NUMERIC = ("int", "float", "bool")
# Columns that the steps add to tables and predictions themselves.
RESERVED = {"tick", "predict_at", "known_at", "label", "score", "decision", "outcome", "value", "fallback", "model_version"}
LONGEST_TICK = timedelta(hours=25)


def check(pipeline: Pipeline) -> None:
    """Raise DeclarationError that lists every rule the declaration breaks, each with the field and a remedy."""
    problems = list(_problems(pipeline))
    if problems:
        raise DeclarationError("; ".join(problems))


def _problems(pipeline: Pipeline) -> Iterator[str]:
    if not IDENTIFIER.fullmatch(pipeline.name):
        yield f"name {pipeline.name!r} must be lower-case letters, digits and _, starting with a letter"
    if pipeline.task != "binary":
        yield f"task {pipeline.task!r} is not built yet: only 'binary' is"
    if not pipeline.alert_to or not all("@" in address for address in pipeline.alert_to):
        yield f"alert_to {pipeline.alert_to!r} must name at least one mail address"
    if not 0 < pipeline.top_share < 1:
        yield f"top_share {pipeline.top_share} must lie between 0 and 1"
    yield from _repeated("tables", (table.name for table in pipeline.tables))
    for table in pipeline.tables:
        yield from _table(table)
    if pipeline.entity not in {table.name for table in pipeline.tables}:
        yield f"entity {pipeline.entity!r} is not a declared table; declared are {_listed(t.name for t in pipeline.tables)}"
        return  # what follows is about the entity's columns
    if pipeline.entity_table.time is None:
        yield f"entity {pipeline.entity!r} is a reference table: declare the `time` column that places its rows in ticks"
    yield from _repeated("features", pipeline.feature_names)
    for feature in pipeline.features:
        yield from _feature(pipeline, feature)
    yield from _label(pipeline)
    yield from _training(pipeline)
    yield from _monitoring(pipeline)


def _table(table: Table) -> Iterator[str]:
    at = f"table {table.name!r}"
    names = set(table.names)
    if not IDENTIFIER.fullmatch(table.name):
        yield f"{at}: name must be lower-case letters, digits and _, starting with a letter"
    yield from _repeated(f"{at}: columns", table.names)
    for column in table.columns:
        where = f"{at}: column {column.name!r}"
        if not IDENTIFIER.fullmatch(column.name):
            yield f"{where}: name must be lower-case letters, digits and _, starting with a letter"
        if column.name in RESERVED:
            yield f"{where}: the name is used by the lake itself; reserved are {_listed(RESERVED)}"
        if (column.min is not None or column.max is not None) and column.kind not in ("int", "float"):
            yield f"{where}: min and max need a number, but its kind is {column.kind!r}"
        if column.min is not None and column.max is not None and column.min > column.max:
            yield f"{where}: min {column.min} is above max {column.max}"
        if column.values is not None and column.kind not in ("text", "int"):
            yield f"{where}: values need kind 'text' or 'int', not {column.kind!r}"
        if column.max_null_share is not None and not (column.nullable and 0 <= column.max_null_share < 1):
            yield f"{where}: max_null_share {column.max_null_share} needs nullable=True and a share in [0, 1)"
        if column.known_at is not None and (column.known_at not in names or table.column(column.known_at).kind != "timestamp"):
            yield f"{where}: known_at {column.known_at!r} is not a timestamp column of the table"
        if column.personal == "hash" and column.kind not in ("text", "int"):
            yield f"{where}: personal='hash' needs kind 'text' or 'int', not {column.kind!r}"
        if column.personal and (column.name == table.time):
            yield f"{where}: the time column cannot be personal"
    if not table.key:
        yield f"{at}: key names no column; a row must be identifiable"
    for name in table.key:
        if name not in names:
            yield f"{at}: key column {name!r} is not declared; declared are {_listed(names)}"
        elif table.column(name).nullable or table.column(name).personal == "drop":
            yield f"{at}: key column {name!r} may be neither nullable nor dropped"
    if table.time is None:
        if table.known_after or table.ticks_ahead or table.refresh_ticks:
            yield f"{at}: known_after, ticks_ahead and refresh_ticks need a `time` column"
        if isinstance(table.source, Files) and "{tick}" in table.source.path:
            yield f"{at}: source.path holds {{tick}}, which needs a `time` column"
    elif table.time not in names or table.column(table.time).kind != "timestamp":
        yield f"{at}: time {table.time!r} is not a declared timestamp column"
    elif table.column(table.time).nullable:
        yield f"{at}: time column {table.time!r} may not be nullable"
    if table.known_after < timedelta(0) or table.ticks_ahead < 0 or table.refresh_ticks < 0:
        yield f"{at}: known_after, ticks_ahead and refresh_ticks may not be negative"
    if table.ticks_ahead and table.known_after:
        yield f"{at}: rows are known either ticks_ahead or known_after their time, not both"
    if not 0 <= table.max_refused_share < 1:
        yield f"{at}: max_refused_share {table.max_refused_share} must be a share in [0, 1)"
    if table.max_rows is not None and table.max_rows < table.min_rows:
        yield f"{at}: max_rows {table.max_rows} is below min_rows {table.min_rows}"


def _feature(pipeline: Pipeline, feature: Expression | Lookup | AsOf | Trailing) -> Iterator[str]:
    entity = pipeline.entity_table
    for name in names_of(feature):
        if not IDENTIFIER.fullmatch(name):
            yield f"feature {name!r}: name must be lower-case letters, digits and _, starting with a letter"
        if name in RESERVED or (name in entity.names and not _passes_through(feature, name)):
            yield f"feature {name!r}: the name is already that of a column of {entity.name!r} or reserved"
    if isinstance(feature, Expression):
        for column in entity.columns:
            if column.known_at and re.search(rf"\b{column.name}\b", feature.sql):
                yield (
                    f"Expression {feature.name!r} reads column {column.name!r} of {entity.name!r}, which is known only at "
                    f"{column.known_at!r}: it is not there yet when the row is scored"
                )
        return
    at = f"{type(feature).__name__} {names_of(feature)[0] if not isinstance(feature, Trailing) else feature.name!r}"
    table = next((table for table in pipeline.tables if table.name == feature.table), None)
    if table is None:
        yield f"{at}: table {feature.table!r} is not declared; declared are {_listed(t.name for t in pipeline.tables)}"
        return
    pairs = feature.by if isinstance(feature, Trailing) else feature.on
    yield from _pairs(at, pairs, entity, table)
    match feature:
        case Lookup():
            if table.time is not None:
                yield f"{at}: table {table.name!r} has a time column, so its rows change: use AsOf"
            if set(pairs.values()) != set(table.key):
                yield f"{at}: `on` must match the whole key {table.key} of {table.name!r}, else rows would multiply"
            yield from _read(at, feature.columns.values(), table)
        case AsOf():
            if table.time is None:
                yield f"{at}: table {table.name!r} has no time column: use Lookup"
            if feature.max_age <= timedelta(0):
                yield f"{at}: max_age must be positive"
            yield from _read(at, feature.columns.values(), table)
        case Trailing():
            if table.time is None:
                yield f"{at}: table {table.name!r} has no time column, so it has no windows"
            if not feature.windows or min(feature.windows) <= timedelta(0):
                yield f"{at}: windows must be positive"
            if any(window != timedelta(seconds=int(window.total_seconds())) for window in feature.windows):
                yield f"{at}: windows must be whole seconds"
            if not feature.aggregates:
                yield f"{at}: declare at least one aggregate"
            means = [aggregate.column for aggregate in feature.aggregates if isinstance(aggregate, Mean)]
            yield from _read(at, means, table)
            for name in means:
                if name in table.names and table.column(name).kind not in NUMERIC:
                    yield f"{at}: Mean of {name!r} needs a number, but its kind is {table.column(name).kind!r}"


def _passes_through(feature: Expression | Lookup | AsOf | Trailing, name: str) -> bool:
    """Whether the feature is the entity's own column of that name, unchanged."""
    return isinstance(feature, Expression) and feature.sql.strip() == name


def _pairs(at: str, pairs: dict[str, str], entity: Table, table: Table) -> Iterator[str]:
    if not pairs:
        yield f"{at}: no columns to join on"
    for mine, theirs in pairs.items():
        if mine not in entity.names:
            yield f"{at}: {mine!r} is not a column of {entity.name!r}"
        elif entity.column(mine).personal == "drop":
            yield f"{at}: {mine!r} of {entity.name!r} is personal and dropped: it cannot be joined on"
        if theirs not in table.names:
            yield f"{at}: {theirs!r} is not a column of {table.name!r}"
        elif table.column(theirs).personal == "drop":
            yield f"{at}: {theirs!r} of {table.name!r} is personal and dropped: it cannot be joined on"
        elif mine in entity.names:
            left, right = entity.column(mine), table.column(theirs)
            if left.kind != right.kind or left.personal != right.personal:
                yield f"{at}: {mine!r} is {left.kind} and {theirs!r} is {right.kind}, or only one is hashed: they never match"


def _read(at: str, columns: Iterable[str], table: Table) -> Iterator[str]:
    for name in columns:
        if name not in table.names:
            yield f"{at}: reads column {name!r}, which table {table.name!r} does not have; it has {_listed(table.names)}"
        elif table.column(name).personal:
            yield f"{at}: reads column {name!r} of {table.name!r}, which is personal"


def _label(pipeline: Pipeline) -> Iterator[str]:
    label = pipeline.label
    table = next((table for table in pipeline.tables if table.name == label.table), None)
    if table is None:
        yield f"label: table {label.table!r} is not declared; declared are {_listed(t.name for t in pipeline.tables)}"
        return
    yield from _pairs("label", label.on, pipeline.entity_table, table)
    if set(label.on.values()) != set(table.key):
        yield f"label: `on` must match the whole key {table.key} of {table.name!r}, else rows would multiply"
    if table.time is None:
        yield f"label: table {table.name!r} has no time column, so nobody can say when an outcome was known"
    if label.delay <= timedelta(0):
        yield "label: delay must be positive: an outcome that is known at predict_at need not be predicted"
    if isinstance(pipeline.predict_at, Before):
        needed = pipeline.entity_table.ticks_ahead * LONGEST_TICK
        if pipeline.predict_at.lead < needed:
            yield (
                f"predict_at: Before({pipeline.predict_at.lead}) is later than the tick that scores the row, up to "
                f"{needed} before {pipeline.entity_table.time!r}, and features of a later moment are not there yet. "
                f"Use AtTick() or a lead of at least {needed}"
            )


def _training(pipeline: Pipeline) -> Iterator[str]:
    split, known = pipeline.split, set(pipeline.feature_names)
    for name in ("validation", "test"):
        if getattr(split, name) < timedelta(days=1):
            yield f"split.{name} {getattr(split, name)} must be at least one day"
    if split.gap < pipeline.label.delay:
        yield (
            f"split.gap {split.gap} is shorter than label.delay {pipeline.label.delay}: the last training labels would not "
            "have been known when the next window begins"
        )
    if split.train is not None and split.train < timedelta(days=1):
        yield f"split.train {split.train} must be at least one day"
    for where, names in (("model.categorical", pipeline.model.categorical), ("fallback.by", pipeline.fallback.by)):
        for name in names:
            if name not in known:
                yield f"{where}: {name!r} is not a feature; features are {_listed(known)}"
    model = pipeline.model
    for name in ("learning_rate", "max_trees", "early_stopping_rounds", "min_data_in_leaf"):
        if getattr(model, name) <= 0:
            yield f"model.{name} {getattr(model, name)} must be positive"
    if model.num_leaves < 2:
        yield f"model.num_leaves {model.num_leaves} must be at least 2"
    for name in ("feature_fraction", "bagging_fraction"):
        if not 0 < getattr(model, name) <= 1:
            yield f"model.{name} {getattr(model, name)} must lie in (0, 1]"
    if model.threads is not None and model.threads < 1:
        yield f"model.threads {model.threads} must be at least 1"
    if pipeline.fallback.smoothing <= 0:
        yield f"fallback.smoothing {pipeline.fallback.smoothing} must be positive"
    if not pipeline.gates:
        yield "gates: declare at least one; a model without a gate cannot be promoted"
    value = pipeline.value
    if value.true_positive <= value.false_negative or value.true_negative <= value.false_positive:
        yield "value: acting must pay when it is right and cost when it is wrong, compared with not acting"


def _monitoring(pipeline: Pipeline) -> Iterator[str]:
    yield from _repeated("watches", (watch.what for watch in pipeline.watches))
    yield from _repeated("rules", (rule.name for rule in pipeline.rules))
    watched = {watch.what for watch in pipeline.watches}
    for watch in pipeline.watches:
        if watch.low is None and watch.high is None:
            yield f"watch {watch.what!r}: declare low, high or both"
        if watch.low is not None and watch.high is not None and watch.low >= watch.high:
            yield f"watch {watch.what!r}: low {watch.low} is not below high {watch.high}"
    for rule in pipeline.rules:
        if rule.watch not in watched:
            yield f"rule {rule.name!r}: {rule.watch!r} has no bounds; declare Watch({rule.watch!r}, ...)"
        if not 1 <= rule.breaches <= rule.of:
            yield f"rule {rule.name!r}: breaches {rule.breaches} must lie between 1 and of={rule.of}"
    if pipeline.retraining.cooldown < timedelta(0):
        yield "retraining.cooldown may not be negative"


def _repeated(where: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{where}: {name!r} is declared {times} times"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
