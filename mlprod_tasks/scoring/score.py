"""Score a tick with the champion or the fallback, and store the predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.bandit import ACTION
from mlprod_tasks.declaration.experiment import CONTROL
from mlprod_tasks.declaration.task import HIGH, LOW
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Fallback, FallbackCause, Promotion, Scoring
from mlprod_tasks.promotion.fallback_switch import sentence, switched

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.apply import Adaptation, OwnScores
    from mlprod_tasks.experiments.assignment import Variant
    from mlprod_tasks.models.feature_frame import Predictions
    from mlprod_tasks.platform.model_files import ModelRef
    from mlprod_tasks.scoring.variants import Assigned

log = logging.getLogger(__name__)
MOST_NAMED = 5  # rows that a reason names


class NoModel(LookupError):
    """There is neither a champion nor a fallback to score with."""


@dataclass(frozen=True)
class Scored:
    """The predictions of one tick.

    fallback_reason: why the fallback answered all rows or some, or None.
    """

    tick: str
    rows: int
    model_version: int
    fallback_reason: str | None
    delta_version: int


@dataclass(frozen=True)
class _TickPredictions:
    """The answers to all rows of a tick.

    model_version: of the rows without a version of their own. versions: (rows,), if an experiment assigned some. own_scores:
    the champion's, if the use case adapts them.
    """

    features: pa.Table
    predictions: Predictions
    model_version: int
    by_fallback: NDArray[np.bool_]  # (rows,)
    fallback_reason: str | None
    fallback_cause: FallbackCause | None = None
    versions: NDArray[np.int32] | None = None
    assigned: Assigned | None = None
    own_scores: OwnScores | None = None

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which rows an experiment gave to the fallback: it did not have to step in for them, (rows,)."""
        return np.zeros(len(self.by_fallback), bool) if self.assigned is None else self.assigned.held_out()


@dataclass(frozen=True)
class _Answering:
    """A version that answers rows. adaptation: how its scores are adapted, if they may be."""

    model: Any
    version: int
    adaptation: Adaptation | None = None

    def predict(self, rows: pa.Table, answered: NDArray[np.bool_]) -> tuple[Predictions, OwnScores | None]:
        """Predict rows, and return the model's own scores where they may be adapted. answered: which of all rows they are."""
        own = self.model.predict(rows)
        return (own, None) if self.adaptation is None else self.adaptation.apply(self.model, rows, own, answered)


def score(pipeline: Pipeline, tick: Tick, platform: Platform, *, as_of: bool = False) -> Scored:
    """Replace the predictions of a tick, in the lake, then in the business database.

    `as_of` uses the champion of that tick instead of the current champion. Safe to run again: the rows are the same, and a
    rerun completes a run that was killed between the two writes.

    Raises: NoModel without champion and fallback; OtherTask if they were trained for another task than is declared; the error
    of the lake or database if one cannot be written.
    """
    ticks = pipeline.schedule.range(tick.name)
    answer = _predict_tick(pipeline, tick, ticks, platform, as_of)
    answer = replace(answer, predictions=_within_capacity(pipeline, tick, answer))
    rows = _rows(pipeline, answer)
    written = platform.lake.replace_ticks(names.predictions(pipeline), ticks, rows, note=f"version {answer.model_version}")
    if pipeline.publish is not None:
        _publish(pipeline, tick, rows, platform)
    platform.ledger.put(
        Scoring(
            pipeline=pipeline.name,
            tick=tick.name,
            model_version=answer.model_version,
            rows=rows.num_rows,
            fallback_rows=int(np.count_nonzero(answer.by_fallback & ~answer.held_out)),
            fallback_reason=answer.fallback_reason,
            features_digest=pipeline.digest,
            delta_version=written.version,
            at=platform.clock.now(),
            fallback_cause=answer.fallback_cause,
        )
    )
    log.info("%s: scored %d rows of %s with version %d", pipeline.name, rows.num_rows, tick, answer.model_version)
    return Scored(str(tick), rows.num_rows, answer.model_version, answer.fallback_reason, written.version)


