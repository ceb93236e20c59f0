"""Rules of a use case whose scored table has no time, and of tables that have snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.features import mentioned
from mlprod_tasks.declaration.checks.tables import listed, repeated
from mlprod_tasks.declaration.feature import AsOf, Expression, Trailing
from mlprod_tasks.declaration.gate import KpiAtLeast, KpiAtMost
from mlprod_tasks.declaration.outcome import Happens, Outcome
from mlprod_tasks.declaration.split import Measured, RowSplit, Split, SplitByColumn, SplitByHash
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.declaration.target import AtTick

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline
    from mlprod_tasks.declaration.table import Table

KINDS_OF_PARTS = ("text", "int", "bool")


def snapshot_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules that such a use case breaks; and that others break which use what belongs to it."""
    entity = pipeline.entity_table
    for table in pipeline.tables:
        if table.snapshots and (table.name != pipeline.entity_name or table.time != AS_OF):
            yield f"table {table.name!r}: snapshots are of a scored table without a `time`, and set for it: leave them out"
    if entity.dated_by is not None:
        yield from _dated(pipeline, entity, entity.dated_by)
    if not entity.snapshots:
        if not isinstance(pipeline.split, Split):
            yield (
                f"split: {type(pipeline.split).__name__} is for a scored table without a time, and {entity.name!r} has one: "
                "declare Split, whose test is later than its training, which proves more"
            )
        return
    at = f"table {entity.name!r}, which has no `time` and is scored"
    if [column.name for column in entity.columns].count(AS_OF) > 1:
        yield (
            f"{at}: the name of column {AS_OF!r} is that of the moment of a tick: give another, as in Column('row_{AS_OF}', "
            f"source={AS_OF!r}, ...), or declare time={AS_OF!r}"
        )
    if isinstance(pipeline.split, Split):
        yield f"split: {at}, has no windows in time: declare SplitByHash() or SplitByColumn(...), or its `time`"
    elif isinstance(pipeline.split, SplitByColumn):
        yield from _by_column(pipeline.split, entity)
    else:
        yield from _by_hash(pipeline.split, entity)
    yield from _label(pipeline, entity)
    yield from _reads(pipeline, entity)
    yield from _needs_time(pipeline)


def _dated(pipeline: Pipeline, entity: Table, day: str) -> Iterator[str]:
    for feature in pipeline.features:
        if isinstance(feature, Expression) and entity.time in {column.name for column in mentioned(feature.sql, entity)}:
            yield f"feature {feature.name!r} reads {entity.time!r}, which is the start of {day!r}: read {day!r} itself"


def _by_column(split: SplitByColumn, entity: Table) -> Iterator[str]:
    at = f"split: SplitByColumn {split.column!r}"
    if split.column not in entity.names:
        yield f"{at}: not a column of {entity.name!r}; it has {listed(entity.names)}"
    elif (column := entity.column(split.column)).personal or column.kind not in KINDS_OF_PARTS:
        yield f"{at}: must be {listed(KINDS_OF_PARTS)} and not personal, but is {column.kind}"
    else:
        python = {"text": str, "int": int, "bool": bool}[column.kind]
        for part, values in split.parts.items():
            for value in values:
                if type(value) is not python:
                    yield f"{at}: {part} has {value!r}, but the column is {column.kind}"
                elif column.values is not None and value not in column.values:
                    yield f"{at}: {part} has {value!r}, which is none of the column's values: {listed(map(str, column.values))}"
    for part, values in split.parts.items():
        if not values:
            yield f"{at}: {part} names no value: its rows are told by at least one"
    yield from repeated(at, map(str, (*split.train, *split.validation, *split.test)))


def _by_hash(split: SplitByHash, entity: Table) -> Iterator[str]:
    at = "split: SplitByHash"
    for part in ("validation", "test"):
        if not 0 < getattr(split, part) < 1:
            yield f"{at}: {part} {getattr(split, part):g} must be a share of the keys between 0 and 1"
    if split.validation + split.test >= 1:
        yield f"{at}: validation and test together are {split.validation + split.test:g}: leave keys to train on"
    yield from repeated(f"{at}: by", split.by)
    for name in split.by:
        if name not in entity.names:
            yield f"{at}: by {name!r} is not a column of {entity.name!r}; it has {listed(entity.names)}"
        elif entity.column(name).nullable or entity.column(name).personal == "drop" or name == AS_OF:
            yield f"{at}: by {name!r} may be neither nullable nor dropped, nor the moment of the tick"


