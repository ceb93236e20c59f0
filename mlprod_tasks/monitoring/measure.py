"""Measure a tick: inputs and scores, and the outcomes that are complete now."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import select

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import ASSIGNED
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.own_rows import OwnRows
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring import loss_model
from mlprod_tasks.monitoring.adapted import adaptation
from mlprod_tasks.monitoring.business import business_metrics, unasked
from mlprod_tasks.monitoring.correlation import renew_correlations
from mlprod_tasks.monitoring.count import types
from mlprod_tasks.monitoring.estimate import estimates
from mlprod_tasks.monitoring.freshness import freshness
from mlprod_tasks.monitoring.health import health, past
from mlprod_tasks.monitoring.inputs import inputs, volume
from mlprod_tasks.monitoring.kinds import Family
from mlprod_tasks.monitoring.known_faults import with_known_faults
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import Observed, Observing
from mlprod_tasks.monitoring.outcomes import columns, outcomes, promised_of, promises_of, unmeasured
from mlprod_tasks.monitoring.record import record, reference_of
from mlprod_tasks.monitoring.same_weeks import as_last_year
from mlprod_tasks.monitoring.tick_rows import TickRows, rows_of_tick, source_of
from mlprod_tasks.monitoring.who_answered import WhoAnswered
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement, Publication, Scoring
from mlprod_tasks.platform.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger(__name__)
NO_USUAL_VOLUME = "rows to score are those without an outcome, and the reference has only rows with one"


class PredictionsMissing(LookupError):
    """The tick was not scored, so there is nothing to measure."""


@dataclass(frozen=True)
class Measured:
    """What was measured at a tick.

    judged: the ticks whose outcomes were measured; waiting: those whose outcomes wait for a partition of labels; breaches: one
    sentence each.
    """

    tick: str
    rows: int
    measurements: int
    judged: tuple[str, ...]
    waiting: tuple[str, ...]
    breaches: tuple[str, ...]


@dataclass(frozen=True)
class _Evidence:
    """The data from which a tick's outcomes are computed.

    The same evidence gives the same measurements.
    """

    predictions: tuple[str, ...]
    labels: tuple[tuple[TickName, int], ...]  # published partitions of the labels' table: tick and Delta version

    def lacks(self, needed: list[TickName]) -> list[TickName]:
        published = {tick for tick, _ in self.labels}
        return [tick for tick in needed if tick not in published]


class _Measuring:
    """What one run opens once: the engine, and the reference profile of each version that it meets."""

    def __init__(self, pipeline: Pipeline, platform: Platform, con: DuckDBPyConnection) -> None:
        self.pipeline, self.platform, self.con = pipeline, platform, con
        self._references: dict[int, ReferenceProfile] = {}

    def reference(self, version: int) -> ReferenceProfile:
        if version not in self._references:
            self._references[version] = reference_of(self.pipeline, version, self.platform)
        return self._references[version]


def measure(pipeline: Pipeline, tick: Tick, platform: Platform) -> Measured:
    """Measure a tick's predictions, and the outcomes that are complete at this tick.

    These are the outcomes of the tick whose labels become complete now. If ticks are processed out of order, they include later
    ticks that were measured before this partition of labels was published, so the order does not change the measurements in the
    end. Safe to run again: the measurements are replaced by the same ones. Experiments and bandits that run are read, too.

    Raises: PredictionsMissing if the tick was not scored.
    """
    judged_ticks: list[str] = []
    waiting: list[str] = []
    measured: list[TickName] = []
    with engine(spill=platform.settings.home / "spill", lake=platform.lake) as con:
        measuring = _Measuring(pipeline, platform, con)
        written = _measure_inputs(tick, measuring)
        rows = next(row.n for row in written if row.what == "volume")
        for due in _due_ticks(pipeline, tick, platform):
            outcome_rows = _measure_outcomes(due, measuring)
            written += outcome_rows
            if outcome_rows:
                (judged_ticks if any(row.value is not None for row in outcome_rows) else waiting).append(str(due))
                measured.append(due.name)
        written += [row for row in renew_correlations(pipeline, measured, platform) if row.tick in measured]
        written += _measure_health(tick, written[0].model_version, measuring)
    breaches = tuple(row.sentence for row in written if row.breached)
    for sentence in breaches:
        log.warning("%s: %s", pipeline.name, sentence)
    log.info("%s: measured %d values at %s, %d breached", pipeline.name, len(written), tick, len(breaches))
    if pipeline.experiments is not None:
        from mlprod_tasks.experiments.follow import follow  # it loads libraries that no other tick needs

        follow(pipeline, tick, platform)
        if pipeline.experiments.bandit is not None:
            from mlprod_tasks.bandits.follow import follow_bandits

            follow_bandits(pipeline, tick, platform)
    return Measured(str(tick), rows, len(written), tuple(judged_ticks), tuple(waiting), breaches)


def _measure_inputs(tick: Tick, measuring: _Measuring) -> list[Measurement]:
    pipeline, platform, con = measuring.pipeline, measuring.platform, measuring.con
    rows = rows_of_tick(con, names.predictions(pipeline), pipeline.schedule.range(tick.name), platform)
    scoring = platform.ledger.get(Scoring, pipeline.name, tick.name)
    empty = rows is None and scoring is not None and scoring.rows == 0
    if rows is None and not empty:
        raise PredictionsMissing(
            f"{pipeline.name}: tick {tick} has no predictions in {names.predictions(pipeline)!r}: score it first "
            f"(`mlprod score {pipeline.name} --from {tick}`), then measure it"
        )
    fresh = list(freshness(con, pipeline, tick, platform))
    if rows is None:
        assert scoring is not None
        nothing = volume(measuring.reference(scoring.model_version), 0)
        if pipeline.entity_table.snapshots:
            nothing = replace(
                nothing, value=None, why=f"all rows of {pipeline.entity_name} have an outcome: none is to be scored"
            )
        elif pipeline.entity_table.may_be_empty_on(pipeline.schedule.day_of(tick.name)):
            why = f"{pipeline.entity_name} has no rows at the tick, as its declaration allows"
            nothing = Reading("volume", None, 0, reference=nothing.reference, why=why)
        return _write(tick, "input", [nothing, *fresh], scoring.model_version, measuring)
    logged, what = set(rows.kinds), f"measuring {pipeline.name} at {tick}"
    version, answered = rows.aggregate(WhoAnswered(logged), what)
    profile = measuring.reference(version)
    observed, estimated = _observe_and_estimate(pipeline, profile, rows, answered, what)
    only: dict[str, bool] = {watch.what: watch.only_important for watch in pipeline.watches}
    own = rows.only(answered.condition)
    readings = with_known_faults(own, profile, observed, list(inputs(profile, observed, only)), pipeline.features)
    readings += adaptation(own, pipeline, profile, version, tick, platform)
    readings += as_last_year(con, pipeline, profile, version, tick, observed, readings, platform)
    readings += [*fresh, *estimated]
    if pipeline.entity_table.snapshots:
        readings = [replace(one, value=None, why=NO_USUAL_VOLUME) if one.what == "volume" else one for one in readings]
    return _write(tick, "input", readings, version, measuring)


def _observe_and_estimate(
    pipeline: Pipeline, profile: ReferenceProfile, rows: TickRows, answered: OwnRows, what: str
) -> tuple[Observed, list[Reading]]:
    """What is counted of a tick's rows, and the metrics that are estimated from them."""
    own = rows.only(answered.condition)
    asked: list[Any] = [Observing(profile, rows.kinds, answered)]
    promises = promises_of(pipeline, profile, answered.answered)
    if promises is not None:
        asked.append(promises)
    elif profile.numbers is not None:
        asked.append(loss_model.EstimatedErrors(profile.numbers))
    observed, *others = own.aggregates(asked, what)
    if promises is not None:
        return observed, list(estimates(profile, others[0]))
    if profile.numbers is not None:
        return observed, others[0]
    promised_by = promised_of(profile)
    return observed, [] if promised_by is None else list(
        estimates(profile, promised_by(rows.con, answered.of(rows.source), pipeline))
    )


