"""Whether a distribution that left its bounds is as in the same weeks of last year, where the lake reaches so far back.

The distribution of a feature moves with the season, and so do scores. What moved from the reference is compared with the logged
predictions of the weeks around the same tick of last year; scores are those that the present model gives to these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile
from mlprod_tasks.monitoring.bounds import in_force
from mlprod_tasks.monitoring.count import count, types
from mlprod_tasks.monitoring.inputs import FEWEST_ROWS
from mlprod_tasks.monitoring.last_year import ticks_a_year
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import Observed
from mlprod_tasks.monitoring.relevance import LAST_YEAR
from mlprod_tasks.monitoring.tick_rows import source_of
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import distances

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_ROWS = 1_000_000  # of the weeks around; with more, only the same tick is read
PSI_OF = {"feature_psi_last_year": "feature_psi", "score_psi_last_year": "score_psi"}


def as_last_year(
    con: DuckDBPyConnection,
    pipeline: Pipeline,
    profile: ReferenceProfile,
    version: int,
    tick: Tick,
    observed: Observed,
    readings: Sequence[Reading],
    platform: Platform,
) -> Iterator[Reading]:
    """The PSI against the same weeks of last year, of each distribution in `readings` that left its bounds.

    Its reference is the bound of the PSI against the reference: up to it, the tick is as last year. Nothing if nothing left its
    bounds, or if fewer than half of the ticks of these weeks, a week before and after the tick, were scored.
    """
    year, week = ticks_a_year(pipeline.schedule), max(1, pipeline.schedule.ticks_a_week)
    if not year:
        return
    bounds = in_force(pipeline, tick.name, platform, profile)
    moved: dict[tuple[str, str], Reading] = {}
    for one in readings:
        bound = bounds.of(one.what, one.slice, one.watched, one.quiet) if one.what in LAST_YEAR else None
        if bound is not None and one.value is not None and bound.broken_by(one.value):
            moved.setdefault((LAST_YEAR[one.what], one.slice), one)
    if not moved:
        return
    source = _weeks_of_last_year(con, pipeline, tick, year, week, platform)
    if not source:
        return
    columns = {one.name: one for one in profile.features}
    before = _counts(con, source, [columns[name] for what, name in moved if what == "feature_psi_last_year"])
    if any(what == "score_psi_last_year" for what, _ in moved):
        before |= _scores(con, source, pipeline, profile, version, platform)
    quiet = {(one.what, one.slice): one.quiet for one in readings}
    for (what, slice), breach in moved.items():
        column = columns.get(slice, profile.score)
        limit = bounds.of(PSI_OF[what], slice, quiet=quiet.get((PSI_OF[what], slice))).high
        then = before.get(column.name)
        if then is None or limit is None or then.sum() < FEWEST_ROWS or column.name not in observed.columns:
            continue
        apart = distances.corrected_psi(column.bins.coarse(then), column.bins.coarse(observed.columns[column.name].counts))
        detail = f"against {format_count(int(then.sum()), 'row')} of these weeks; up to {format_number(limit)} it is as then"
        yield Reading(what, apart, breach.n, slice, limit, detail=detail, important=breach.important)


def _weeks_of_last_year(
    con: DuckDBPyConnection, pipeline: Pipeline, tick: Tick, year: int, week: int, platform: Platform
) -> str:
    """What follows FROM for the predictions of these weeks; '' if too few of their ticks were scored."""
    schedule, table = pipeline.schedule, names.predictions(pipeline)
    same = schedule.shift(tick.name, -year)
    first, last = schedule.shift(same, -week), schedule.shift(same, week)
    if last < schedule.first:
        return ""
    files = platform.lake.files_if_any(table, schedule.range(max(first, schedule.first), last))
    if not files:
        return ""
    ((rows, ticks),) = con.execute(f"SELECT count(*), count(DISTINCT tick) FROM {source_of(files)}").fetchall()
    if 2 * ticks <= 2 * week + 1:
        return ""
    if rows > MOST_ROWS:
        files = platform.lake.files_if_any(table, schedule.range(same))
    return source_of(files) if files else ""


def _counts(con: DuckDBPyConnection, source: str, columns: Sequence[ProfileColumn]) -> dict[str, Any]:
    """The counts of each column in its bins, (bins,); those that were not yet logged are left out."""
    kinds: Mapping[str, str] = types(con, source)
    bins = [one.bins for one in columns if one.name in kinds]
    return {name: one.counts for name, one in count(con, source, bins).columns.items()} if bins else {}


def _scores(
    con: DuckDBPyConnection, source: str, pipeline: Pipeline, profile: ReferenceProfile, version: int, platform: Platform
) -> dict[str, Any]:
    """The same of the scores that this version gives to these rows; nothing if they lack a feature, or are too many."""
    features = [one.name for one in profile.features]
    ((rows,),) = con.execute(f"SELECT count(*) FROM {source}").fetchall()
    if rows > MOST_ROWS or not set(features) <= set(types(con, source)):
        return {}
    table = con.sql(f"SELECT {', '.join(map(quoted, features))} FROM {source}").to_arrow_table()
    score = platform.registry.load(pipeline, version).predict(table).score
    con.register("scores_of_last_year", pa.table({profile.score.name: score}))
    try:
        return _counts(con, "scores_of_last_year", [profile.score])
    finally:
        con.unregister("scores_of_last_year")
