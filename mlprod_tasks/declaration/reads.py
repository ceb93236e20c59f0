"""The columns that declared SQL reads, and the moment from which their values are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mlprod_tasks.declaration.aggregate import Aggregate, Count, MeanGap, Rate, SinceFirst, SinceLast
from mlprod_tasks.declaration.feature import AsOf, Expression, Feature, Lookup, Trailing, names_of
from mlprod_tasks.declaration.table import Column, Table


def late_columns(table: Table, *sql: str) -> tuple[str, ...]:
    """The `known_at` columns of the late columns that the SQL reads, sorted."""
    return tuple(sorted({column.known_at for column in read_by(table, *sql) if column.known_at}))


def taken_from(aggregate: Aggregate) -> str:
    """All SQL that an aggregate reads: its values and its condition; '' for a count of all rows."""
    match aggregate:
        case Count() | SinceFirst() | SinceLast() | MeanGap():
            return aggregate.where
        case Rate():
            return f"{aggregate.sql} {aggregate.where}"
    return f"{aggregate.column} {aggregate.where}"


def words_in(*sql: str) -> set[str]:
    """All words of SQL in lower case, also those in texts: possibly too many names, never too few."""
    return {word.lower() for text in sql for word in re.findall(r"\w+", text)}


def resting_on(names: Iterable[str], features: Iterable[Feature]) -> set[str]:
    """These names, and those of the expressions that read one of them, also through other expressions."""
    resting = set(names)
    for feature in features:  # an expression reads only expressions that are declared before it
        if isinstance(feature, Expression) and resting & words_in(feature.sql):
            resting.add(feature.name)
    return resting


def resting_on_other_rows(features: Sequence[Feature]) -> set[str]:
    """The features that depend on rows of other ticks: as-of, trailing, and expressions over them."""
    joined = {name for feature in features if isinstance(feature, AsOf | Trailing) for name in names_of(feature)}
    return resting_on(joined, features)


def read_by(table: Table, *sql: str) -> list[Column]:
    """The columns of `table` whose names occur in the SQL; possibly too many, never too few."""
    words = words_in(*sql)
    return [column for column in table.lake_columns if column.name in words]


def needed_by(entity: Table, features: Iterable[Feature]) -> frozenset[str]:
    """The columns of the scored row that features read, including its key and its time."""
    needed = {*entity.key, *([entity.time] if entity.time else [])}
    for feature in features:
        match feature:
            case Expression():
                needed |= {column.name for column in read_by(entity, feature.sql)}
            case Lookup() | AsOf():
                needed |= set(feature.on)
            case Trailing():
                needed |= set(feature.by)
    return frozenset(needed)