def _measure_health(tick: Tick, version: int, measuring: _Measuring) -> list[Measurement]:
    """Measure health last, when this step is nearly done.

    Bounds come from earlier ticks, not from the reference.
    """
    pipeline, platform = measuring.pipeline, measuring.platform
    usual = replace(measuring.reference(version), history=past(pipeline, tick, platform))
    readings = list(health(pipeline, tick, version, platform))
    return _write(tick, "health", readings, version, measuring, profile=usual)


def _due_ticks(pipeline: Pipeline, tick: Tick, platform: Platform) -> list[Tick]:
    """The ticks whose outcomes this run measures, provided that they were scored.

    The inputs of this tick are in the ledger by now. If a concurrent run of an earlier tick does not see them yet, then this
    run sees that run's predictions or labels, so together they leave nothing out.
    """
    delay, schedule = pipeline.label_delay_ticks, pipeline.schedule
    with platform.ledger.session() as session:
        later = (Measurement.tick > tick.name) & (Measurement.tick <= schedule.shift(tick.name, delay))
        query = select(Measurement.tick).where(Measurement.pipeline == pipeline.name, Measurement.what == "volume", later)
        moments = {tick.name, *session.scalars(query)}
    ticks = [schedule.shift(moment, -delay) for moment in sorted(moments)]
    return [schedule.tick(day) for day in ticks if day >= schedule.first]


