"""Measure a tick's requests: latency, errors, features, scores, shadow model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import HOLD_OUT, VARIANT
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import PREDICTION
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.experiments.own_rows import TREATED
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile
from mlprod_tasks.monitoring.inputs import FEWEST_ROWS, inputs
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.monitoring.record import record, reference_of
from mlprod_tasks.monitoring.rules import STALE_TICKS
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Measurement, newest
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.scoring.log_row import FEATURE
from mlprod_tasks.statistics import intervals

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger(__name__)
ROWS = "online_rows"
NO_VERSION = 0  # for a tick at which no model answered
FEWEST_TIMES = 100  # with fewer, the 99th percentile is just the slowest row
# Measurements of batch predictions, and their names for rows answered on request.
ON_REQUEST = {
    "null_share": "online_nulls",
    "feature_psi": "online_psi",
    "score_psi": "online_score_psi",
    "class_psi": "online_class_psi",
}
SHARES = {
    "online_errors": "error",
    "online_fallback": f"fallback AND {VARIANT} IS DISTINCT FROM '{HOLD_OUT}'",  # a hold-out is meant to have it
    "online_refused": "score IS NULL AND route <> 'absent'",  # nothing is wrong with a key that is in no population
    "online_stale": "stale",
    "online_missing": "missing",
}
# The log has all numbers as floats, as the model reads them; the reference knows the original type.
TYPES = {"int": "BIGINT", "bool": "BOOLEAN"}


@dataclass(frozen=True)
class RequestsMeasured:
    """What was measured of a tick's requests. breaches: one sentence each."""

    tick: str
    rows: int
    measurements: int
    breaches: tuple[str, ...] = ()


def measure_collected(pipeline: Pipeline, platform: Platform) -> list[RequestsMeasured]:
    """Measure each tick whose rows have changed in the lake, the newest first.

    The last tick that has ended is measured without rows if it has none but one of the ticks before it had: that requests have
    stopped is worth knowing too.

    If a tick cannot be measured, the others are all the same; its error is raised at the end.
    """
    rows = _collected(pipeline, platform)
    if rows and (ended := _last_ended(pipeline, platform)) is not None and _is_silent(pipeline, ended, rows, platform):
        rows[ended.name] = 0
    measured = {one.tick: one.n for one in platform.ledger.all(Measurement, pipeline=pipeline.name, what=ROWS)}
    due = sorted((day for day, n in rows.items() if measured.get(day) != n), reverse=True)
    done, failed = [], dict[TickName, Exception]()
    for day in due:
        try:
            done.append(measure_requests(pipeline, pipeline.schedule.tick(day), platform))
        except Exception as error:
            log.exception("%s: the requests of %s cannot be measured", pipeline.name, day)
            failed[day] = error
    if failed:
        first = next(iter(failed.values()))
        first.add_note(f"pipeline {pipeline.name!r}: the requests of {', '.join(map(str, failed))} are not measured")
        raise first
    return done


def measure_requests(pipeline: Pipeline, tick: Tick, platform: Platform) -> RequestsMeasured:
    """Measure the rows of a tick answered on request and collected so far.

    Features and scores cover the rows answered by the version that answered most of them, without those of other variants of an
    experiment, and are compared with that version's reference like batch predictions. Run again after more rows arrived, it
    replaces the measurements. For a tick that ended without requests, only the zero rows are written, and not even those if
    there were none on the 30 ticks before either.
    """
    name, ticks = names.requests(pipeline), pipeline.schedule.range(tick.name)
    files = platform.lake.files_if_any(name, ticks)
    profile, readings = None, [Reading(ROWS, 0.0, 0)]
    if files:
        source = _source(files)
        with engine(spill=platform.settings.home / "spill", lake=platform.lake) as con:
            version = _version(con, source)
            profile = None if version == NO_VERSION else _for_requests(reference_of(pipeline, version, platform))
            readings = [*_service(con, source), *_shadow(con, source, profile)]
            if profile is not None:
                own = f"(SELECT * FROM {source} WHERE NOT {TREATED})"
                readings += _features(con, own, version, profile, pipeline)
    elif _is_silent(pipeline, tick, _collected(pipeline, platform), platform):
        version = _version_before(pipeline, tick, platform)
    else:
        return RequestsMeasured(str(tick), 0, 0)
    written = record(pipeline, tick, "request", readings, version, platform, profile)
    breaches = tuple(row.sentence for row in written if row.breached)
    for sentence in breaches:
        log.warning("%s: %s", pipeline.name, sentence)
    rows = readings[0].n
    log.info("%s: measured %d values of %s requested rows at %s", pipeline.name, len(written), f"{rows:,}", tick)
    return RequestsMeasured(str(tick), rows, len(written), breaches)


