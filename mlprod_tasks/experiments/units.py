"""The metrics of each unit, from its scored rows and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange, UnitMetric
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.declaration.experiment import EXPERIMENT, LATER
from mlprod_tasks.models.kpi import with_value
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics.treatment_effect import Moments

if TYPE_CHECKING:
    import duckdb

UNITS = "units"


class MetricFailed(ValueError):
    """A metric's SQL cannot be computed for the rows of the use case."""


def unit_columns(pipeline: Pipeline) -> tuple[str, ...]:
    """The columns that make a unit."""
    assert pipeline.experiments is not None
    return pipeline.experiments.unit or pipeline.entity_table.key


def waits(pipeline: Pipeline) -> list[tuple[str, int]]:
    """The tables of what metrics read, each with the number of ticks after which it is complete."""
    assert pipeline.experiments is not None
    later = [metric.later for metric in pipeline.experiments.metrics if metric.later is not None]
    mine = [(one.table, pipeline.outcome_delay_ticks(one)) for one in later]
    return [(pipeline.label.table, pipeline.label_delay_ticks), *mine]


def delay_ticks(pipeline: Pipeline) -> int:
    """The number of ticks after which all metrics of a tick's rows are complete."""
    return max(ticks for _, ticks in waits(pipeline))


def open_units(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    experiment: str | None = None,
    table: str = UNITS,
) -> dict[str, tuple[int, int]]:
    """Create a table of the units of scored rows with a known outcome, and count the rows of each variant.

    experiment: only the rows that it assigned; None: all rows, without variants ('').

    The table has a row a unit and variant: the unit's columns as u0, u1, ...; variant; and for the i-th metric a<i> and b<i>,
    numerator and denominator (1 where there is none).

    Returns: for each variant how many rows were scored, and how many of them have no outcome yet.

    Raises: MetricFailed.
    """
    scored = _scored(con, pipeline, metrics, ticks, platform, experiment)
    if scored is None:
        con.execute(f"CREATE TABLE {table} ({_empty_columns(pipeline, metrics)})")
        return {}
    con.register("outcomes_known", features.labels(pipeline, ticks, as_of, platform))
    key = ", ".join(quoted(name) for name in (*pipeline.entity_table.key, "tick"))
    con.execute(
        f"CREATE OR REPLACE TABLE both_known AS SELECT scored.*, label FROM scored LEFT JOIN outcomes_known USING ({key})"
    )
    counts = {
        variant: (int(rows), int(missing))
        for variant, rows, missing in con.execute(
            "SELECT variant, count(*), count_if(label IS NULL) FROM both_known GROUP BY variant ORDER BY variant"
        ).fetchall()
    }
    order = ", ".join(quoted(name) for name in (*pipeline.entity_table.key, "tick"))
    known = con.sql(f"SELECT * FROM both_known WHERE label IS NOT NULL ORDER BY {order}").to_arrow_table()
    later = _later(con, pipeline, metrics, known, ticks, as_of, platform)
    _aggregate(con, pipeline, metrics, known, later, table)
    return counts


def moments(con: duckdb.DuckDBPyConnection, position: int, metric: UnitMetric, table: str = UNITS) -> dict[str, Moments]:
    """Return the moments of each variant's units: columns numerator and denominator of a ratio, else the value alone."""
    columns = [f"a{position}", *([f"b{position}"] if metric.of == "ratio" else [])]
    return moments_of(con, columns, table)


def moments_of(con: duckdb.DuckDBPyConnection, columns: Sequence[str], table: str = UNITS) -> dict[str, Moments]:
    """Return the moments of columns of a table of units, by variant."""
    means = [f"avg({name})" for name in columns]
    pairs = [f"coalesce(covar_samp({one}, {other}), 0)" for one in columns for other in columns]
    rows = con.execute(
        f"SELECT variant, count(*), {', '.join(means + pairs)} FROM {table} GROUP BY variant ORDER BY variant"
    ).fetchall()
    wide = len(columns)
    return {
        variant: Moments(int(n), np.array(numbers[:wide], float), np.array(numbers[wide:], float).reshape(wide, wide))
        for variant, n, *numbers in rows
    }


