"""Explain one prediction: its features and their sources, the effect of each feature, and the outcome."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import features
from mlprod_tasks.adaptation.apply import AdaptationLost, adapted_by
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import ASSIGNED, EXPERIMENT, HOLD_OUT, VARIANT
from mlprod_tasks.declaration.feature import Expression, names_of
from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.models.predicted_columns import ADAPTATION, single_score
from mlprod_tasks.operations import feature_effects
from mlprod_tasks.operations.explanation_text import FeatureEffect, ModelOrigin, PredictionExplanation, SourceTable
from mlprod_tasks.operations.feature_effects import FeatureEffects
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import names as places
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing, listed
from mlprod_tasks.platform.ledger import Fallback, GateResult, Publication, Scoring, Training
from mlprod_tasks.platform.model_files import BrokenArtifact, ModelRef
from mlprod_tasks.platform.registry import TRAINING_TAG, RegistryUnreachable
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.tick_columns import sql_type, tick_array
from mlprod_tasks.reporting.data_dictionary import meanings
from mlprod_tasks.scoring.variants import row_thresholds

MOST_CLASSES = 5  # of which an explanation gives the probability
TABLES = {"binary": "rate table", "regression": "mean table", "multiclass": "share table"}  # kinds of fallback, by task


class NoSuchPrediction(LookupError):
    """No row with that key was scored, or several were. The message says where the key is found."""


@dataclass(frozen=True)
class _Stored:
    """A stored prediction: its row, and its entries in ledger and registry."""

    row: pa.Table
    tick: Tick
    scoring: Scoring | None
    version: int
    by_fallback: bool
    ref: ModelRef | None

    @property
    def declaration(self) -> str:
        """The digest of the declaration that the features were computed by."""
        return str(self.row["features_digest"][0].as_py())

    @property
    def fallback_reason(self) -> str | None:
        if not self.by_fallback:
            return None
        if set(ASSIGNED) <= set(self.row.column_names) and self.row[VARIANT][0].as_py() == HOLD_OUT:
            return f"experiment {self.row[EXPERIMENT][0].as_py()} keeps its unit from the model"
        return None if self.scoring is None else self.scoring.fallback_reason

    @property
    def current(self) -> Scoring | None:
        """The scoring that wrote this row; None if the tick was scored again with another version."""
        return self.scoring if self.scoring is not None and self.scoring.model_version == self.version else None


@dataclass(frozen=True)
class _Recomputed:
    """The score and effects that the model gives for the stored features; without a score, why it has none."""

    model: Any
    learner: str
    score: float | None
    why_not: str | None
    effects: FeatureEffects

    @property
    def feature_names(self) -> tuple[str, ...]:
        return () if self.model is None else tuple(self.model.feature_names)


def explain(pipeline: Pipeline, key: Sequence[str], platform: Platform, tick: Tick | None = None) -> PredictionExplanation:
    """Explain the prediction of the row with that key.

    key: one value for each column of the entity's key, or a single text with all values, separated by commas, if no value
    contains a comma.

    Raises: NoSuchPrediction if the key has the wrong number of values, or no tick or several ticks have it.
    """
    stored = _read_stored(pipeline, _key_values(pipeline, key), platform, tick)
    again, row, current = _recompute(pipeline, stored, platform), stored.row, stored.current
    outcome, known_at = _outcome(pipeline, row, stored.tick, platform)
    shown = [name for name in again.feature_names or pipeline.feature_names if name in row.column_names]
    return PredictionExplanation(
        pipeline=pipeline.name,
        key={name: str(row[name][0].as_py()) for name in pipeline.entity_table.key},
        tick=str(stored.tick),
        predict_at=_moment(pipeline, row["predict_at"][0].as_py()),
        score=float(row["score"][0].as_py()),
        threshold=_threshold(pipeline, row, again, platform),
        decision=row["decision"][0].as_py(),
        fallback=stored.by_fallback,
        fallback_reason=stored.fallback_reason,
        outcome=outcome,
        outcome_known_at=None if known_at is None else _moment(pipeline, known_at),
        model_version=stored.version,
        learner=again.learner,
        calibration=getattr(getattr(again.model, "calibration", None), "way", "none"),
        parts=_parts(pipeline, row, shown, again.effects),
        way=again.effects.way,
        base_log_odds=again.effects.base,
        log_odds=again.effects.total,
        recomputed=again.score,
        not_recomputed=again.why_not,
        scored_at=None if current is None else _moment(pipeline, current.at),
        predictions_version=None if current is None else current.delta_version,
        declaration=stored.declaration,
        declaration_is_todays=stored.declaration == pipeline.digest,
        sources=_sources(pipeline, shown, None if current is None else current.at, platform),
        origin=_origin(pipeline, stored.version, stored.ref, platform),
        interval=_interval(row),
        scale=again.effects.scale,
        predicted=row[PREDICTION][0].as_py() if PREDICTION in row.column_names else None,
        probabilities=_likeliest(row),
        capacity=None if pipeline.capacity is None else pipeline.capacity.per_tick,
    )


def _threshold(pipeline: Pipeline, row: pa.Table, again: _Recomputed, platform: Platform) -> float | None:
    """The threshold that decided the row: an experiment's, or the model's; None if nothing is decided from a score."""
    (of_variant,) = row_thresholds(pipeline, row, platform)
    own = None if again.model is None else again.model.threshold
    threshold = own if of_variant is None else of_variant
    return None if threshold is None else float(threshold)


def _likeliest(row: pa.Table) -> tuple[tuple[str, float], ...]:
    """The MOST_CLASSES likeliest classes with their probabilities; none if no class was predicted."""
    if PROBABILITIES not in row.column_names or row[PROBABILITIES][0].as_py() is None:
        return ()
    shares: dict[str, float] = json.loads(row[PROBABILITIES][0].as_py())
    return tuple(sorted(shares.items(), key=lambda one: (-one[1], one[0]))[:MOST_CLASSES])


def _interval(row: pa.Table) -> tuple[float, float] | None:
    ends = [row[name][0].as_py() for name in (LOW, HIGH) if name in row.column_names]
    return (ends[0], ends[1]) if len(ends) == 2 and None not in ends else None


def _read_stored(pipeline: Pipeline, key: Sequence[str], platform: Platform, tick: Tick | None) -> _Stored:
    """Read the stored prediction with that key. Raises: NoSuchPrediction."""
    row, of_tick = _row(pipeline, key, platform, tick)
    version = int(row["model_version"][0].as_py())
    return _Stored(
        row=row,
        tick=of_tick,
        scoring=platform.ledger.get(Scoring, pipeline.name, of_tick.name),
        version=version,
        by_fallback=bool(row["fallback"][0].as_py()),
        ref=_ref(pipeline, version, platform),
    )


def _recompute(pipeline: Pipeline, stored: _Stored, platform: Platform) -> _Recomputed:
    """Score the stored features again, with the effect of each feature, or say why that is not possible."""
    model, why_not = _model(pipeline, stored, platform)
    unknown = FeatureEffects({}, {}, "the model cannot be loaded or does not accept the stored features")
    if model is None:
        return _Recomputed(None, "unknown", None, why_not, unknown)
    learner = TABLES[model.task] if stored.by_fallback else model.kind
    try:
        if hasattr(model, "answering"):  # one model per segment: take the one of this row
            whole, model = model, model.answering(stored.row)
            learner = f"{model.kind} of {'no own segment' if model is whole.overall else f'its {whole.by}'}"
        state = stored.row[ADAPTATION][0].as_py() if ADAPTATION in stored.row.column_names else None
        score = single_score(adapted_by(pipeline, stored.version, state, model, platform).predict(stored.row))
        effects = feature_effects.measure(pipeline, model, stored.row, stored.tick, stored.ref, platform)
        return _Recomputed(model, learner, score, None, effects)
    except (AdaptationLost, ModelInputError) as error:
        return _Recomputed(model, learner, None, str(error), unknown)


def _parts(pipeline: Pipeline, row: pa.Table, names: Sequence[str], effects: FeatureEffects) -> tuple[FeatureEffect, ...]:
    described = meanings(pipeline)
    return tuple(
        FeatureEffect(
            name,
            _value_text(row[name][0].as_py()),
            effects.log_odds.get(name),
            effects.probability.get(name),
            described.get(name, ""),
        )
        for name in names
    )


def _key_values(pipeline: Pipeline, given: Sequence[str]) -> list[str]:
    """One value for each column of the entity's key. Raises: NoSuchPrediction."""
    columns = pipeline.entity_table.key
    values = given[0].split(",") if len(given) == 1 and len(columns) > 1 else list(given)
    if len(values) != len(columns):
        expected, received = format_count(len(columns), "column"), format_count(len(values), "value was", "values were")
        hint = "; if a value contains a comma, give --key once for each column" if len(columns) > 1 else ""
        raise NoSuchPrediction(
            f"{pipeline.name}: the key of {pipeline.entity_name!r} has {expected}, {', '.join(columns)}, but {received} "
            f"given{hint}"
        )
    return values