def _within_capacity(pipeline: Pipeline, tick: Tick, answer: _TickPredictions) -> Predictions:
    """Leave out decisions to act for which the declared capacity has no room, whoever made them."""
    from mlprod_tasks.models.capacity import within_capacity

    decided = within_capacity(pipeline, answer.features, answer.predictions)
    if pipeline.capacity is not None:
        wanted, kept = (int(np.count_nonzero(one.decision)) for one in (answer.predictions, decided))
        log.info("%s: %s: acts on %d of %d rows that reach the threshold", pipeline.name, tick, kept, wanted)
    return decided


def _predict_tick(pipeline: Pipeline, tick: Tick, ticks: TickRange, platform: Platform, as_of: bool) -> _TickPredictions:
    """Predict with the champion; with the fallback, if it is switched on or the champion fails.

    A row with a feature that no model takes is answered by the fallback, as it is on request, and the others by the champion.
    """
    if (switch := switched(pipeline, platform, tick if as_of else None)) is not None:
        kept = _kept_fallback(pipeline, tick, None, platform, as_of)
        if kept is not None:
            return _fallback(pipeline, ticks, platform, kept, FallbackCause.SWITCHED, sentence(switch))
        log.error("%s: %s, but no fallback is stored for %s: the champion scores it", pipeline.name, sentence(switch), tick)
    champion: ModelRef | None = None
    try:
        champion = _champion(pipeline, tick, platform, as_of)
        model = _Answering(platform.registry.load_model(champion), champion.version)
        if pipeline.adapt is not None:
            from mlprod_tasks.adaptation.apply import adaptation_of

            model = replace(model, adaptation=adaptation_of(pipeline, tick, model.version, model.model, platform))
        built = features.build(pipeline, ticks, platform)
        answer = _model_predictions(pipeline, tick, model, built, platform)
    except Exception as error:
        if as_of and isinstance(error, NoModel):
            raise  # today's fallback did not exist at that tick
        log.exception("%s: the champion cannot score %s; trying the fallback", pipeline.name, tick)
        kept = _kept_fallback(pipeline, tick, champion.version if champion else None, platform, as_of)
        if kept is None:
            raise
        return _fallback(pipeline, ticks, platform, kept, FallbackCause.FAILED, f"{type(error).__name__}: {error}"[:1000])
    if pipeline.experiments is None:
        return answer
    from mlprod_tasks.scoring.variants import assigned

    experiment = assigned(pipeline, tick, built.table, champion.version, platform)
    return answer if experiment is None else _with_variants(pipeline, tick, answer, model, experiment, built, platform)


def _with_variants(
    pipeline: Pipeline,
    tick: Tick,
    champions: _TickPredictions,
    model: _Answering,
    experiment: Assigned,
    built: features.FeatureSet,
    platform: Platform,
) -> _TickPredictions:
    """Answer the rows of each treated variant with it. Where it fails, the champion's answers stand: nothing goes unscored."""
    from mlprod_tasks.models.predicted_columns import merged_predictions

    versions = np.full(built.table.num_rows, champions.model_version, np.int32)
    answer = replace(champions, versions=versions, assigned=experiment)
    for variant, named, rows in experiment.answering():
        if variant.name == CONTROL:
            continue
        try:
            treated = _variant_predictions(pipeline, tick, variant, model, built, rows, platform)
        except Exception:
            log.exception(
                "%s: %s: %s of experiment %s cannot score its %d rows: the champion scores them",
                pipeline.name, tick, variant.name, named, int(rows.sum()),
            )  # fmt: skip
            answer = replace(answer, assigned=experiment.failed(rows))
            continue
        versions[rows] = variant.version
        by_fallback = answer.by_fallback.copy()
        by_fallback[rows] = treated.by_fallback
        reasons = [one for one in (answer.fallback_reason, treated.fallback_reason) if one]
        merged = merged_predictions(treated.predictions, answer.predictions.take(~rows), rows)
        answer = replace(
            answer, predictions=merged, by_fallback=by_fallback,
            own_scores=_without(answer.own_scores, treated, rows),
            fallback_reason="; ".join(dict.fromkeys(reasons)) or None,
            fallback_cause=answer.fallback_cause or treated.fallback_cause,
        )  # fmt: skip
    return answer


def _without(own: OwnScores | None, treated: _TickPredictions, rows: NDArray[np.bool_]) -> OwnScores | None:
    """The champion's own scores after a variant answered rows: the champion itself with another threshold has the same."""
    return own if own is None or treated.own_scores is not None else own.without(rows)


