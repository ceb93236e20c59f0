"""The SQL of metrics: two numbers of each row, and their sums over the rows of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, UnitMetric
from mlprod_tasks.declaration.experiment import LATER
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.platform.sql import quoted

if TYPE_CHECKING:
    import duckdb


class MetricFailed(ValueError):
    """A metric's SQL cannot be computed for the rows of the use case."""


def later_column(position: int) -> str:
    """The column with what happened later, of the metric at that position."""
    return f"_{LATER}_{position}"


def rows_sql(position: int, metric: UnitMetric, rows: str) -> str:
    """SQL of rows with a metric's two numbers as v<i> and w<i>. What happened later is called so for this metric alone."""
    above, below = f"CAST(({metric.sql}) AS DOUBLE)", f"CAST(({metric.per or '1'}) AS DOUBLE)"
    numbers = f"{above} AS v{position}, {below} AS w{position}"
    if metric.later is None:
        return f"SELECT *, {numbers} FROM ({rows})"
    return f"SELECT * EXCLUDE ({LATER}), {numbers} FROM (SELECT *, {later_column(position)} AS {LATER} FROM ({rows}))"


def sums_sql(position: int, metric: UnitMetric) -> str:
    """SQL of a metric's two sums over rows, as a<i> and b<i>, and of how many rows have one, as n<i>: null counts as 0."""
    known = f"count(v{position})::UINTEGER AS n{position}"
    if metric.of == "proportion":
        # What is no number would be true; it stays what it is, to be refused.
        true = f"CASE WHEN isfinite(v{position}) THEN (v{position} <> 0)::DOUBLE ELSE v{position} - v{position} END"
        return f"max(coalesce({true}, 0)) AS a{position}, 1.0 AS b{position}, {known}"
    below = f"sum(coalesce(w{position}, 0))" if metric.of == "ratio" else "1.0"
    return f"sum(coalesce(v{position}, 0)) AS a{position}, {below} AS b{position}, {known}"


def total_sql(position: int, metric: UnitMetric) -> str:
    """SQL of a unit's sums from those of some of its rows."""
    above, below = "max" if metric.of == "proportion" else "sum", "sum" if metric.of == "ratio" else "max"
    known = f"sum(n{position})::BIGINT AS n{position}"
    return f"{above}(a{position}) AS a{position}, {below}(b{position}) AS b{position}, {known}"


def first_sql(covariates: Sequence[str]) -> list[str]:
    """SQL of what covariates are in the first of some rows, as c<j>, and of that row's tick; nothing without covariates."""
    values = [f"CAST({quoted(name)} AS DOUBLE)" for name in covariates]
    firsts = [f"arg_min(CASE WHEN isfinite({one}) THEN {one} END, tick) AS c{j}" for j, one in enumerate(values)]
    return [*firsts, "min(tick) AS first_tick"] if firsts else []


def failure(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, metrics: Sequence[UnitMetric], kind: str) -> str:
    """Which metrics cannot be computed. The engine's own words would show values of rows."""
    import duckdb

    failed = []
    for i, metric in enumerate(metrics):
        try:
            con.execute(f"SELECT {sums_sql(i, metric)} FROM ({rows_sql(i, metric, 'SELECT * FROM known_rows')})").fetchall()
        except duckdb.Error:
            failed.append(repr(metric.name))
    return f"{pipeline.name}: metric {' and '.join(failed)} of experiments cannot be computed for all rows ({kind})"


def refuse_endless(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, metrics: Sequence[UnitMetric], table: str) -> None:
    """Refuse units whose sum is infinite or no number. Raises: MetricFailed."""
    for i, metric in enumerate(metrics):
        ((bad,),) = con.execute(f"SELECT count_if(NOT isfinite(a{i}) OR NOT isfinite(b{i})) FROM {table}").fetchall()
        if bad:
            raise MetricFailed(f"{pipeline.name}: metric {metric.name!r} is infinite or no number for {bad:,} units")


def null_for_all(con: duckdb.DuckDBPyConnection, metrics: Sequence[UnitMetric], table: str) -> dict[str, str]:
    """Return a sentence on each metric, by name, that is null in all rows of a table of units: all its sums are 0 then."""
    if not metrics:
        return {}
    known = ", ".join(f"coalesce(sum(n{i}), 0)" for i, _ in enumerate(metrics))
    ((units, *numbers),) = con.execute(f"SELECT count(*), {known} FROM {table}").fetchall()
    return {
        one.name: f"metric {one.name!r} is null in all rows of {format_count(units, 'unit')}: check its sql, and what it reads"
        for one, n in zip(metrics, numbers, strict=True)
        if units and not n
    }


def empty_columns(unit: int, metrics: Sequence[UnitMetric], covariates: int) -> str:
    """The columns of a table of units without rows. unit: how many columns make one; covariates: how many there are."""
    columns = [*(f"u{i} VARCHAR" for i in range(unit)), "variant VARCHAR"]
    columns += [f"a{i} DOUBLE, b{i} DOUBLE, n{i} BIGINT" for i, _ in enumerate(metrics)]
    return ", ".join([*columns, *(f"c{j} DOUBLE" for j in range(covariates))])