def _measure_outcomes(tick: Tick, measuring: _Measuring) -> list[Measurement]:
    """Compute the outcomes from the current data and write them.

    If the data changed meanwhile, compute again.
    """
    while True:  # no tenacity: there is nothing to wait for, and no number of tries after which to give up
        evidence = _evidence(measuring.pipeline, tick, measuring.platform)
        if not evidence.predictions:
            log.info("%s: %s has no predictions, so it has no outcomes to measure", measuring.pipeline.name, tick)
            return []
        readings, version = _outcome_readings(tick, evidence, measuring)
        written = _write(tick, "outcome", readings, version, measuring, evidence)
        if written:
            return written


def _outcome_readings(tick: Tick, evidence: _Evidence, measuring: _Measuring) -> tuple[list[Reading], int]:
    pipeline, platform, con = measuring.pipeline, measuring.platform, measuring.con
    source = source_of(evidence.predictions)
    logged = set(types(con, source))
    who = WhoAnswered(logged)
    version, answered = who.merge([who.read(con, source)])
    rows, profile = answered.rows, measuring.reference(version)
    lacking = evidence.lacks(features.label_partitions(pipeline, tick.name, tick.name))
    if lacking:
        why = f"its labels wait for the publication of {pipeline.label.table} at {', '.join(map(str, lacking))}"
        nothing = [Reading("label_coverage", None, rows, why=why), *unmeasured(profile, why, rows)]
        return [*nothing, *unasked(pipeline, why, rows)], version
    as_of = pipeline.schedule.tick(pipeline.schedule.shift(tick.name, pipeline.label_delay_ticks))
    con.register("labels", features.labels(pipeline, pipeline.schedule.range(tick.name), as_of, platform, connection=con))
    key = ", ".join(map(quoted, pipeline.entity_table.key))
    # Rows scored before a feature was declared lack its column.
    selected = ", ".join(quoted(name) for name in (*columns(pipeline, profile), *ASSIGNED) if name in logged)
    # A fixed order, so that sums round the same way each time.
    joined: pa.Table = con.sql(
        f"SELECT {selected}, label FROM {source} JOIN labels USING ({key}) WHERE label IS NOT NULL ORDER BY {key}"
    ).to_arrow_table()
    promised_by = promised_of(profile)
    promised = None if promised_by is None else promised_by(con, answered.of(source), pipeline)
    metrics = business_metrics(pipeline, tick, rows, platform.settings)
    return [*outcomes(pipeline, profile, joined, rows, promised), *metrics], version


def _evidence(pipeline: Pipeline, tick: Tick, platform: Platform) -> _Evidence:
    first, *_, last = [tick.name, *features.label_partitions(pipeline, tick.name, tick.name)]
    whole = pipeline.table(pipeline.label.table).time is None
    published = platform.ledger.all(
        Publication,
        Publication.tick >= last if whole else (Publication.tick > first) & (Publication.tick <= last),
        pipeline=pipeline.name,
        table_name=pipeline.label.table,
    )
    labels = tuple((row.tick, row.delta_version) for row in published)
    if whole and labels:  # the first reading by which the outcomes are complete, or the next one
        labels = ((last, min(labels)[1]),)
    predictions = platform.lake.files_if_any(names.predictions(pipeline), pipeline.schedule.range(tick.name))
    return _Evidence(tuple(predictions), labels)


def _write(
    tick: Tick,
    family: Family,
    readings: list[Reading],
    version: int,
    measuring: _Measuring,
    evidence: _Evidence | None = None,
    profile: ReferenceProfile | None = None,
) -> list[Measurement]:
    """Replace the tick's measurements of a family.

    Writes and returns nothing if `evidence` has changed.
    """
    pipeline, platform = measuring.pipeline, measuring.platform

    def unchanged() -> bool:
        return evidence is None or evidence == _evidence(pipeline, tick, platform)

    known = profile or measuring.reference(version)
    return record(pipeline, tick, family, readings, version, platform, known, unchanged)