def _row(pipeline: Pipeline, key: Sequence[str], platform: Platform, tick: Tick | None) -> tuple[pa.Table, Tick]:
    """The only stored prediction with that key, and its tick."""
    names, table = pipeline.entity_table.key, places.predictions(pipeline)
    if not platform.lake.exists(table):
        raise NoSuchPrediction(
            f"{pipeline.name} has no predictions yet: score a tick first (`mlprod score {pipeline.name} --from ...`)"
        )
    matches = _rows_of_key(pipeline, table, key, platform, tick)
    ticks = sorted(set(matches["tick"].to_pylist()))
    if len(ticks) == 1 and matches.num_rows == 1:
        return matches, pipeline.schedule.tick(ticks[0])
    shown = f"{pipeline.name}: {', '.join(f'{name} {value!r}' for name, value in zip(names, key, strict=True))}"
    if ticks:
        raise NoSuchPrediction(f"{shown} was scored at several ticks: {', '.join(map(str, ticks))}. Choose one with --tick")
    raise NoSuchPrediction(
        f"{shown} was not scored{f' at {tick}' if tick else ''}{_hint(pipeline, table, key, platform, tick)}"
    )


def _rows_of_key(pipeline: Pipeline, table: str, key: Sequence[str], platform: Platform, tick: Tick | None) -> pa.Table:
    """The rows of a lake table with that key, at one tick or at any."""
    files = platform.lake.files(table, pipeline.schedule.range(tick.name) if tick else None)
    matched = " AND ".join(f"CAST({identifier(name)} AS VARCHAR) = ?" for name in pipeline.entity_table.key)
    if not files:
        return pa.table({"tick": tick_array([], pipeline.schedule)})
    kind = sql_type(pipeline.schedule)
    source = f"read_parquet({listed(files)}, hive_partitioning=true, hive_types={{'tick': {kind}}}, union_by_name=true)"
    with engine(lake=platform.lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"SELECT * FROM {source} WHERE {matched}", params=list(key)).to_arrow_table()


