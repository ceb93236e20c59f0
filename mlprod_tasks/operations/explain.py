"""Explain one prediction: what it was made of, where that came from, what each feature did, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.feature import Expression, names_of
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.features.known import quoted
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.operations.explanation_text import FeatureEffect, ModelOrigin, PredictionExplanation, SourceTable
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import names as places
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing, listed
from mlprod_tasks.platform.ledger import Fallback, GateResult, Publication, Scoring, Training
from mlprod_tasks.platform.registry import TRAINING_TAG, BrokenArtifact, ModelRef, RegistryUnreachable
from mlprod_tasks.reporting.data_dictionary import meanings
from mlprod_tasks.training.split import TRAIN
from mlprod_tasks.training.workspace import TrainingFolder

EXACT = "log-odds: what each feature adds before calibration; score: about how much the score would fall without it"
USUAL = "score: how much it falls with {usual} in the feature's place, one at a time; it need not add up"


class NoSuchPrediction(LookupError):
    """No row of that key was scored, or several were. Says where it is."""


@dataclass(frozen=True)
class _Effects:
    """By feature: what it adds in log-odds, what it does to the score; how that was had; base and sum of the log-odds."""

    log_odds: dict[str, float]
    probability: dict[str, float]
    way: str
    base: float | None = None
    total: float | None = None


def explain(pipeline: Pipeline, key: Sequence[str], platform: Platform, tick: Tick | None = None) -> PredictionExplanation:
    """Explain the prediction of the row of that key.

    key: a value for each column of the entity's key; or one text of all of them, separated by commas, where no value holds one.

    Raises: NoSuchPrediction where the key does not fit, or none or several ticks hold it.
    """
    row, of_tick = _row(pipeline, _key_values(pipeline, key), platform, tick)
    scoring = platform.ledger.get(Scoring, pipeline.name, of_tick.date)
    version, by_fallback = int(row["model_version"][0].as_py()), bool(row["fallback"][0].as_py())
    ref = _ref(pipeline, version, platform)
    model, why_not = _model(pipeline, version, ref, by_fallback, platform)
    again, effects = None, _Effects({}, {}, "the model cannot be asked")
    learner = "unknown" if model is None else "rate table" if by_fallback else model.kind
    if model is not None:
        try:
            if hasattr(model, "answering"):  # a model a segment: the one of this row
                whole, model = model, model.answering(row)
                learner = f"{model.kind} of {'no own segment' if model is whole.overall else f'its {whole.by}'}"
            again = float(model.predict(row).score[0])
            effects = _effects(pipeline, model, row, of_tick, ref, platform)
        except ModelInputError as error:
            why_not = str(error)
    outcome, known_at = _outcome(pipeline, row, of_tick, platform)
    told, read = meanings(pipeline), (model.feature_names if model is not None else pipeline.feature_names)
    shown = [name for name in read if name in row.column_names]
    # The ledger tells of the last scoring; a row of another version is of a scoring before that.
    current = scoring is not None and scoring.model_version == version
    return PredictionExplanation(
        pipeline=pipeline.name,
        key={name: str(row[name][0].as_py()) for name in pipeline.entity_table.key},
        tick=str(of_tick),
        predict_at=_moment(pipeline, row["predict_at"][0].as_py()),
        score=float(row["score"][0].as_py()),
        threshold=None if model is None else float(model.threshold),
        decision=bool(row["decision"][0].as_py()),
        fallback=by_fallback,
        fallback_reason=scoring.fallback_reason if scoring is not None and by_fallback else None,
        outcome=outcome,
        outcome_known_at=None if known_at is None else _moment(pipeline, known_at),
        model_version=version,
        learner=learner,
        calibration=getattr(getattr(model, "calibration", None), "way", "none"),
        parts=tuple(
            FeatureEffect(
                name, _told(row[name][0].as_py()), effects.log_odds.get(name), effects.probability.get(name), told.get(name, "")
            )
            for name in shown
        ),
        way=effects.way,
        base_log_odds=effects.base,
        log_odds=effects.total,
        recomputed=again,
        not_recomputed=why_not,
        scored_at=_moment(pipeline, scoring.at) if scoring is not None and current else None,
        predictions_version=scoring.delta_version if scoring is not None and current else None,
        declaration=str(row["features_digest"][0].as_py()),
        declaration_is_todays=row["features_digest"][0].as_py() == pipeline.digest,
        sources=_sources(pipeline, shown, scoring.at if scoring is not None and current else None, platform),
        origin=_origin(pipeline, version, ref, platform),
    )


def _key_values(pipeline: Pipeline, given: Sequence[str]) -> list[str]:
    """A value for each column of the entity's key. Raises: NoSuchPrediction."""
    columns = pipeline.entity_table.key
    values = given[0].split(",") if len(given) == 1 and len(columns) > 1 else list(given)
    if len(values) != len(columns):
        wanted, came = format_count(len(columns), "column"), format_count(len(values), "value was", "values were")
        hint = "; if a value holds a comma, give --key once for each column" if len(columns) > 1 else ""
        raise NoSuchPrediction(
            f"{pipeline.name}: the key of {pipeline.entity!r} has {wanted}, {', '.join(columns)}, but {came} given{hint}"
        )
    return values


