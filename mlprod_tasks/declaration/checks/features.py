"""Rules of a feature's declaration: its name, the columns that it may read, and whether it is known in time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.aggregate import (
    Aggregate,
    Count,
    CountDistinct,
    First,
    Last,
    Max,
    MeanGap,
    Min,
    Quantile,
    Rate,
    SinceFirst,
    SinceLast,
)
from mlprod_tasks.declaration.checks.expressions import TEXT_IN_SQL, WORDS_OF_SQL, names_read_problems
from mlprod_tasks.declaration.checks.tables import IDENTIFIER, RESERVED, listed, repeated
from mlprod_tasks.declaration.feature import AsOf, Expression, Feature, Lookup, Trailing, names_of, window_name
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.declaration.table import Column, Table

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

NUMERIC = ("int", "float", "bool")
AGGREGATE = re.compile(
    r"\b(count|sum|avg|mean|min|max|median|mode|stddev\w*|var_\w+|variance|any_value|first|last|bool_and|bool_or|quantile\w*|"
    r"string_agg|array_agg|list|row_number|rank|lag|lead)\s*\(|\bover\s*\(",
    re.IGNORECASE,
)


def feature_problems(pipeline: Pipeline, feature: Feature) -> Iterator[str]:
    """The rules that a feature's declaration breaks."""
    entity = pipeline.entity_table
    yield from _names(feature, entity)
    if isinstance(feature, Expression):
        yield from _expression(f"Expression {feature.name!r}", feature, pipeline)
        return
    named = feature.name if isinstance(feature, Trailing) else next(iter(feature.columns), f"of {feature.table}")
    at = f"{type(feature).__name__} {named!r}"
    table = next((table for table in pipeline.tables if table.name == feature.table), None)
    if table is None:
        yield f"{at}: table {feature.table!r} is not declared; declared are {listed(t.name for t in pipeline.tables)}"
        return
    yield from pair_problems(at, feature.by if isinstance(feature, Trailing) else feature.on, entity, table)
    match feature:
        case Lookup():
            yield from _lookup(at, feature, table)
        case AsOf():
            yield from _as_of(at, feature, table)
        case Trailing():
            yield from _trailing(at, feature, table)


def _names(feature: Feature, entity: Table) -> Iterator[str]:
    for name in names_of(feature):
        if not IDENTIFIER.fullmatch(name):
            yield f"feature {name!r}: name must be lower-case letters, digits and _, starting with a letter"
        if name in RESERVED:
            yield (
                f"feature {name!r}: predictions, training sets or the SQL of values have something else of that name, so it "
                f"is reserved: give another, such as {f'{entity.name}_{name}'!r}"
            )
        elif name in entity.names and not _passes_through(feature, name):
            yield f"feature {name!r}: the name is that of a column of {entity.name!r}: give another"
        if name in entity.key or name == entity.time:
            yield f"feature {name!r}: this is the name of the key or the time of {entity.name!r}: give another"


def _lookup(at: str, feature: Lookup, table: Table) -> Iterator[str]:
    if table.time is not None:
        yield f"{at}: table {table.name!r} has a time column, so its rows change: use AsOf"
    if set(feature.on.values()) != set(table.key):
        yield f"{at}: `on` must match the whole key {table.key} of {table.name!r}, else rows would multiply"
    yield from _read(at, feature.columns.values(), table)
    yield from _taken(at, feature.columns, table)


def _as_of(at: str, feature: AsOf, table: Table) -> Iterator[str]:
    if table.time is None:
        yield f"{at}: table {table.name!r} has no time column: use Lookup"
    if feature.max_age <= timedelta(0):
        yield f"{at}: max_age must be positive"
    elif feature.max_age.microseconds:
        yield f"{at}: max_age {feature.max_age} must be whole seconds"
    yield from _read(at, feature.columns.values(), table)
    yield from _taken(at, feature.columns, table)


def _trailing(at: str, feature: Trailing, table: Table) -> Iterator[str]:
    if table.time is None:
        yield f"{at}: table {table.name!r} has no time column, so it has no windows"
    if not feature.windows:
        yield f"{at}: declare at least one of windows"
    for window in feature.windows:
        if window <= timedelta(0) or window.microseconds:
            yield f"{at}: windows must be positive and whole seconds, which {window} is not"
    yield from repeated(f"{at}: windows", map(window_name, feature.windows))
    if feature.skip < timedelta(0) or feature.skip.microseconds:
        yield f"{at}: skip {feature.skip} must be whole seconds and may not be negative"
    if not feature.aggregates:
        yield f"{at}: declare at least one aggregate"
    for aggregate in feature.aggregates:
        yield from _aggregate(at, aggregate, table)


def _aggregate(at: str, aggregate: Aggregate, table: Table) -> Iterator[str]:
    if aggregate.where:
        yield from condition_problems(f"{at}: where of {type(aggregate).__name__} {aggregate.called!r}", aggregate.where, table)
    match aggregate:
        case Count() | SinceFirst() | SinceLast() | MeanGap():
            return
        case Rate():
            yield from condition_problems(f"{at}: Rate {aggregate.name!r}", aggregate.sql, table)
            return
    name, what = aggregate.column, type(aggregate).__name__
    yield from _read(at, [name], table)
    if name not in table.names:
        return
    kind = table.column(name).kind
    if isinstance(aggregate, Quantile) and not 0 <= aggregate.q <= 1:
        yield f"{at}: q {aggregate.q:g} of Quantile {aggregate.called!r} must lie between 0 and 1"
    if isinstance(aggregate, CountDistinct):
        if kind in ("timestamp", "date"):
            yield f"{at}: {what} of {name!r} is a {kind}: count another column"
    elif isinstance(aggregate, First | Last):
        if kind in ("timestamp", "date"):
            yield f"{at}: {what} of {name!r} is a {kind}, which is not a model input: use SinceFirst or SinceLast"
    elif kind not in NUMERIC or (isinstance(aggregate, Min | Max) and kind == "bool"):
        yield f"{at}: {what} of {name!r} needs a number, but its kind is {kind!r}"


