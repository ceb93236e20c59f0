"""Compute the declared expressions of one row, compiled or by DuckDB.

An expression is compiled if its results equal DuckDB's bit for bit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlprod_tasks.declaration import AsOf, AtTick, Column, Expression, Lookup, Pipeline, Trailing
from mlprod_tasks.declaration.feature import kinds_of
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.online.duckdb_semantics import Unsure, ValueFailed
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.tick_columns import sql_type

log = logging.getLogger(__name__)
TYPES = {
    "int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR", "bool": "BOOLEAN", "timestamp": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
}  # fmt: skip
# How a value of a row (microseconds, days) is turned back into a column.
PARAMETERS = {
    "TIMESTAMP WITH TIME ZONE": "make_timestamptz(CAST({} AS BIGINT))",
    "DATE": "(DATE '1970-01-01' + CAST({} AS INTEGER))",
}


class Computed(NamedTuple):
    """The value of every expression of a row, None for those that cannot be computed.

    failed: the first of these in the order of the declaration; '' if there is none.
    """

    values: dict[str, Any]
    failed: str = ""


class Expressions:
    """All expressions of a use case.

    `by_duckdb`: expressions that are not compiled, with the reason: their results are correct, but take some 100 times longer.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        import duckdb

        from mlprod_tasks.online.compile import Unsupported, compiled
        from mlprod_tasks.online.types import Types

        self.columns = _columns(pipeline)
        self.by_duckdb: dict[str, str] = {}
        self._compiled: list[tuple[str, Any, str, bool]] = []
        self._all = {f.name: f for f in pipeline.features if isinstance(f, Expression)}
        self._pipeline = pipeline
        self._threads = threading.local()
        columns = dict(self.columns)
        zones: dict[str, tuple[list[int], list[int]]] = {}
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, expression in self._all.items():
                words = words_in(expression.sql)
                types = Types(connection, {one: kind for one, kind in columns.items() if one in words}, zones)
                uncompiled = words & set(self.by_duckdb) - set(self.columns)
                try:
                    if uncompiled:
                        raise Unsupported(f"it reads {', '.join(sorted(uncompiled))}, which DuckDB computes")
                    run = compiled(expression.sql, TYPES[expression.kind], types)
                    self._compiled.append((name, run, expression.sql, name not in self.columns))
                except (Unsupported, duckdb.Error) as reason:
                    self.by_duckdb[name] = str(reason).split("\n")[0]
                    log.warning("%s: expression %r is computed by DuckDB: %s", pipeline.name, name, self.by_duckdb[name])
                if name not in self.columns:
                    columns[name] = TYPES[expression.kind]
        self._typed = columns

    @property
    def compiled(self) -> tuple[str, ...]:
        """The names of the compiled expressions."""
        return tuple(name for name, *_ in self._compiled)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all expressions, in the order in which `values` gives them."""
        return (*self.compiled, *self.by_duckdb)

    def values(self, row: dict[str, Any]) -> Computed:
        """The value of every expression.

        An expression that fails for the row (a failed cast, a number out of range, a division by zero) is None, as in batch.

        row: all columns that any expression reads; inputs of later expressions are added.
        """
        values: dict[str, Any] = {}
        failed: set[str] = set()
        for name, run, _, is_input in self._compiled:
            try:
                value = run(row)
            except Unsure:
                value = self._from_duckdb((name,), row, failed)[0]
            except ValueFailed:
                value = None
                failed.add(name)
            values[name] = value
            if is_input:
                row[name] = value
        if self.by_duckdb:
            names = tuple(self.by_duckdb)
            values |= dict(zip(names, self._from_duckdb(names, row, failed), strict=True))
        return Computed(values, next((name for name in self._all if name in failed), "") if failed else "")

    def _from_duckdb(self, names: tuple[str, ...], row: Mapping[str, Any], failed: set[str]) -> Sequence[Any]:
        """Compute expressions with DuckDB, in one statement. Adds to `failed` those that fail."""
        import duckdb

        statement, inputs = self._statement(names)
        given = [row[name] for name in inputs]
        try:
            (values,) = self._connection().execute(statement, given).fetchall()
            return tuple(values)
        except duckdb.Error:
            statement, _ = self._statement(names, alone=True)
        try:
            (tried,) = self._connection().execute(statement, given).fetchall()
        except duckdb.Error as error:  # it has a function that TRY refuses, or an error that TRY does not catch
            log.warning("%s: features %s: %s", self._pipeline.name, ", ".join(names), type(error).__name__)
            tried = (None,) * 2 * len(names)
        failed.update(name for name, struct in zip(names, tried[len(names) :], strict=True) if struct is None)
        return tuple(tried[: len(names)])

    def _statement(self, names: tuple[str, ...], alone: bool = False) -> tuple[str, list[str]]:
        """The statement that computes expressions, and the columns that it reads.

        alone: one that fails does not fail the others; after the values come as many structs, null for those that fail.
        """
        from mlprod_tasks.platform.failed_values import tried

        known: dict[tuple[tuple[str, ...], bool], tuple[str, list[str]]] = self._threads.__dict__.setdefault("statements", {})
        if (names, alone) not in known:
            words = words_in(*(self._all[name].sql for name in names))
            inputs = [name for name in self._typed if name in words and (name not in names or name in self.columns)]
            columns = []
            for i, name in enumerate(inputs, 1):
                kind = self._typed[name]
                columns.append(f'{PARAMETERS.get(kind, f"CAST({{}} AS {kind})").format(f"${i}")} AS "{name}"')
            row = f"(SELECT {', '.join(columns) or 'NULL AS nothing'})"
            values = [(name, f"CAST({self._all[name].sql} AS {TYPES[self._all[name].kind]})") for name in names]
            if alone:
                results = ", ".join(tried(value, name, f"_try_{i}") for i, (name, value) in enumerate(values))
                wanted = ", ".join([*map(identifier, names), *(f"_try_{i}" for i, _ in enumerate(names))])
                statement = f"SELECT {wanted} FROM (SELECT {results} FROM {row})"
            else:
                statement = f"SELECT {', '.join(f'{value} AS {identifier(name)}' for name, value in values)} FROM {row}"
            known[names, alone] = (statement, inputs)
        return known[names, alone]

    def _connection(self) -> Any:
        """This thread's connection: one per thread, so that statements do not wait for each other."""
        if not hasattr(self._threads, "connection"):
            import duckdb

            from mlprod_tasks.platform.failed_values import NOT_SHARED

            connection = duckdb.connect()
            for setting in ("TimeZone = 'UTC'", "autoinstall_known_extensions = false", "threads = 1"):
                connection.execute(f"SET {setting}")
            connection.execute(NOT_SHARED)
            self._threads.connection = connection
        return self._threads.connection


def _columns(pipeline: Pipeline) -> dict[str, str]:
    """Every column that an expression may read, with its type, as in batch features."""
    columns = {column.name: _type(column) for column in pipeline.entity_table.lake_columns if column.known_at is None}
    columns["predict_at"] = TYPES["timestamp"]
    if isinstance(pipeline.predict_at, AtTick):
        columns["tick"] = sql_type(pipeline.schedule)
    for feature in pipeline.features:
        match feature:
            case Lookup() | AsOf():
                table = pipeline.table(feature.table)
                columns |= {name: _type(table.column(column)) for name, column in feature.columns.items()}
            case Trailing():
                kinds = kinds_of(feature, pipeline.table(feature.table))
                columns |= {name: TYPES[kind] for name, kind in kinds.items()}
    return columns


def _type(column: Column) -> str:
    return "VARCHAR" if column.personal == "hash" else TYPES[column.kind]