def _row(pipeline: Pipeline, key: Sequence[str], platform: Platform, tick: Tick | None) -> tuple[pa.Table, Tick]:
    """The one stored prediction of that key, with its tick."""
    names, table = pipeline.entity_table.key, places.predictions(pipeline)
    if not platform.lake.exists(table):
        raise NoSuchPrediction(
            f"{pipeline.name} has no predictions yet: score a tick first (`mlprod score {pipeline.name} --from ...`)"
        )
    found = _of_key(pipeline, table, key, platform, tick)
    ticks = sorted(set(found["tick"].to_pylist()))
    if len(ticks) == 1 and found.num_rows == 1:
        return found, pipeline.schedule.tick(ticks[0])
    shown = f"{pipeline.name}: {', '.join(f'{name} {value!r}' for name, value in zip(names, key, strict=True))}"
    if ticks:
        raise NoSuchPrediction(f"{shown} was scored at several ticks: {', '.join(map(str, ticks))}. Say which with --tick")
    raise NoSuchPrediction(
        f"{shown} was not scored{f' at {tick}' if tick else ''}{_hint(pipeline, table, key, platform, tick)}"
    )


def _of_key(pipeline: Pipeline, table: str, key: Sequence[str], platform: Platform, tick: Tick | None) -> pa.Table:
    """The rows of a lake table with that key, at one tick or at all."""
    files = platform.lake.files(table, pipeline.schedule.range(tick.date) if tick else None)
    matched = " AND ".join(f"CAST({quoted(name)} AS VARCHAR) = ?" for name in pipeline.entity_table.key)
    if not files:
        return pa.table({"tick": pa.array([], pa.date32())})
    source = f"read_parquet({listed(files)}, hive_partitioning=true, hive_types={{'tick': DATE}}, union_by_name=true)"
    with engine() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"SELECT * FROM {source} WHERE {matched}", params=list(key)).to_arrow_table()


def _hint(pipeline: Pipeline, table: str, key: Sequence[str], platform: Platform, tick: Tick | None) -> str:
    """Where the key is instead: at another tick, or among rows that nobody scored."""
    if tick is not None:
        others = sorted(set(_of_key(pipeline, table, key, platform, None)["tick"].to_pylist()))
        if others:
            nearest = min(others, key=lambda day: abs(day - tick.date))
            return f", but at {nearest}: give --tick {nearest}"
    raw = places.raw(pipeline, pipeline.entity)
    there = sorted(set(_of_key(pipeline, raw, key, platform, None)["tick"].to_pylist())) if platform.lake.exists(raw) else []
    if there:
        return f"; {pipeline.entity!r} has it at {there[-1]}: `mlprod score {pipeline.name} --from {there[-1]}`"
    scored = sorted(platform.lake.ticks(table))
    return f", and {pipeline.entity!r} does not have it either; {len(scored)} ticks are scored, {scored[0]} to {scored[-1]}"


def _ref(pipeline: Pipeline, version: int, platform: Platform) -> ModelRef | None:
    try:
        return platform.registry.version(places.registered_model(pipeline), version)
    except (BrokenArtifact, RegistryUnreachable):
        return None


def _model(
    pipeline: Pipeline, version: int, ref: ModelRef | None, by_fallback: bool, platform: Platform
) -> tuple[Any, str | None]:
    """What gave the score, else why it cannot be had."""
    if by_fallback:
        kept = platform.ledger.get(Fallback, pipeline.name, version)
        if kept is None:
            return None, f"the ledger does not have the fallback of version {version} any more"
        return FallbackModel.from_json(kept.model), None
    if ref is None:
        return None, f"the registry does not have version {version}, or does not answer"
    try:
        return platform.registry.load_model(ref), None
    except (BrokenArtifact, RegistryUnreachable) as error:
        return None, str(error)