def _hint(pipeline: Pipeline, table: str, key: Sequence[str], platform: Platform, tick: Tick | None) -> str:
    """Say where the key is instead: at another tick, or among rows that were not scored."""
    if tick is not None:
        others = sorted(set(_rows_of_key(pipeline, table, key, platform, None)["tick"].to_pylist()))
        if others:
            nearest = min(others, key=lambda day: abs(pipeline.schedule.elapsed(day, tick.name)))
            return f", but at {nearest}: give --tick {nearest}"
    raw = places.raw(pipeline, pipeline.entity_name)
    unscored = (
        sorted(set(_rows_of_key(pipeline, raw, key, platform, None)["tick"].to_pylist())) if platform.lake.exists(raw) else []
    )
    if unscored:
        return f"; {pipeline.entity_name!r} has it at {unscored[-1]}: `mlprod score {pipeline.name} --from {unscored[-1]}`"
    scored = sorted(platform.lake.ticks(table))
    ticks = format_count(len(scored), "tick is", "ticks are")
    return f", and {pipeline.entity_name!r} does not have it either; {ticks} scored, {scored[0]} to {scored[-1]}"


def _ref(pipeline: Pipeline, version: int, platform: Platform) -> ModelRef | None:
    try:
        return platform.registry.version(places.registered_model(pipeline), version)
    except (BrokenArtifact, RegistryUnreachable):
        return None