def _variant_predictions(
    pipeline: Pipeline,
    tick: Tick,
    variant: Variant,
    champion: _Answering,
    built: features.FeatureSet,
    rows: NDArray[np.bool_],
    platform: Platform,
) -> _TickPredictions:
    """Predict some rows with a variant's version and threshold."""
    from mlprod_tasks.scoring.variants import decided_from

    if variant.held_out:
        return _held_out_predictions(pipeline, variant, built.table.filter(pa.array(rows)), platform)
    model = champion  # with another threshold
    if variant.version != champion.version:
        loaded = platform.registry.load_model(platform.registry.version(names.registered_model(pipeline), variant.version))
        model = _Answering(loaded, variant.version)
    positions = {int(old): new for new, old in enumerate(np.flatnonzero(rows))}
    failed = {positions[row]: name for row, name in built.failed.items() if row in positions}
    own = features.FeatureSet(built.table.filter(pa.array(rows)), built.versions, failed)
    answer = _model_predictions(pipeline, tick, model, own, platform)
    return replace(answer, predictions=decided_from(answer.predictions, variant.threshold, answer.by_fallback))


def _held_out_predictions(pipeline: Pipeline, variant: Variant, rows: pa.Table, platform: Platform) -> _TickPredictions:
    """Predict rows that are held out with the fallback of the champion. Raises: NoModel."""
    from mlprod_tasks.models.fallback import FallbackModel

    kept = platform.ledger.get(Fallback, pipeline.name, variant.version)
    if kept is None:
        raise NoModel(f"{pipeline.name}: no fallback is stored for version {variant.version}")
    predictions = FallbackModel.from_json(kept.model).predict(rows)
    return _TickPredictions(rows, predictions, variant.version, np.ones(rows.num_rows, bool), None)


def _model_predictions(
    pipeline: Pipeline, tick: Tick, answering: _Answering, built: features.FeatureSet, platform: Platform
) -> _TickPredictions:
    """Predict with the model, and rows that it cannot take with its fallback. Raises: ModelInputError, OtherTask."""
    from mlprod_tasks.models.check_task import check_task
    from mlprod_tasks.models.fallback import FallbackModel
    from mlprod_tasks.models.feature_frame import ModelInputError, not_finite
    from mlprod_tasks.models.predicted_columns import merged_predictions

    model, version = answering.model, answering.version
    check_task(pipeline, model, version)
    table = built.table
    read = [one.name for one in model.inputs if one.name not in model.codes and one.name in table.column_names]
    refused = not_finite(table, read) | dict(built.failed)
    by_fallback = np.zeros(table.num_rows, bool)
    by_fallback[list(refused)] = True
    if not refused:
        predictions, own = answering.predict(table, ~by_fallback)
        return _TickPredictions(table, predictions, version, by_fallback, None, own_scores=own)
    reason = _reason(pipeline, table, refused, built.failed)
    kept = platform.ledger.get(Fallback, pipeline.name, version)
    if kept is None:
        raise ModelInputError(f"{pipeline.name}: {tick}: {reason}; and no fallback is stored for version {version}")
    log.error("%s: %s: the fallback answers %d of %d rows: %s", pipeline.name, tick, len(refused), table.num_rows, reason)
    of_fallback = FallbackModel.from_json(kept.model).predict(table.filter(pa.array(by_fallback)))
    of_model, own = answering.predict(table.filter(pa.array(~by_fallback)), ~by_fallback)
    merged = merged_predictions(of_fallback, of_model, by_fallback)
    return _TickPredictions(table, merged, version, by_fallback, reason, FallbackCause.ROWS, own_scores=own)


def _reason(pipeline: Pipeline, table: pa.Table, refused: Mapping[int, str], failed: Mapping[int, str]) -> str:
    """Why rows cannot be scored, with the keys of the first ones unless they are personal."""
    key = pipeline.entity_table.key
    personal = any(pipeline.entity_table.column(name).personal for name in key)
    said = []
    for row in sorted(refused)[:MOST_NAMED]:
        what = "cannot be computed" if row in failed else "is infinite"
        which = "" if personal else f" for {', '.join(f'{name} {table[name][row].as_py()}' for name in key)}"
        said.append(f"feature {refused[row]!r} {what}{which}")
    more = f"; and {len(refused) - len(said):,} more rows" if len(refused) > len(said) else ""
    return "; ".join(dict.fromkeys(said)) + more