def _effects(pipeline: Pipeline, model: Any, row: pa.Table, tick: Tick, ref: ModelRef | None, platform: Platform) -> _Effects:
    """Exact contributions where the model has them; else what changes with a usual value in each feature's place."""
    added = model.contributions(row) if hasattr(model, "contributions") else None
    if added is not None:
        total = float(added[0].sum())
        log_odds = {name: float(one) for name, one in zip(model.feature_names, added[0, :-1], strict=True)}
        without = np.array([total, *(total - one for one in log_odds.values())])
        score = model.calibration(1 / (1 + np.exp(-without)))
        return _Effects(
            log_odds,
            {name: float(score[0] - one) for name, one in zip(log_odds, score[1:], strict=True)},
            EXACT,
            float(added[0, -1]),
            total,
        )
    usual, whose = _usual(pipeline, model.feature_names, tick, ref, platform)
    score = float(model.predict(row).score[0])
    changed = {}
    for name, value in usual.items():
        i = row.column_names.index(name)
        other = row.set_column(i, name, pa.array([value], row.schema.field(name).type))
        changed[name] = score - float(model.predict(other).score[0])
    return _Effects({}, changed, USUAL.format(usual=whose))


def _usual(
    pipeline: Pipeline, names: Sequence[str], tick: Tick, ref: ModelRef | None, platform: Platform
) -> tuple[dict[str, Any], str]:
    """The median of each number and the most frequent text: of the training rows, or where they are gone of the tick's rows."""
    training = None if ref is None else platform.registry.run_tags(ref.run_id).get(TRAINING_TAG)
    folder = None if training is None else TrainingFolder(platform, training)
    if folder is not None and folder.training_set.is_file():
        rows = pq.read_table(folder.training_set, columns=list(names), filters=pc.field("split") == TRAIN)
        whose = "the training rows' median or most frequent value"
    else:
        with engine() as connection:
            source = (
                f"read_parquet({listed(platform.lake.files(places.predictions(pipeline), pipeline.schedule.range(tick.date)))})"
            )
            rows = connection.sql(f"SELECT {', '.join(map(quoted, names))} FROM {source}").to_arrow_table()
        whose = "the median or most frequent value of the tick's rows (the training set is gone)"
    return {name: _middle(rows[name].combine_chunks()) for name in names}, whose


def _middle(column: Any) -> Any:
    """The lower median of numbers, so that it is a value that occurs; of anything else the most frequent, first by order."""
    present = column.drop_null()
    if len(present) == 0:
        return None
    if pa.types.is_integer(present.type) or pa.types.is_floating(present.type):
        return present.sort()[(len(present) - 1) // 2].as_py()
    counted = pc.value_counts(present).to_pylist()
    return max(sorted(counted, key=lambda one: str(one["values"])), key=lambda one: one["counts"])["values"]


def _outcome(pipeline: Pipeline, row: pa.Table, tick: Tick, platform: Platform) -> tuple[bool | None, datetime | None]:
    """What became of the row, as far as it is known by now."""
    now = platform.clock.now().astimezone(pipeline.schedule.zone).date()
    last = max(tick.date, min(now, pipeline.schedule.ends or now))
    try:
        known = features.labels(pipeline, pipeline.schedule.range(tick.date), pipeline.schedule.tick(last), platform)
    except TableMissing:
        return None, None
    for name in pipeline.entity_table.key:
        known = known.filter(pc.equal(known[name], pa.scalar(row[name][0].as_py(), known[name].type)))
    if known.num_rows == 0:
        return None, None
    return bool(known["label"][0].as_py()), known["label_known_at"][0].as_py()


def _sources(
    pipeline: Pipeline, names: Sequence[str], scored_at: datetime | None, platform: Platform
) -> tuple[SourceTable, ...]:
    """The tables behind the features, each with the newest version that was published before the scoring."""
    shown = set(names)
    tables = {pipeline.entity}
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
    """To the minute, in the pipeline's zone."""
    return f"{moment.astimezone(pipeline.schedule.zone):%Y-%m-%d %H:%M %Z}"


def _told(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