def _model(pipeline: Pipeline, stored: _Stored, platform: Platform) -> tuple[Any, str | None]:
    """The model that gave the score, or the reason why it cannot be loaded."""
    version, ref = stored.version, stored.ref
    if stored.by_fallback:
        kept = platform.ledger.get(Fallback, pipeline.name, version)
        if kept is None:
            return None, f"the ledger no longer has the fallback of version {version}"
        return FallbackModel.from_json(kept.model), None
    if ref is None:
        return None, f"the registry does not have version {version}, or does not answer"
    try:
        return platform.registry.load_model(ref), None
    except (BrokenArtifact, RegistryUnreachable) as error:
        return None, str(error)


def _outcome(
    pipeline: Pipeline, row: pa.Table, tick: Tick, platform: Platform
) -> tuple[bool | float | str | None, datetime | None]:
    """The outcome of the row and when it became known; None if it is not known yet."""
    now = platform.clock.now().astimezone(pipeline.schedule.zone).date()
    last = max(tick.name, min(now, pipeline.schedule.last or now))
    try:
        known = features.labels(pipeline, pipeline.schedule.range(tick.name), pipeline.schedule.tick(last), platform)
    except TableMissing:
        return None, None
    for name in pipeline.entity_table.key:
        known = known.filter(pc.equal(known[name], pa.scalar(row[name][0].as_py(), known[name].type)))
    if known.num_rows == 0:
        return None, None
    return known["label"][0].as_py(), known["label_known_at"][0].as_py()


def _sources(
    pipeline: Pipeline, names: Sequence[str], scored_at: datetime | None, platform: Platform
) -> tuple[SourceTable, ...]:
    """The tables that the features read, each with the newest version published before the scoring."""
    shown = set(names)
    population = pipeline.population
    tables = {population.seen_in if population is not None else pipeline.entity_name}
    for feature in pipeline.features:
        if not isinstance(feature, Expression) and shown & set(names_of(feature)):
            tables.add(feature.table)
    sources = []
    for table in (table.name for table in pipeline.tables if table.name in tables):
        name = places.raw(pipeline, table)
        published = platform.ledger.all(Publication, pipeline=pipeline.name, table_name=table)
        before = [one.delta_version for one in published if scored_at is not None and one.at <= scored_at]
        sources.append(SourceTable(name, max(before, default=None), platform.lake.version(name)))
    return tuple(sources)


def _origin(pipeline: Pipeline, version: int, ref: ModelRef | None, platform: Platform) -> ModelOrigin:
    tags = platform.registry.run_tags(ref.run_id) if ref is not None else {}
    training_id = tags.get(TRAINING_TAG) or next(
        (one.id for one in platform.ledger.all(Training, pipeline=pipeline.name, model_version=version)), None
    )
    training = platform.ledger.get(Training, training_id) if training_id else None
    gates = platform.ledger.all(GateResult, training_id=training_id) if training_id else []
    base = platform.settings.mlflow_base_url
    return ModelOrigin(
        training_id=training_id,
        as_of=str(training.as_of) if training else tags.get("mlprod.as_of"),
        reason=training.reason if training else None,
        gates_passed=sum(gate.passed for gate in gates),
        gates=len(gates),
        run_id=ref.run_id if ref else None,
        run_url=platform.registry.run_url(ref.run_id, base) if ref and base else None,
        code=tags.get("mlprod.code_digest"),
        git_commit=tags.get("mlprod.git_commit"),
    )


def _moment(pipeline: Pipeline, moment: datetime) -> str:
    """Format a moment to the minute, in the pipeline's time zone."""
    return f"{moment.astimezone(pipeline.schedule.zone):%Y-%m-%d %H:%M %Z}"


def _value_text(value: Any) -> str:
    if value is None:
        return "missing"
    return format_number(value) if isinstance(value, float) else str(value)
