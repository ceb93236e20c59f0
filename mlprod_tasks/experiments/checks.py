"""What voids an experiment: whatever makes its variants differ in more than the version that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.documents.formatting import format_count, p_value
from mlprod_tasks.experiments.assignment import unit_columns
from mlprod_tasks.experiments.plan import Plan
from mlprod_tasks.experiments.scored_rows import SOURCES
from mlprod_tasks.experiments.units import UNITS, moments_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import Scoring
from mlprod_tasks.statistics.multiple_tests import same_share_p, sample_ratio_p
from mlprod_tasks.statistics.treatment_effect import Moments, NoEffect, of_means

if TYPE_CHECKING:
    import duckdb

CERTAIN = 0.001  # so unlikely by chance that something is wrong


def problems(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    planned: Plan,
    run: ExperimentRun,
    ticks: TickRange,
    rows: Mapping[str, tuple[int, int]],
    before: Mapping[str, Moments],
    platform: Platform,
) -> Iterator[str]:
    """Yield a sentence for each thing that voids a verdict.

    rows: of each variant, and how many of them have no outcome; before: the moments of the primary metric before the start.
    """
    yield from _sample_ratio(con, planned)
    yield from _saw_both(con, pipeline)
    yield from SOURCES[planned.wanted.rows].wrong(con, pipeline, run, planned.variants, ticks, platform)
    yield from _declared_anew(pipeline, ticks, platform)
    yield from _outcomes_missing(planned, rows)
    yield from _differed_before(planned, before)
    yield from _differ_in_covariates(con, pipeline, planned)


def sample_ratio(con: duckdb.DuckDBPyConnection, planned: Plan) -> tuple[list[int], float]:
    """Return how many units each variant has, and how likely chance gives numbers so far from the planned shares."""
    units = dict(con.execute(f"SELECT variant, count(*) FROM {UNITS} GROUP BY variant").fetchall())
    counts = [units.get(one.name, 0) for one in planned.variants]
    return counts, sample_ratio_p(counts, [one.share for one in planned.variants])


def _sample_ratio(con: duckdb.DuckDBPyConnection, planned: Plan) -> Iterator[str]:
    counts, p = sample_ratio(con, planned)
    if p < CERTAIN:
        were = ", ".join(f"{one.name} {n:,}" for one, n in zip(planned.variants, counts, strict=True))
        shares = ", ".join(f"{one.share:.0%}" for one in planned.variants)
        yield f"the variants have {were} units, which shares of {shares} do not give by chance ({p_value(p)}): rows are lost"


def _saw_both(con: duckdb.DuckDBPyConnection, pipeline: Pipeline) -> Iterator[str]:
    unit = ", ".join(f"u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    query = f"SELECT count(*) FROM (SELECT {unit} FROM {UNITS} GROUP BY {unit} HAVING count(DISTINCT variant) > 1)"
    ((both,),) = con.execute(query).fetchall()
    if both:
        yield f"{format_count(both, 'unit')} saw more than one variant"


def _declared_anew(pipeline: Pipeline, ticks: TickRange, platform: Platform) -> Iterator[str]:
    scorings = platform.ledger.all(Scoring, Scoring.tick >= ticks.first, Scoring.tick <= ticks.last, pipeline=pipeline.name)
    if len({one.features_digest for one in scorings}) > 1:
        yield "the declaration changed in between"


def _outcomes_missing(planned: Plan, rows: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    found = [rows.get(one.name, (0, 0)) for one in planned.variants]
    p = same_share_p([missing for _, missing in found], [n for n, _ in found])
    if p < CERTAIN:
        were = ", ".join(f"{one.name} {missing:,} of {n:,}" for one, (n, missing) in zip(planned.variants, found, strict=True))
        yield f"outcomes are missing more often for one variant ({p_value(p)}): {were}"


def _differed_before(planned: Plan, before: Mapping[str, Moments]) -> Iterator[str]:
    control = before.get(planned.control.name)
    for one in planned.treated:
        treated = before.get(one.name)
        if control is None or treated is None:
            continue
        try:
            p = of_means(control, treated).p
        except NoEffect:
            continue
        if p < CERTAIN:
            yield f"units of {one.name} differed from the control before the start ({p_value(p)}): they are not alike"


def _differ_in_covariates(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, planned: Plan) -> Iterator[str]:
    """What units were by their first row, which no variant can have changed. So it is told of units that come once, too."""
    assert pipeline.experiments is not None
    covariates = planned.covariates or pipeline.experiments.covariates
    for j, name in enumerate(covariates):
        found = moments_of(con, (f"c{j}",))
        for one in planned.treated:
            if planned.control.name not in found or one.name not in found:
                continue
            try:
                p = of_means(found[planned.control.name], found[one.name]).p
            except NoEffect:
                continue
            if p < CERTAIN / len(covariates):
                yield f"units of {one.name} differ from the control in covariate {name!r} ({p_value(p)}): they are not alike"