def _label(pipeline: Pipeline, entity: Table) -> Iterator[str]:
    label = pipeline.label
    moment = label.of.column if isinstance(label, Outcome) and isinstance(label.of, Happens) else ""
    if isinstance(label, Outcome) or label.table != entity.name or set(label.on.items()) != {(key, key) for key in entity.key}:
        yield (
            f"label: rows of {entity.name!r} have no time, so nothing tells what came later: the outcome must be a column of "
            "the row itself, as in Label(sql=\"churned = 'yes'\", ...)"
            + (f". To predict {moment!r}, score a Population of the keys that are seen in a table of events" if moment else "")
        )
        return
    read = list(mentioned(label.sql, entity))
    if read and not any(column.nullable for column in read):
        yield (
            f"label: sql {label.sql!r} reads {listed(column.name for column in read)}, which may not be missing; rows to score "
            "are those without an outcome: declare it with nullable=True"
        )


def _reads(pipeline: Pipeline, entity: Table) -> Iterator[str]:
    of_label = set() if isinstance(pipeline.label, Outcome) else {c.name for c in mentioned(pipeline.label.sql, entity)}
    for feature in pipeline.features:
        if isinstance(feature, Trailing | AsOf) and feature.table == entity.name:
            yield (
                f"{type(feature).__name__} of {entity.name!r}: its rows say how something is at a tick, they are no events. "
                "Declare a table of events, or the `time` of these rows"
            )
        if not isinstance(feature, Expression):
            continue
        read = {column.name for column in mentioned(feature.sql, entity)}
        if outcomes := read & of_label:
            yield (
                f"feature {feature.name!r} reads {listed(outcomes)}, which the label reads: rows to score have no value there. "
                "Leave it out"
            )
        if AS_OF in read:
            yield f"feature {feature.name!r} reads {AS_OF!r}, which is the same for all rows of a training: leave it out"


def _folds(what: str, split: RowSplit, wanted: int, measured: Measured) -> Iterator[str]:
    """Folds that do not fit into the rows. A split without sound parts is refused by itself."""
    sound = all(split.parts.values()) if isinstance(split, SplitByColumn) else split.test > 0 and split.validation > 0
    if sound and wanted > (most := split.most_folds(measured)):
        twice = (
            "each needs other values of `train`, and some must be left to train on"
            if isinstance(split, SplitByColumn)
            else f"with more of them, keys would be in the {measured} part twice"
        )
        yield f"{what}: rows split {split.words} have at most {most}: {twice}"


def _needs_time(pipeline: Pipeline) -> Iterator[str]:
    """What compares earlier rows with later ones."""
    why = f"needs rows of several ticks, and {pipeline.entity_name!r} has no time"
    model, search = pipeline.model, pipeline.model.search
    split, backtest = pipeline.split, pipeline.backtest
    if backtest is not None and backtest.step is not None:
        yield f"backtest.step: it {why}: leave it out"
    if backtest is not None and not isinstance(split, Split):
        yield from _folds(f"backtest: {backtest.windows} windows", split, backtest.windows, "test")
    if model.half_life is not None:
        yield f"model.half_life {why}: leave it out"
    if model.warm_update:
        yield f"model.warm_update {why}: leave it out"
    if search is not None and search.folds > 1 and not isinstance(split, Split):
        yield from _folds(f"model.search: folds={search.folds}", split, search.folds, "validation")
    for gate in pipeline.gates:
        if isinstance(gate, KpiAtLeast | KpiAtMost) and gate.worst_week is not None:
            yield f"gate {type(gate).__name__}: worst_week {why}: leave it out"
    if not isinstance(pipeline.predict_at, AtTick):
        yield "predict_at: its rows are scored at their tick: leave predict_at out"