def _source(files: Sequence[str]) -> str:
    """What follows FROM for logged rows; the log of an older service says nothing of variants."""
    nothing = f"(SELECT NULL::VARCHAR AS {VARIANT} WHERE false)"
    return f"(SELECT * FROM read_parquet({listed(files)}, union_by_name = true) UNION ALL BY NAME SELECT * FROM {nothing})"


def _collected(pipeline: Pipeline, platform: Platform) -> dict[TickName, int]:
    """The number of rows in the lake, by tick."""
    name = names.requests(pipeline)
    return platform.lake.rows_of_ticks(name) if platform.lake.exists(name) else {}


def _last_ended(pipeline: Pipeline, platform: Platform) -> Tick | None:
    """The last tick that has ended."""
    schedule, now = pipeline.schedule, platform.clock.now()
    last = schedule.last_at(now)
    if last.end <= now:
        return last
    return schedule.tick(schedule.shift(last.name, -1)) if last.name > schedule.first else None


def _is_silent(pipeline: Pipeline, tick: Tick, rows: Mapping[TickName, int], platform: Platform) -> bool:
    """Whether a tick ended without requests although there were some not long before."""
    oldest = pipeline.schedule.shift(tick.name, -STALE_TICKS)
    before = any(oldest <= day < tick.name for day in rows)
    return before and tick.name not in rows and tick.end <= platform.clock.now()


def _version_before(pipeline: Pipeline, tick: Tick, platform: Platform) -> int:
    """The version of the last measured requests.

    With it, a rule counts the silent ticks together with the ones before.
    """
    last = newest(platform.ledger.all(Measurement, Measurement.tick < tick.name, pipeline=pipeline.name, what=ROWS), "tick")
    return last.model_version if last else NO_VERSION


def _version(con: DuckDBPyConnection, source: str) -> int:
    """The version that answered most rows itself.

    If none did, the one whose fallback answered most.
    """
    query = f"SELECT mode(model_version) FILTER (NOT fallback AND NOT {TREATED}), mode(model_version) FROM {source}"
    ((own, any_),) = con.execute(query).fetchall()
    return int(own or any_ or NO_VERSION)


def _service(con: DuckDBPyConnection, source: str) -> Iterator[Reading]:
    """The readings of the service: rows, latency, shares of errors and so on."""
    # Nulls, in the log of an older service, count as not happened.
    shares = ", ".join(f"coalesce(count_if({condition}), 0)" for condition in SHARES.values())
    times = "count(milliseconds), quantile_disc(milliseconds, [0.5, 0.99])"
    ((rows, timed, percentiles, *counts),) = con.execute(f"SELECT count(*), {times}, {shares} FROM {source}").fetchall()
    yield Reading(ROWS, float(rows), rows)
    yield _latency("online_latency", timed, percentiles)
    for what, count in zip(SHARES, counts, strict=True):
        sure = intervals.wilson(count, rows)
        yield Reading(what, count / rows, rows, reference=0.0, detail=f"{count:,} of {rows:,} rows", interval=sure)


