"""Score all rows of a tick at once, with experiments, bandits and a declared capacity."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.experiment import CONTROL
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Fallback, FallbackCause
from mlprod_tasks.scoring.answers import Answering, Answers, NoModel, TickRows, by_fallback, by_model, read_by_fallback
from mlprod_tasks.scoring.prediction_rows import prediction_rows

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.apply import OwnScores
    from mlprod_tasks.experiments.assignment import Variant
    from mlprod_tasks.models.feature_frame import Predictions
    from mlprod_tasks.platform.model_files import ModelRef
    from mlprod_tasks.scoring.variants import Assigned

log = logging.getLogger(__name__)


class AtOnce:
    """Scores a tick in this process. See `score.Way`."""

    def __init__(self, pipeline: Pipeline, tick: Tick, ticks: TickRange, platform: Platform) -> None:
        self._pipeline, self._tick, self._ticks, self._platform = pipeline, tick, ticks, platform
        self._built: tuple[Answering, features.FeatureSet] | None = None

    def by_champion(self, ref: ModelRef) -> Answers:
        """Answer with a version."""
        pipeline, tick, platform = self._pipeline, self._tick, self._platform
        model = Answering(platform.registry.load_model(ref), ref.version)
        if pipeline.adapt is not None:
            from mlprod_tasks.adaptation.apply import adaptation_of

            model = replace(model, adaptation=adaptation_of(pipeline, tick, model.version, model.model, platform))
        built = features.build(pipeline, self._ticks, platform)
        answers = by_model(pipeline, tick, model, built, platform)
        self._built = model, built
        return answers

    def by_fallback(self, kept: Fallback, cause: FallbackCause, reason: str) -> Answers:
        """Answer all rows with a fallback."""
        table = features.build(self._pipeline, self._ticks, self._platform, only=read_by_fallback(self._pipeline)).table
        return by_fallback(self._pipeline, table, kept.model, kept.model_version, reason, cause)

    def completed(self, answers: Answers) -> TickRows:
        """Let variants of an experiment answer rows that the champion has answered, and leave out what there is no room for."""
        pipeline, tick, platform = self._pipeline, self._tick, self._platform
        if pipeline.experiments is not None and self._built is not None:
            from mlprod_tasks.scoring.variants import assigned

            model, built = self._built
            if (experiment := assigned(pipeline, tick, built.table, model.version, platform)) is not None:
                answers = _with_variants(pipeline, tick, answers, model, experiment, built, platform)
        answers = replace(answers, predictions=_within_capacity(pipeline, tick, answers))
        stepped_in = int(np.count_nonzero(answers.by_fallback & ~answers.held_out))
        return TickRows(
            prediction_rows(pipeline, answers),
            answers.model_version,
            stepped_in,
            answers.fallback_reason,
            answers.fallback_cause,
        )


def _within_capacity(pipeline: Pipeline, tick: Tick, answer: Answers) -> Predictions:
    """Leave out decisions to act for which the declared capacity has no room, whoever made them."""
    from mlprod_tasks.models.capacity import within_capacity

    decided = within_capacity(pipeline, answer.features, answer.predictions)
    if pipeline.capacity is not None:
        wanted, kept = (int(np.count_nonzero(one.decision)) for one in (answer.predictions, decided))
        log.info("%s: %s: acts on %d of %d rows that reach the threshold", pipeline.name, tick, kept, wanted)
    return decided


def _with_variants(
    pipeline: Pipeline,
    tick: Tick,
    champions: Answers,
    model: Answering,
    experiment: Assigned,
    built: features.FeatureSet,
    platform: Platform,
) -> Answers:
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


def _without(own: OwnScores | None, treated: Answers, rows: NDArray[np.bool_]) -> OwnScores | None:
    """The champion's own scores after a variant answered rows: the champion itself with another threshold has the same."""
    return own if own is None or treated.own_scores is not None else own.without(rows)


def _variant_predictions(
    pipeline: Pipeline,
    tick: Tick,
    variant: Variant,
    champion: Answering,
    built: features.FeatureSet,
    rows: NDArray[np.bool_],
    platform: Platform,
) -> Answers:
    """Predict some rows with a variant's version and threshold."""
    from mlprod_tasks.scoring.variants import decided_from

    if variant.held_out:
        return _held_out_predictions(pipeline, variant, built.table.filter(pa.array(rows)), platform)
    model = champion  # with another threshold
    if variant.version != champion.version:
        loaded = platform.registry.load_model(platform.registry.version(names.registered_model(pipeline), variant.version))
        model = Answering(loaded, variant.version)
    positions = {int(old): new for new, old in enumerate(np.flatnonzero(rows))}
    failed = {positions[row]: name for row, name in built.failed.items() if row in positions}
    own = features.FeatureSet(built.table.filter(pa.array(rows)), built.versions, failed)
    answer = by_model(pipeline, tick, model, own, platform)
    return replace(answer, predictions=decided_from(answer.predictions, variant.threshold, answer.by_fallback))


def _held_out_predictions(pipeline: Pipeline, variant: Variant, rows: pa.Table, platform: Platform) -> Answers:
    """Predict rows that are held out with the fallback of the champion. Raises: NoModel."""
    kept = platform.ledger.get(Fallback, pipeline.name, variant.version)
    if kept is None:
        raise NoModel(f"{pipeline.name}: no fallback is stored for version {variant.version}")
    return by_fallback(pipeline, rows, kept.model, variant.version, None, None)