def _scored(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    ticks: TickRange,
    platform: Platform,
    experiment: str | None,
) -> bool | None:
    """Create the table `scored` of the rows that are compared; None if there are none."""
    name = names.predictions(pipeline)
    files = platform.lake.files_if_any(name, ticks) if platform.lake.exists(name) else []
    if not files:
        return None
    source = f"read_parquet({listed(files)}, union_by_name = true)"
    there = {column for column, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    words = {word for metric in metrics for word in words_of(metric.sql) | words_of(metric.per)}
    wanted = [*pipeline.entity_table.key, "tick", *unit_columns(pipeline), "score", "decision", *pipeline.value_features]
    wanted += [one for one in pipeline.feature_names if one in words]
    columns = ", ".join(quoted(one) for one in dict.fromkeys(wanted) if one in there)
    if experiment is None:
        con.execute(f"CREATE OR REPLACE TABLE scored AS SELECT {columns}, '' AS variant FROM {source}")
        return True
    if EXPERIMENT not in there:
        return None
    con.execute(
        f"CREATE OR REPLACE TABLE scored AS SELECT {columns}, variant FROM {source} "
        "WHERE experiment = ? AND variant IS NOT NULL",
        [experiment],
    )
    return True


def _aggregate(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    known: pa.Table,
    later: Mapping[int, pa.ChunkedArray],
    table: str,
) -> None:
    """Create the table of units from labelled rows.

    later: what happened to each row after it was scored, by position of the metric that reads it.
    """
    import duckdb

    told = with_value(pipeline, known) if known.num_rows else None
    if told is None:
        con.execute(f"CREATE TABLE {table} ({_empty_columns(pipeline, metrics)})")
        return
    kept = [one for one in known.column_names if one not in told.column_names and one != "label"]
    columns = {**{one: known[one] for one in kept}, **{one: told[one] for one in told.column_names}}
    con.register("known_rows", pa.table(columns | {_later_column(i): values for i, values in later.items()}))
    unit = ", ".join(f"{quoted(one)} AS u{i}" for i, one in enumerate(unit_columns(pipeline)))
    sums = ", ".join(_sums(i, metric) for i, metric in enumerate(metrics))
    rows = "SELECT * FROM known_rows"
    for i, metric in enumerate(metrics):
        rows = _computed(i, metric, rows)
    try:
        con.execute(f"CREATE TABLE {table} AS SELECT {unit}, variant, {sums} FROM ({rows}) GROUP BY ALL ORDER BY ALL")
    except duckdb.Error as error:
        raise MetricFailed(_failure(con, pipeline, metrics, type(error).__name__)) from error
    _refuse_endless(con, pipeline, metrics, table)


def _failure(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, metrics: Sequence[UnitMetric], kind: str) -> str:
    """Which metrics cannot be computed. The engine's own words would show values of rows."""
    import duckdb

    failed = []
    for i, metric in enumerate(metrics):
        try:
            con.execute(f"SELECT {_sums(i, metric)} FROM ({_computed(i, metric, 'SELECT * FROM known_rows')})").fetchall()
        except duckdb.Error:
            failed.append(repr(metric.name))
    return f"{pipeline.name}: metric {' and '.join(failed)} of experiments cannot be computed for all rows ({kind})"


def _later(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    known: pa.Table,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
) -> dict[int, pa.ChunkedArray]:
    """What happened to each of the rows later, by position of the metric that reads it."""
    key = [*pipeline.entity_table.key, "tick"]
    con.register("asked_rows", known.select(key))
    found = {}
    for i, metric in enumerate(metrics):
        if metric.later is not None:
            con.register("happened", features.later(pipeline, metric.later, ticks, as_of, platform, con))
            names = ", ".join(quoted(name) for name in key)
            query = f"SELECT label FROM asked_rows LEFT JOIN happened USING ({names}) ORDER BY {names}"
            found[i] = con.sql(query).to_arrow_table()["label"]
    return found


def _later_column(position: int) -> str:
    return f"_{LATER}_{position}"


def _computed(position: int, metric: UnitMetric, rows: str) -> str:
    """SQL of rows with a metric's two numbers as v<i> and w<i>. What happened later is called so for this metric alone."""
    above, below = f"CAST(({metric.sql}) AS DOUBLE)", f"CAST(({metric.per or '1'}) AS DOUBLE)"
    if metric.of == "proportion":
        above = f"CAST(({metric.sql}) AS BOOLEAN)"
    numbers = f"{above} AS v{position}, {below} AS w{position}"
    if metric.later is None:
        return f"SELECT *, {numbers} FROM ({rows})"
    return f"SELECT * EXCLUDE ({LATER}), {numbers} FROM (SELECT *, {_later_column(position)} AS {LATER} FROM ({rows}))"


def _sums(position: int, metric: UnitMetric) -> str:
    if metric.of == "proportion":
        return f"bool_or(coalesce(v{position}, false))::DOUBLE AS a{position}, 1.0 AS b{position}"
    below = f"sum(coalesce(w{position}, 0))" if metric.of == "ratio" else "1.0"
    return f"sum(coalesce(v{position}, 0)) AS a{position}, {below} AS b{position}"


def _refuse_endless(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, metrics: Sequence[UnitMetric], table: str) -> None:
    for i, metric in enumerate(metrics):
        ((bad,),) = con.execute(f"SELECT count_if(NOT isfinite(a{i}) OR NOT isfinite(b{i})) FROM {table}").fetchall()
        if bad:
            raise MetricFailed(f"{pipeline.name}: metric {metric.name!r} is infinite or no number for {bad:,} units")


def _empty_columns(pipeline: Pipeline, metrics: Sequence[UnitMetric]) -> str:
    units = [f"u{i} VARCHAR" for i, _ in enumerate(unit_columns(pipeline))]
    return ", ".join([*units, "variant VARCHAR", *(f"a{i} DOUBLE, b{i} DOUBLE" for i, _ in enumerate(metrics))])


def opened(platform: Platform) -> Any:
    """An engine whose sums round the same way each time."""
    return engine(threads=1, spill=platform.settings.home / "spill")
