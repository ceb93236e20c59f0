"""Rules of the SQL in a declaration: that it can be read, the columns that it names, the type that it gives."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.aggregate import Rate
from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.duckdb_functions import FUNCTIONS, MEANT, SYNTAX
from mlprod_tasks.declaration.feature import Expression, Trailing
from mlprod_tasks.declaration.outcome import Outcome
from mlprod_tasks.declaration.table import Table
from mlprod_tasks.declaration.target import PredictionValue, ValueFunction

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

TYPES = {"int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR", "bool": "BOOLEAN", "timestamp": "TIMESTAMPTZ", "date": "DATE"}
CONDITION, NUMBER, ANYTHING = "a condition that is true or false", "a number", ""
MODULE = re.compile(r"\b(np|numpy|math|pd|df|pandas)\.$")
RULES = "3"  # changes with the rules of this file: what was read under others is read again


@dataclass(frozen=True)
class _Written:
    """A piece of SQL.

    known: the kinds of the columns that it may read. of: the table that has them; '': it may also read others. wanted: what it
    must give.
    """

    at: str
    sql: str
    known: Mapping[str, str]
    of: str
    wanted: str


def unread_sql(pipeline: Pipeline, path: Path) -> list[str]:
    """What is wrong with the SQL of a pipeline file.

    Reading it takes a parser, which takes time to load: that it was right is remembered beside the file's compiled code, until
    the declaration changes.
    """
    right = hashlib.sha256(f"{pipeline.digest} {version('sqlglot')} {RULES}".encode()).hexdigest()
    remembered = path.parent / "__pycache__" / f"{path.stem}.sql-{sys.implementation.cache_tag}"
    with suppress(OSError, ValueError):
        if remembered.read_text(encoding="ascii") == right:
            return []
    problems = [problem for one in _written(pipeline) for problem in _problems(one)]
    if not problems:
        with suppress(OSError):
            remembered.parent.mkdir(exist_ok=True)
            remembered.write_text(right, encoding="ascii")
    return problems


def _written(pipeline: Pipeline) -> Iterator[_Written]:
    """All SQL of a declaration."""
    tables = {table.name: table for table in pipeline.tables}
    label, value, population = pipeline.label, pipeline.value, pipeline.population
    if isinstance(label, Outcome):
        if label.of.where:
            yield _of_table(f"label: Outcome of {label.table!r}: where", label.of.where, tables[label.table])
    else:
        wanted = {"yes_no": CONDITION, "number": NUMBER}.get(label.kind, ANYTHING)
        yield _of_table("label: sql", label.sql, tables[label.table], wanted)
    if population is not None and population.where:
        at = f"entity: Population {population.name!r}: where"
        yield _of_table(at, population.where, tables[population.seen_in])
    for feature in pipeline.features:
        if isinstance(feature, Expression):
            wanted = {"int": NUMBER, "float": NUMBER, "bool": CONDITION}.get(feature.kind, ANYTHING)
            yield _Written(f"Expression {feature.name!r}: sql", feature.sql, _kinds(pipeline.entity_table), "", wanted)
        elif isinstance(feature, Trailing):
            yield from _of_aggregates(feature, tables[feature.table])
    for name, sql in _values(value):
        yield _Written(f"value.{name}", sql, {}, "", NUMBER)
    yield _Written("kpi.sql", pipeline.kpi.sql, {}, "", NUMBER)


def _values(value: Any) -> tuple[tuple[str, str], ...]:
    match value:
        case ValueFunction():
            return (("act", value.act), ("wait", value.wait))
        case PredictionValue():
            return (("sql", value.sql),)
    return ()


def _of_aggregates(feature: Trailing, table: Table) -> Iterator[_Written]:
    for aggregate in feature.aggregates:
        at = f"Trailing {feature.name!r}: {type(aggregate).__name__} {aggregate.called!r}"
        if isinstance(aggregate, Rate):
            yield _of_table(f"{at}: sql", aggregate.sql, table)
        if aggregate.where:
            yield _of_table(f"{at}: where", aggregate.where, table)


def _of_table(at: str, sql: str, table: Table, wanted: str = CONDITION) -> _Written:
    return _Written(at, sql, _kinds(table), table.name, wanted)


def _kinds(table: Table) -> dict[str, str]:
    return {column.name: column.kind for column in table.columns}


def _problems(written: _Written) -> Iterator[str]:
    from sqlglot import exp, parse_one  # imported here because it takes time to load
    from sqlglot.errors import SqlglotError

    at, sql = written.at, written.sql
    try:
        node = parse_one(f"({sql})", dialect="duckdb")
    except SqlglotError as error:
        found = getattr(error, "errors", None) or [{}]
        near = found[0].get("highlight")
        where = f", near {near!r}" if near else ""
        yield f'{at} {sql!r} is no SQL that can be read{where}: write one expression, as in "x > 0"'
        return
    if problems := list(_unknown_functions(at, sql)):
        yield from problems
        return
    if isinstance(node, exp.Subquery) and node.find(exp.Table):
        yield f"{at} {sql!r} is a query: write the expression alone, which is computed for each row"
    if node.find(exp.Select):
        return  # over a list's values, whose names are its own
    parameters = {name.name.lower() for one in node.find_all(exp.Lambda) for name in one.expressions}
    read = {column.parts[0].name: column.parts[0].args.get("quoted") for column in node.find_all(exp.Column)}
    if written.of:
        unknown = {name: quoted for name, quoted in read.items() if name.lower() not in {*written.known, *parameters}}
        yield from (_unknown(written, name, bool(quoted)) for name, quoted in unknown.items())
        if unknown:
            return
    yield from _type_problems(written, node)


def _unknown_functions(at: str, sql: str) -> Iterator[str]:
    """Functions and operators of other languages that the engine does not have."""
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.tokenizer_core import TokenType

    tokens = DuckDB().tokenize(sql)
    for before, token, after in zip([None, *tokens[:-1]], tokens, [*tokens[1:], None], strict=True):
        if token.token_type == TokenType.DAMP:
            yield f"{at} {sql!r}: && is for lists: write AND, and OR for ||"
        a_name = token.token_type in (TokenType.VAR, TokenType.ISNULL, TokenType.NOTNULL)
        called = a_name and after is not None and after.token_type == TokenType.L_PAREN
        name = token.text.lower()
        if not called or name in SYNTAX:
            continue
        if name not in FUNCTIONS:
            meant = MEANT.get(name) or next(iter(get_close_matches(name, FUNCTIONS, 1)), None)
            remedy = f"did you mean {meant}?" if meant else "DuckDB's functions are there"
            yield f"{at} {sql!r} calls {token.text!r}, which is no function of DuckDB: {remedy}"
        elif before is not None and before.token_type == TokenType.DOT and MODULE.search(sql[: token.start]):
            yield f"{at} {sql!r} calls a function of a Python module: write SQL, as in {token.text}(...)"


def _unknown(written: _Written, name: str, quoted: bool) -> str:
    known: Collection[str] = written.known
    close = get_close_matches(name.lower(), known, 1)
    if close:
        remedy = f"did you mean {close[0]!r}?"
    elif quoted:
        remedy = f"a text is written in single quotes, as in '{name}'"
    else:
        remedy = f"it has {listed(known)}"
    return f"{written.at} {written.sql!r} reads {name!r}, which is no column of {written.of!r}: {remedy}"


def _type_problems(written: _Written, node: Any) -> Iterator[str]:
    """A value of another type than is wanted, where the columns' types tell."""
    from sqlglot import exp
    from sqlglot.optimizer.annotate_types import annotate_types

    if not written.wanted:
        return
    for column in list(node.find_all(exp.Column)):
        column.set("table", exp.to_identifier("t"))
    types = {name: TYPES[kind] for name, kind in written.known.items()}
    selected = exp.select(exp.alias_(node, "v")).from_("t")
    typed: Any = annotate_types(selected, schema={"t": types or {"_": "INT"}}, dialect="duckdb").selects[0]
    kind = typed.type and typed.type.this
    # Not of times: the parser takes the difference of two dates for one.
    told = NUMBER if kind in exp.DataType.NUMERIC_TYPES else "a text" if kind in exp.DataType.TEXT_TYPES else ""
    told = CONDITION if kind == exp.DataType.Type.BOOLEAN else told
    # A feature's condition may be a number, and the other way round: both are cast.
    if not told or told == written.wanted or (not written.of and {told, written.wanted} == {CONDITION, NUMBER}):
        return
    remedy = f"compare it, as in {written.sql} > 0" if told == NUMBER else f"derive {written.wanted} from it"
    yield f"{written.at} {written.sql!r} gives {told}, not {written.wanted}: {remedy}"