def _shadow(con: DuckDBPyConnection, source: str, profile: ReferenceProfile | None) -> Iterator[Reading]:
    """The difference and latency of the challenger that scores in the shadow.

    The difference of numbers is in standard deviations of the reference's outcomes. No reading if there is none.
    """
    difference = "abs(score - shadow_score)"
    query = (
        f"SELECT max(shadow_version), count({difference}), avg({difference}), coalesce(stddev_samp({difference}), 0), "
        "count(shadow_milliseconds), quantile_disc(shadow_milliseconds, [0.5, 0.99]) "
        f'FROM {source} WHERE shadow_version = (SELECT arg_max(shadow_version, "at") FROM {source})'
    )
    ((version, rows, mean, sd, timed, percentiles),) = con.execute(query).fetchall()
    if version is None:
        return
    if rows < FEWEST_ROWS:
        why = f"version {version} scored {format_count(rows, 'row')} in the shadow; at least {FEWEST_ROWS} are needed"
        yield Reading("online_shadow_difference", None, rows, why=why)
    else:
        numbers = None if profile is None else profile.numbers
        unit, most = (1.0, 1.0) if numbers is None else (numbers.sd, inf)
        sure = intervals.normal(mean / unit, sd / unit / rows**0.5, 0.0, most)
        yield Reading("online_shadow_difference", mean / unit, rows, reference=0.0, detail=f"version {version}", interval=sure)
    yield _latency("online_shadow_latency", timed, percentiles)


def _latency(what: str, rows: int, percentiles: Sequence[float] | None) -> Reading:
    if rows < FEWEST_TIMES or percentiles is None:
        return Reading(
            what,
            None,
            rows,
            why=f"{format_count(rows, 'timed row')} {'is' if rows == 1 else 'are'} too few; at least {FEWEST_TIMES} are needed",
        )
    median, slow = percentiles
    return Reading(what, slow, rows, detail=f"half of the rows took at most {format_number(median)} ms")


def _features(
    con: DuckDBPyConnection, source: str, version: int, profile: ReferenceProfile, pipeline: Pipeline
) -> Iterator[Reading]:
    """The readings of a version's features and scores, as for batch predictions."""
    logged = {name for name, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = [_typed(column) for column in profile.features if f"{FEATURE}{column.name}" in logged]
    answered = f"score IS NOT NULL AND (fallback OR model_version = {version})"
    classes = [quoted(PREDICTION)] if profile.classes is not None and PREDICTION in logged else []
    selected = ", ".join(("score", "decision", "fallback", *classes, *columns))
    own = f"(SELECT {selected} FROM {source} WHERE {answered})"
    observed = observe(con, own, profile, sampled=False)
    if not observed.rows:
        return
    only = {of: watch.only_important for watch in pipeline.watches for of, what in ON_REQUEST.items() if watch.what == what}
    for reading in inputs(profile, observed, only, together=False):
        if reading.what in ON_REQUEST:
            yield replace(reading, what=ON_REQUEST[reading.what])


def _typed(column: ProfileColumn) -> str:
    kind = column.type or ("int" if column.bins.of_integers else "")
    logged = quoted(f"{FEATURE}{column.name}")
    return f"{f'try_cast({logged} AS {TYPES[kind]})' if kind in TYPES else logged} AS {quoted(column.name)}"


def _for_requests(profile: ReferenceProfile) -> ReferenceProfile:
    """The profile, with its history under the names of request measurements too."""
    if profile.history is None:
        return profile
    values: Mapping[str, Any] = profile.history.values
    for_requests = {}
    for subject, of_ticks in values.items():
        what, slash, slice = subject.partition("/")
        if what in ON_REQUEST:
            for_requests[f"{ON_REQUEST[what]}{slash}{slice}"] = of_ticks
    return replace(profile, history=replace(profile.history, values={**values, **for_requests}))
