"""The finished feature table: expressions over joined rows, where a row that cannot be computed fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Expression, Pipeline
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.features.known import FAILED, TYPES
from mlprod_tasks.platform.failed_values import VALUE_FAILED, tried, trying_each
from mlprod_tasks.platform.sql import identifier, literal


def table(
    pipeline: Pipeline, wanted: Sequence[str], connection: duckdb.DuckDBPyConnection
) -> tuple[pa.Table, Mapping[int, str]]:
    """Finish the rows of the relation `known`.

    Returns: the features, and for each row with an expression that fails its position and the feature, which is null there.
    """
    try:
        return connection.sql(_sql(pipeline, wanted)).to_arrow_table(), {}
    except VALUE_FAILED as error:
        with trying_each(connection, error):
            rows = connection.sql(_sql(pipeline, wanted, alone=True)).to_arrow_table()
    failed = rows[FAILED].combine_chunks()
    places = pc.indices_nonzero(failed.is_valid())
    return rows.drop_columns([FAILED]), dict(zip(places.to_pylist(), failed.take(places).to_pylist(), strict=True))


def copy(pipeline: Pipeline, wanted: Sequence[str], file: Path, connection: duckdb.DuckDBPyConnection) -> int:
    """Write what `table` returns to a Parquet file, without the rows that fail. Returns the number of rows written."""
    try:
        copied = f"COPY ({_sql(pipeline, wanted)}) TO {literal(str(file))} (FORMAT parquet)"
        ((rows,),) = connection.execute(copied).fetchall()
        return int(rows)
    except VALUE_FAILED as error:
        good = f"SELECT * EXCLUDE ({FAILED}) FROM ({_sql(pipeline, wanted, alone=True)}) WHERE {FAILED} IS NULL"
        with trying_each(connection, error):
            rows = connection.sql(good).to_arrow_table()
        connection.register("_finished", rows)
        connection.execute(f"COPY _finished TO {literal(str(file))} (FORMAT parquet)")
        return int(rows.num_rows)


def _sql(pipeline: Pipeline, wanted: Sequence[str], alone: bool = False) -> str:
    """SQL of the finished features.

    alone: an expression that fails for a row is null there, and the column `_failed` names it. That is slower.
    """
    entity = pipeline.entity_table
    needed = _with_read(pipeline, wanted)
    columns = {name: identifier(name) for name in (*entity.key, entity.time, "tick", "predict_at") if name is not None}
    tries: dict[str, str] = {}
    for feature in pipeline.features:
        for name in names_of(feature):
            if name not in needed or name in columns:
                continue
            columns[name] = identifier(name)
            if isinstance(feature, Expression):
                value = f"CAST({feature.sql} AS {TYPES[feature.kind]})"
                if alone:
                    tries[name] = f"_try_{len(tries)}"
                    columns[name] = tried(value, name, tries[name])
                else:
                    columns[name] = f"{value} AS {identifier(name)}"
    computed = f"SELECT {', '.join(columns.values())} FROM known"
    shown = [identifier(name) for name in columns if name in wanted or name not in needed]
    if not alone:
        return computed if len(shown) == len(columns) else f"SELECT {', '.join(shown)} FROM ({computed})"
    first = " ".join(f"WHEN {struct} IS NULL THEN {literal(name)}" for name, struct in tries.items())
    return f"SELECT {', '.join(shown)}, CASE {first} END AS {FAILED} FROM ({computed})"


def _with_read(pipeline: Pipeline, wanted: Sequence[str]) -> set[str]:
    """The wanted features and the expressions that they read, which are declared before them."""
    needed = set(wanted)
    expressions = [feature for feature in pipeline.features if isinstance(feature, Expression)]
    for feature in reversed(expressions):
        if feature.name in needed:
            needed |= {one.name for one in expressions} & words_in(feature.sql)
    return needed
