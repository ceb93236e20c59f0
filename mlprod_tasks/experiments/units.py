"""The metrics of each unit, from its scored rows and their outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange, UnitMetric
from mlprod_tasks.declaration.experiment import Rows
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import unit_columns
from mlprod_tasks.experiments.metric_sql import (
    MetricFailed,
    empty_columns,
    failure,
    first_sql,
    later_column,
    refuse_endless,
    rows_sql,
    sums_sql,
    total_sql,
)
from mlprod_tasks.experiments.scored_rows import KNOWN, SOURCES, ArmsRead, leave_out_seen, note_seen
from mlprod_tasks.models.kpi import with_value
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import literal, quoted
from mlprod_tasks.statistics.quantile_effect import moments_of_quantile, neighbours
from mlprod_tasks.statistics.treatment_effect import Moments

if TYPE_CHECKING:
    import duckdb

UNITS = "units"
PARTS = "parts_of_units"  # the sums of each unit in some of the ticks
AGES = "units_by_tick"  # one metric's sums of each unit at each tick
ROWS_AT_ONCE = 2_000_000


def waits(pipeline: Pipeline, metrics: Sequence[UnitMetric] | None = None) -> list[tuple[str, int]]:
    """The tables of what metrics read, by default all, each with the number of ticks after which it is complete."""
    assert pipeline.experiments is not None
    read = pipeline.experiments.metrics if metrics is None else metrics
    later = [metric.later for metric in read if metric.later is not None]
    mine = [(one.table, pipeline.outcome_delay_ticks(one)) for one in later]
    return [(pipeline.label.table, pipeline.label_delay_ticks), *mine]


def delay_ticks(pipeline: Pipeline) -> int:
    """The number of ticks after which all metrics of a tick's rows are complete."""
    return max(ticks for _, ticks in waits(pipeline))


def is_summed(metric: UnitMetric) -> bool:
    """Return whether a metric is a mean of units' sums: then covariates, and the time of exposure, explain a part of it."""
    return metric.of in ("mean", "proportion")


def open_units(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    experiment: str | None = None,
    rows: Rows = "batch",
    new_since: TickName | None = None,
    table: str = UNITS,
    by_tick: int | None = None,
    arms: ArmsRead | None = None,
    covariates: Sequence[str] = (),
    variants: Sequence[str] = (),
) -> dict[str, tuple[int, int]]:
    """Create a table of the units of scored rows with a known outcome, and count the rows of each variant.

    experiment: only the rows that it assigned; None: all rows, without variants (''). rows: where they are.
    new_since: only units without a row before that tick; None: all.

    The table has a row a unit and variant: the unit's columns as u0, u1, ...; variant; and for the i-th metric a<i> and b<i>,
    numerator and denominator (1 where there is none), and n<i>, in how many rows it is not null. by_tick: the position of a
    metric whose numerators by unit and tick are kept too, in the table AGES as a. arms: the variants are those of a bandit;
    read one tick, whose rows then stay in KNOWN.
    covariates: features; the j-th of a unit's first row is c<j>, the mean where it has none. variants: all that rows may have,
    if that is known: they take less memory then.

    Returns: for each variant how many rows were scored, and how many of them have no outcome yet.

    Raises: MetricFailed.
    """
    counts: dict[str, tuple[int, int]] = {}
    con.execute(f"DROP TABLE IF EXISTS {PARTS}")
    kind = "VARCHAR"
    if variants:
        kind = "one_of_variants"
        con.execute(f"CREATE OR REPLACE TYPE {kind} AS ENUM ({', '.join(map(literal, variants))})")
    if new_since is not None:
        note_seen(con, pipeline, SOURCES[rows], new_since, platform)
    for some in _chunks(pipeline, rows, ticks, platform):
        known = _known(
            con, pipeline, metrics, some, as_of, platform, experiment, rows, new_since is not None, counts, arms, covariates
        )
        if known is not None and known.num_rows:
            later = _later(con, pipeline, metrics, known, some, as_of, platform)
            _add_parts(con, pipeline, metrics, known, later, by_tick, covariates, kind)
    _sum_up(con, pipeline, metrics, table, covariates)
    return counts


def moments(con: duckdb.DuckDBPyConnection, position: int, metric: UnitMetric, table: str = UNITS) -> dict[str, Moments]:
    """Return the moments of each variant's units: columns numerator and denominator of a ratio, else the value alone.

    Of a quantile they are those of `quantile_effect.moments_of_quantile`.
    """
    if metric.quantile is not None:
        return _of_quantile(con, f"a{position}", metric.quantile, table)
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


def _of_quantile(con: duckdb.DuckDBPyConnection, column: str, quantile: float, table: str) -> dict[str, Moments]:
    counts = con.execute(f"SELECT variant, count(*) FROM {table} GROUP BY variant ORDER BY variant").fetchall()
    found = {}
    for variant, n in counts:
        around = neighbours(n, quantile)
        wanted = [quantile, *(around or ())]
        query = f"SELECT quantile_cont({column}, {wanted}) FROM {table} WHERE variant = ?"
        (((value, *beside),),) = con.execute(query, [variant]).fetchall()
        found[variant] = moments_of_quantile(n, value, (beside[0], beside[1]) if beside else None)
    return found