def _champion(pipeline: Pipeline, tick: Tick, platform: Platform, as_of: bool) -> ModelRef:
    registry = platform.registry
    champion = registry.champion_at(pipeline, tick, platform.ledger) if as_of else registry.champion(pipeline)
    if champion is None:
        raise NoModel(f"{pipeline.name} has no champion{f' at {tick}' if as_of else ''}: train a model first")
    return champion


def _kept_fallback(pipeline: Pipeline, tick: Tick, champion: int | None, platform: Platform, as_of: bool) -> Fallback | None:
    """Return the champion's fallback; if the champion is unknown, that of the last promoted version."""
    known = platform.ledger.all(Promotion, pipeline=pipeline.name)
    promoted = [promotion for promotion in known if promotion.effective <= tick.name or not as_of]
    last = max(promoted, key=lambda promotion: (promotion.effective, promotion.at), default=None)
    version = champion or (last.model_version if last else None)
    return None if version is None else platform.ledger.get(Fallback, pipeline.name, version)


def _fallback(
    pipeline: Pipeline, ticks: TickRange, platform: Platform, kept: Fallback, cause: FallbackCause, reason: str
) -> _TickPredictions:
    """Predict with the fallback. It works while lake joins and registry are down: it needs only the row and the ledger.

    Raises: OtherTask.
    """
    from mlprod_tasks.models.check_task import check_task
    from mlprod_tasks.models.fallback import FallbackModel

    model = FallbackModel.from_json(kept.model)
    check_task(pipeline, model, kept.model_version)
    # Value features too: the value of its decisions is later computed from the stored rows.
    table = features.build(pipeline, ticks, platform, only=(*pipeline.fallback.by, *pipeline.value_features)).table
    predictions = model.predict(table)
    return _TickPredictions(table, predictions, kept.model_version, np.ones(table.num_rows, bool), reason, cause)


def _rows(pipeline: Pipeline, answer: _TickPredictions) -> pa.Table:
    """Make the rows of the prediction table: keys, moments, scores, versions and features.

    A predicted number is the `score`, too, and its `decision` is null: nothing is decided. Of a class it is the probability.
    """
    from mlprod_tasks.models.predicted_columns import logged_columns

    table = answer.features
    n = table.num_rows
    front = [*pipeline.entity_table.key, pipeline.entity_table.time, "tick", "predict_at"]
    columns: dict[Any, Any] = {name: table[name] for name in front}
    columns |= logged_columns(answer.predictions, decides=pipeline.of_task.decides)
    columns |= {
        "fallback": pa.array(answer.by_fallback),
        "model_version": pa.array(np.full(n, answer.model_version, np.int32) if answer.versions is None else answer.versions),
        "features_digest": pa.array([pipeline.digest] * n, pa.string()),
    }
    if pipeline.model.coverage is not None and answer.predictions.interval is None:
        columns |= {name: pa.nulls(n, pa.float64()) for name in (LOW, HIGH)}
    if answer.own_scores is not None:
        columns |= answer.own_scores.columns()
    if answer.assigned is not None:
        columns |= answer.assigned.columns()
    # A column of the entity may also be a feature of the same name: then it is there already.
    columns |= {name: table[name] for name in pipeline.feature_names if name in table.column_names}
    return pa.table(columns)


def _publish(pipeline: Pipeline, tick: Tick, rows: pa.Table, platform: Platform) -> None:
    from mlprod_tasks.platform.sinks import replace_rows

    assert pipeline.publish is not None
    key = pipeline.entity_table.key
    answer = dict(pipeline.of_task.published)
    answer |= {LOW: LOW, HIGH: HIGH} if pipeline.model.coverage is not None else {}
    published = rows.select([*key, "tick", "predict_at", *answer, "fallback", "model_version"]).rename_columns(answer)
    if pipeline.acts:
        # Also at ticks without a bandit, so that the table has the column from the first tick on.
        actions = rows[ACTION] if ACTION in rows.column_names else pa.nulls(rows.num_rows, pa.string())
        published = published.append_column(ACTION, actions)
    url = platform.settings.database(pipeline.publish.connection)
    replace_rows(url, pipeline.publish.table, "tick", tick.name, published, key=key)
    log.info("%s: published %d rows to %s", pipeline.name, rows.num_rows, pipeline.publish.table)
