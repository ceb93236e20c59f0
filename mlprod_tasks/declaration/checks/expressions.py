"""Rules of the names that an expression reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.feature import Expression, names_of

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

# The engine does not read a column of these names without quotes. A test compares them with the engine's own.
WORDS_OF_SQL = {
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at", "authorization",
    "binary", "both", "by", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint",
    "create", "cross", "default", "deferrable", "desc", "describe", "distinct", "do", "else", "end", "except", "false",
    "fetch", "for", "foreign", "freeze", "from", "full", "glob", "group", "having", "ilike", "in", "initially", "inner",
    "intersect", "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like", "limit", "natural", "not",
    "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps", "pivot", "pivot_longer", "pivot_wider",
    "placing", "positional", "primary", "qualify", "references", "returning", "right", "select", "semi", "show", "similar",
    "some", "summarize", "symmetric", "table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "unpack",
    "unpivot", "using", "variadic", "verbose", "when", "where", "window", "with",
}  # fmt: skip
# Words of the engine that stand where a name could, in expressions that are often written: parsing these would be slow.
COMMON_WORDS = WORDS_OF_SQL | {
    "between", "bigint", "boolean", "date", "day", "days", "dow", "double", "doy", "epoch", "float", "hour", "hours", "integer",
    "interval", "isodow", "microsecond", "millisecond", "minute", "minutes", "month", "months", "quarter", "second", "seconds",
    "text", "time", "timestamp", "timestamptz", "varchar", "week", "weeks", "year", "years", "zone",
}  # fmt: skip
TEXT_IN_SQL = re.compile(r"'(?:[^']|'')*'")
NAME = re.compile(r"[A-Za-z_]\w*(?!\w|\s*\()")


def names_read_problems(pipeline: Pipeline, feature: Expression) -> Iterator[str]:
    """An expression that reads itself, one that is declared after it, or a name that there is not."""
    at = f"Expression {feature.name!r}"
    entity = pipeline.entity_table
    words = {word.lower() for word in NAME.findall(TEXT_IN_SQL.sub("", feature.sql))}
    before = {one.name for one in _expressions(pipeline, feature)}
    later = {one.name for one in pipeline.features if isinstance(one, Expression)} - before - set(entity.names)
    known = {*entity.names, "tick", "predict_at", *(name for one in pipeline.features for name in names_of(one))}
    # A word may also be a part of a time, a type or a function's argument by name: the parser tells, but takes time to load.
    read = _columns(feature.sql) if words & later or words - known - COMMON_WORDS else set()
    for name in sorted(read & later):
        if name == feature.name:
            yield f"{at} reads itself"
        else:
            yield f"{at} reads {name!r}, an expression that is declared after it: declare {name!r} first"
    for name in sorted(read - known):
        close = get_close_matches(name, known, 1)
        meant = f"did you mean {close[0]!r}?" if close else f"there are {listed(sorted(known - {'tick'}))}"
        yield f"{at} reads {name!r}, which is neither a column of {entity.name!r} nor a feature: {meant}"


def _expressions(pipeline: Pipeline, until: Expression) -> Iterator[Expression]:
    """The expressions that are declared before one."""
    for feature in pipeline.features:
        if feature is until:
            return
        if isinstance(feature, Expression):
            yield feature


def _columns(sql: str) -> set[str]:
    """The columns that the SQL reads; none if it cannot be parsed, which `mlprod doctor` tells."""
    from sqlglot import exp, parse_one  # imported here because it takes time to load
    from sqlglot.errors import SqlglotError

    try:
        node = parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return set()
    parameters = {name.name.lower() for one in node.find_all(exp.Lambda) for name in one.expressions}
    return {column.parts[0].name.lower() for column in node.find_all(exp.Column)} - parameters
