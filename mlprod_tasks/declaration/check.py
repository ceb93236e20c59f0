"""Rules between the parts of a declaration; what one field alone may hold, its type says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.check_features import (
    feature_problems,
    mentioned,
    pair_problems,
    resting_on_other_rows,
    sql_problems,
)
from mlprod_tasks.declaration.check_tables import IDENTIFIER, connection_problems, listed, repeated, table_problems
from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, SHARES, AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion
from mlprod_tasks.declaration.target import Before

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
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
    if not pipeline.doc.strip():
        yield "doc is empty: say in one line what is predicted, and for whom"
    if not pipeline.alert_to:
        yield "alert_to names nobody: give at least one mail address"
    for address in pipeline.alert_to:
        if not ADDRESS.fullmatch(address):
            yield f"alert_to: {address!r} is not one mail address such as 'ops@example.com'"
    if not 0 < pipeline.top_share < 1:
        yield f"top_share {pipeline.top_share} must lie between 0 and 1"
    yield from repeated("tables", (table.name for table in pipeline.tables))
    for table in pipeline.tables:
        yield from table_problems(table)
    if pipeline.entity not in {table.name for table in pipeline.tables}:
        yield f"entity {pipeline.entity!r} is not a declared table; declared are {listed(t.name for t in pipeline.tables)}"
        return  # what follows is about the entity's columns
    if pipeline.entity_table.time is None:
        yield f"entity {pipeline.entity!r} is a reference table: declare the `time` column that places its rows in ticks"
    yield from repeated("features", pipeline.feature_names)
    for feature in pipeline.features:
        yield from feature_problems(pipeline, feature)
    yield from _label(pipeline)
    yield from _training(pipeline)
    yield from _gates(pipeline)
    yield from _monitoring(pipeline)
    yield from _publish(pipeline)


def _label(pipeline: Pipeline) -> Iterator[str]:
    label = pipeline.label
    table = next((table for table in pipeline.tables if table.name == label.table), None)
    if table is None:
        yield f"label: table {label.table!r} is not declared; declared are {listed(t.name for t in pipeline.tables)}"
        return
    yield from pair_problems("label", label.on, pipeline.entity_table, table)
    if set(label.on.values()) != set(table.key):
        yield f"label: `on` must match the whole key {table.key} of {table.name!r}, else rows would multiply"
    yield from sql_problems("label", label.sql, table)
    if table.time is None:
        yield f"label: table {table.name!r} has no time column, so nobody can say when an outcome was known"
    if table.ticks_ahead and not any(column.known_at for column in mentioned(label.sql, table)):
        yield f"label: table {table.name!r} is known ahead (ticks_ahead): declare known_at of the columns with the outcome"
    if label.delay <= timedelta(0):
        yield "label: delay must be positive: an outcome that is known at predict_at need not be predicted"
    if isinstance(pipeline.predict_at, Before):
        needed = pipeline.entity_table.ticks_ahead * LONGEST_TICK
        if not needed:
            yield (
                f"predict_at: Before(...) needs rows that are known ahead, but {pipeline.entity!r} declares no ticks_ahead. "
                "Use AtTick(), or declare ticks_ahead"
            )
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
                yield f"{where}: {name!r} is not a feature; features are {listed(known)}"
    for name in sorted(resting_on_other_rows(pipeline)):
        if name in pipeline.fallback.by:
            yield f"fallback.by: {name!r} rests on as-of or trailing values, which the fallback must do without"
    if not pipeline.fallback.by:
        yield "fallback.by names no feature: give at least one whose groups differ"
    model = pipeline.model
    for name in ("learning_rate", "max_trees", "early_stopping_rounds", "min_data_in_leaf"):
        if getattr(model, name) <= 0:
            yield f"model.{name} {getattr(model, name)} must be positive"
    if model.num_leaves < 2:
        yield f"model.num_leaves {model.num_leaves} must be at least 2"
    for name in ("feature_fraction", "bagging_fraction"):
        if not 0 < getattr(model, name) <= 1:
            yield f"model.{name} {getattr(model, name)} must lie in (0, 1]"
    if model.lambda_l2 < 0:
        yield f"model.lambda_l2 {model.lambda_l2} may not be negative"
    if model.threads is not None and model.threads < 1:
        yield f"model.threads {model.threads} must be at least 1"
    if pipeline.fallback.smoothing <= 0:
        yield f"fallback.smoothing {pipeline.fallback.smoothing} must be positive"
    value = pipeline.value
    if value.true_positive <= value.false_negative or value.true_negative <= value.false_positive:
        yield "value: acting must pay when it is right and cost when it is wrong, compared with not acting"


def _gates(pipeline: Pipeline) -> Iterator[str]:
    if not pipeline.gates:
        yield "gates: declare at least one; a model without a gate cannot be promoted"
    yield from repeated("gates", (f"{type(gate).__name__}({gate.metric!r})" for gate in pipeline.gates))
    for gate in pipeline.gates:
        at, higher = f"gate {type(gate).__name__}({gate.metric!r})", HIGHER_IS_BETTER[gate.metric]
        match gate:
            case AtLeast() | AtMost():
                if isinstance(gate, AtLeast) != higher:
                    yield f"{at}: {'higher' if higher else 'lower'} is better: use {'AtLeast' if higher else 'AtMost'}"
                if gate.metric in SHARES and not 0 <= gate.bound <= 1:
                    yield f"{at}: bound {gate.bound} is outside of [0, 1], where the metric lies"
            case BetterThanBaseline():
                if gate.by < 0:
                    yield f"{at}: by {gate.by} may not be negative: that would let a worse model pass"
            case NotWorseThanChampion():
                if gate.tolerance < 0:
                    yield f"{at}: tolerance {gate.tolerance} may not be negative"


def _monitoring(pipeline: Pipeline) -> Iterator[str]:
    yield from repeated("watches", (watch.what for watch in pipeline.watches))
    yield from repeated("rules", (rule.name for rule in pipeline.rules))
    watched = {watch.what for watch in pipeline.watches}
    for watch in pipeline.watches:
        if watch.low is None and watch.high is None:
            yield f"watch {watch.what!r}: declare low, high or both"
        if watch.only_important and watch.what not in ("feature_psi", "null_share"):
            yield f"watch {watch.what!r}: only_important is for 'feature_psi' and 'null_share', which look at single features"
        if watch.low is not None and watch.high is not None and watch.low >= watch.high:
            yield f"watch {watch.what!r}: low {watch.low} is not below high {watch.high}"
    yield from sql_problems("kpi", pipeline.kpi.sql, None)
    for rule in pipeline.rules:
        if rule.watch not in watched:
            yield f"rule {rule.name!r}: {rule.watch!r} has no bounds; declare Watch({rule.watch!r}, ...)"
        if not 1 <= rule.breaches <= rule.of:
            yield f"rule {rule.name!r}: breaches {rule.breaches} must lie between 1 and of={rule.of}"
    if pipeline.retraining.cooldown < timedelta(0):
        yield "retraining.cooldown may not be negative"


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