def _chunks(pipeline: Pipeline, rows: Rows, ticks: TickRange, platform: Platform) -> Iterator[TickRange]:
    """The ticks in runs of about ROWS_AT_ONCE rows, so that memory does not follow the length of an experiment."""
    counts = SOURCES[rows].by_tick(pipeline, ticks, platform)
    first, n = ticks.first, 0
    for tick in ticks.names:
        if n and n + counts.get(tick, 0) > ROWS_AT_ONCE:
            yield pipeline.schedule.range(first, pipeline.schedule.shift(tick, -1))
            first, n = tick, 0
        n += counts.get(tick, 0)
    yield pipeline.schedule.range(first, ticks.last)


def _known(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    experiment: str | None,
    rows: Rows,
    only_new: bool,
    counts: dict[str, tuple[int, int]],
    arms: ArmsRead | None,
    covariates: Sequence[str],
) -> pa.Table | None:
    """The scored rows of some ticks whose outcome is known, from `rows`; None if none were scored.

    Adds the rows of each variant to `counts`.
    """
    if not SOURCES[rows].open(con, pipeline, metrics, ticks, as_of, platform, experiment, arms, covariates):
        return None
    if only_new:
        leave_out_seen(con, pipeline)
    key = ", ".join(quoted(name) for name in (*pipeline.entity_table.key, "tick"))
    query = f"SELECT variant, count(*), count(*) FILTER (WHERE label IS NULL) FROM {KNOWN} GROUP BY variant ORDER BY variant"
    for variant, n, missing in con.execute(query).fetchall():
        before = counts.get(variant, (0, 0))
        counts[variant] = before[0] + int(n), before[1] + int(missing)
    # A fixed order, so that sums round the same way each time.
    return con.sql(f"SELECT * FROM {KNOWN} WHERE label IS NOT NULL ORDER BY {key}").to_arrow_table()


def _add_parts(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    known: pa.Table,
    later: Mapping[int, pa.ChunkedArray],
    by_tick: int | None,
    covariates: Sequence[str],
    kind: str,
) -> None:
    """Add what labelled rows of some ticks give their units.

    later: what happened to each row after it was scored, by position of the metric that reads it. kind: the type of variants.
    """
    import duckdb

    told = with_value(pipeline, known)
    kept = [one for one in known.column_names if one not in told.column_names and one != "label"]
    columns = {**{one: known[one] for one in kept}, **{one: told[one] for one in told.column_names}}
    con.register("known_rows", pa.table(columns | {later_column(i): values for i, values in later.items()}))
    unit = ", ".join(f"{quoted(one)} AS u{i}" for i, one in enumerate(unit_columns(pipeline)))
    sums = ", ".join([*(sums_sql(i, metric) for i, metric in enumerate(metrics)), *first_sql(covariates)])
    rows = "SELECT * FROM known_rows"
    for i, metric in enumerate(metrics):
        rows = rows_sql(i, metric, rows)
    # Not in order, which would take as long again: the rows of each group are added up in the order of `known`.
    whose = f"{unit}, variant::{kind} AS variant"
    wanted = {PARTS: f"SELECT {whose}, {sums} FROM ({rows}) GROUP BY ALL"}
    if by_tick is not None:
        ours = f"SELECT {whose}, tick, {sums_sql(by_tick, metrics[by_tick])} FROM ({rows}) GROUP BY ALL"
        wanted[AGES] = f"SELECT * EXCLUDE (a{by_tick}, b{by_tick}, n{by_tick}), a{by_tick} AS a FROM ({ours})"
    try:
        for table, parts in wanted.items():
            con.execute(f"INSERT INTO {table} {parts}" if _exists(con, table) else f"CREATE TABLE {table} AS {parts}")
    except duckdb.Error as error:
        raise MetricFailed(failure(con, pipeline, metrics, type(error).__name__)) from error


def _exists(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall()[0][0])


def _sum_up(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    metrics: Sequence[UnitMetric],
    table: str,
    covariates: Sequence[str],
) -> None:
    """Create the table of units from their parts."""
    if not _exists(con, PARTS):
        con.execute(f"CREATE TABLE {table} ({empty_columns(len(unit_columns(pipeline)), metrics, len(covariates))})")
        return
    unit = ", ".join(f"u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    firsts = [f"arg_min(c{j}, first_tick) AS c{j}" for j, _ in enumerate(covariates)]
    sums = ", ".join([*(total_sql(i, metric) for i, metric in enumerate(metrics)), *firsts])
    units = f"SELECT {unit}, variant, {sums} FROM {PARTS} GROUP BY ALL ORDER BY {unit}, variant"
    known = ", ".join(f"coalesce(c{j}, avg(c{j}) OVER (), 0) AS c{j}" for j, _ in enumerate(covariates))
    con.execute(f"CREATE TABLE {table} AS " + (f"SELECT * REPLACE ({known}) FROM ({units})" if covariates else units))
    con.execute(f"DROP TABLE {PARTS}")
    refuse_endless(con, pipeline, metrics, table)


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


def opened(platform: Platform) -> Any:
    """An engine whose sums round the same way each time."""
    return engine(threads=1, spill=platform.settings.home / "spill", lake=platform.lake)
