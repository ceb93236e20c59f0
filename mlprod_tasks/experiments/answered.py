"""Rows of a variant that something else answered than what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.experiments.assigned_sql import beside, in_run, variant_in
from mlprod_tasks.experiments.assignment import Variant, combined
from mlprod_tasks.experiments.plan_written import variants_written
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun

if TYPE_CHECKING:
    import duckdb


def answered_otherwise(
    con: duckdb.DuckDBPyConnection,
    source: str | None,
    pipeline: Pipeline,
    run: ExperimentRun,
    variant: Variant,
    another_version: str,
    platform: Platform,
    among: str = "true",
) -> tuple[int, int, str]:
    """Return how many rows of a variant something else than it answered, of how many, and what that was.

    A row that another experiment assigned, too, is answered by both together. another_version: SQL of whether another version
    answered a row, with one parameter; among: SQL of the rows that count.
    """
    what, other = f"another version than {variant.version}", another_version
    if variant.held_out:
        what, other = f"something else than the fallback of version {variant.version}", "(model_version <> ? OR NOT fallback)"
    experiment, given = beside(run.name)
    mine = f"({in_run(run.name)}) AND {variant_in(run.name)} = ? AND {among}"
    pairs = con.execute(f"SELECT DISTINCT {experiment}, {given} FROM {source} WHERE {mine}", [variant.name]).fetchall()
    others = rows = 0
    for name, theirs in pairs:
        version = variant.version if theirs is None else _together(pipeline, variant, name, theirs, platform).version
        same = f"{experiment} IS NOT DISTINCT FROM ? AND {given} IS NOT DISTINCT FROM ?"
        ((wrong, n),) = con.execute(
            f"SELECT count(*) FILTER (WHERE {other}), count(*) FROM {source} WHERE {mine} AND {same}",
            [version, variant.name, name, theirs],
        ).fetchall()
        others, rows = others + wrong, rows + n
    return others, rows, what


def _together(pipeline: Pipeline, variant: Variant, name: str, theirs: str, platform: Platform) -> Variant:
    """What answers a row of this variant that another experiment gave another one."""
    run = platform.ledger.get(ExperimentRun, pipeline.name, name)
    assert run is not None, f"a row names experiment {name!r}, which the ledger does not have"
    return combined(variant, next(one for one in variants_written(run) if one.name == theirs))