def _expression(at: str, feature: Expression, pipeline: Pipeline) -> Iterator[str]:
    entity = pipeline.entity_table
    yield from row_sql_problems(at, feature.sql, entity)
    yield from names_read_problems(pipeline, feature)
    if (bare := feature.sql.strip()) in WORDS_OF_SQL & set(entity.names):
        yield f"{at}: sql {bare!r} is a word of SQL: write the column in double quotes, sql='\"{bare}\"'"
    if feature.kind in ("timestamp", "date"):
        yield f"{at}: kind {feature.kind!r} is not a model input: derive a number from it"
    for column in mentioned(feature.sql, entity):
        if column.known_at:
            yield (
                f"{at} reads column {column.name!r} of {entity.name!r}, which is known only at "
                f"{column.known_at!r}: it is not known yet when the row is scored"
            )


def _taken(at: str, columns: dict[str, str], table: Table) -> Iterator[str]:
    if not columns:
        yield f"{at}: columns is empty: name each feature and the column that it takes"
    for name in columns.values():
        if name in table.names and table.column(name).kind in ("timestamp", "date"):
            yield f"{at}: column {name!r} is a {table.column(name).kind}, which is not a model input"


def sql_problems(at: str, sql: str, table: Table | None) -> Iterator[str]:
    """The problems that can be found without a parser; `mlprod doctor` lets the engine parse the SQL."""
    bare = TEXT_IN_SQL.sub("", sql)
    if not sql.strip():
        yield f"{at}: sql is empty"
    if ";" in bare or "--" in bare or "/*" in bare:
        yield f"{at}: sql {sql!r} must be one expression, without ; and comments"
    if bare.count("(") != bare.count(")") or "'" in bare:
        yield f"{at}: sql {sql!r} has an open bracket or quote"
    if table is None:
        return
    for column in mentioned(sql, table):
        if column.personal:
            yield f"{at}: reads column {column.name!r} of {table.name!r}, which is personal"


def row_sql_problems(at: str, sql: str, table: Table | None) -> Iterator[str]:
    """As `sql_problems`, of SQL over one row, which may hold no aggregate."""
    yield from sql_problems(at, sql, table)
    if found := AGGREGATE.search(TEXT_IN_SQL.sub("", sql)):
        yield f"{at}: sql {sql!r} aggregates rows by {found[0].rstrip('( ')!r}, but it is computed for each row by itself"


def condition_problems(at: str, sql: str, table: Table) -> Iterator[str]:
    """As `row_sql_problems`, of a condition. `mlprod doctor` finds those whose kind is only known to the engine."""
    yield from row_sql_problems(at, sql, table)
    name = sql.strip().strip('"')
    if name in table.names and (kind := table.column(name).kind) != "bool":
        example = f"{name} = 'yes'" if kind == "text" else f"{name} > 0"
        yield f"{at}: sql {sql!r} is {kind}, not a condition that is true or false: compare it, as in {example}"


def number_problems(at: str, sql: str, table: Table) -> Iterator[str]:
    """As `row_sql_problems`, of a number. `mlprod doctor` finds those whose kind is only known to the engine."""
    yield from row_sql_problems(at, sql, table)
    name = sql.strip().strip('"')
    if name in table.names and (kind := table.column(name).kind) not in ("int", "float"):
        yield f"{at}: sql {sql!r} is {kind}, not a number: derive one from it, or declare kind='yes_no'"


def class_problems(at: str, sql: str, table: Table) -> Iterator[str]:
    """As `row_sql_problems`, of the name of a class. `mlprod doctor` finds those whose kind is only known to the engine."""
    yield from row_sql_problems(at, sql, table)
    name = sql.strip().strip('"')
    if name in table.names and (kind := table.column(name).kind) not in ("text", "int"):
        yield (
            f"{at}: sql {sql!r} is {kind}, and a class is a text or a whole number: derive one from it, as in CASE WHEN ... "
            "THEN 'late' ELSE 'on time' END, or declare another kind"
        )


def mentioned(sql: str, table: Table) -> list[Column]:
    """The columns whose names occur in the SQL; possibly too many, never too few."""
    words = words_in(TEXT_IN_SQL.sub("", sql))
    return [column for column in table.columns if column.name in words]


def _passes_through(feature: Feature, name: str) -> bool:
    """Whether the feature is the entity's column of the same name, unchanged; quoted, if it is a word of SQL."""
    return isinstance(feature, Expression) and feature.sql.strip() in (name, f'"{name}"')


def pair_problems(at: str, pairs: dict[str, str], entity: Table, table: Table) -> Iterator[str]:
    """The problems of matching columns of the scored row with columns of `table`."""
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
            yield f"{at}: reads column {name!r}, which table {table.name!r} does not have; it has {listed(table.names)}"
        elif table.column(name).personal:
            yield f"{at}: reads column {name!r} of {table.name!r}, which is personal"
