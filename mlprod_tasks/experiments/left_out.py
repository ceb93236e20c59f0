"""Rows that an experiment did not assign although it should have: of units that take part in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assigned_sql import in_run
from mlprod_tasks.experiments.assignment import units_of, units_of_run
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.sql import quoted

if TYPE_CHECKING:
    import duckdb


def ticks_left_out(con: duckdb.DuckDBPyConnection, source: str, run: ExperimentRun, unit: Mapping[str, str]) -> list[TickName]:
    """Return the ticks of which no row was assigned, but should have been. unit: its columns, and what `source` calls them."""
    query = f"SELECT tick FROM {source} GROUP BY tick HAVING count(*) FILTER (WHERE {in_run(run.name)}) = 0 ORDER BY tick"
    ticks = [tick for (tick,) in con.execute(query).fetchall()]
    if not ticks or units_of_run(run).whole:
        return ticks
    # A tick with few rows may have none of a unit that takes part.
    return [tick for tick in ticks if _taking_part(con, source, run, unit, "tick = ?", [tick])]


def rows_left_out(
    con: duckdb.DuckDBPyConnection, source: str, run: ExperimentRun, unit: Mapping[str, str], where: str, given: list[object]
) -> tuple[int, int]:
    """Return how many rows were not assigned but should have been, and of how many.

    where: SQL of the rows that count, with the parameters `given`.
    """
    ((missing, rows),) = con.execute(
        f"SELECT count(*) FILTER (WHERE NOT ({in_run(run.name)})), count(*) FROM {source} WHERE {where}", given
    ).fetchall()
    if not missing or units_of_run(run).whole:
        return missing, rows
    others = _taking_part(con, source, run, unit, f"({where}) AND NOT ({in_run(run.name)})", given)
    return others, rows - missing + others


def _taking_part(
    con: duckdb.DuckDBPyConnection, source: str, run: ExperimentRun, unit: Mapping[str, str], where: str, given: list[object]
) -> int:
    """How many of some rows are of units that take part."""
    columns = ", ".join(f"{quoted(stored)} AS {quoted(name)}" for name, stored in unit.items())
    query = f"SELECT {columns}, count(*) AS rows_of_unit FROM {source} WHERE {where} GROUP BY ALL"
    found = con.sql(query, params=given).to_arrow_table()
    taking_part = units_of_run(run).has(units_of(found, tuple(unit)))
    return int(np.asarray(found["rows_of_unit"])[taking_part].sum())
