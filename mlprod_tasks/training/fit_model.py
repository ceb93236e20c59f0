"""Fit every candidate, take the best on the validation window, calibrate it there and set its threshold."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Averaging, Learner, LightGBM, Pipeline, Stacking
from mlprod_tasks.declaration.checks.training import CONTINUED
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.models import calibration, decision_value
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.feature_frame import Input, inputs_of, matrix, outcome_of, read
from mlprod_tasks.models.learners import Columns, FittedLearner, LearnerRows, fit_learner
from mlprod_tasks.models.learners.permutation import shares
from mlprod_tasks.models.model import Candidate, Model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.statistics import metrics
from mlprod_tasks.training import sample_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedRows:
    """Both windows as learners read them; codes are of the training rows, weights as declared."""

    inputs: tuple[Input, ...]
    codes: Mapping[str, tuple[Any, ...]]
    columns: Columns
    train: LearnerRows
    validation: LearnerRows


@dataclass(frozen=True)
class FittedCandidate:
    """A candidate fitted and calibrated, with what it scores on the validation window."""

    learner: Learner
    fitted: FittedLearner
    calibration: Calibration
    threshold: float
    metrics: Mapping[str, float]


def fit_model(
    pipeline: Pipeline,
    train_rows: pa.Table,
    validation_rows: pa.Table,
    facts: ModelFacts,
    tuned: Mapping[str, Learner] | None = None,
    warm: Model | None = None,
) -> Model:
    """Fit to rows with features, `label` and, for recency and stacking, `tick`; rows in the order of time.

    Each candidate is calibrated on the validation window in the same way; of the calibrated ones that with the best
    `choose_by` there becomes the model, the first declared of equal ones. So the choice and what it shows on the validation
    window flatter a little; the test window stays untouched.

    tuned: candidates with other parameters, by name. warm: the champion, whose trees a warm update continues.
    facts: kept with the model, besides its recipe and the rates of both windows.
    """
    prepared = prepare(pipeline, train_rows, validation_rows)
    candidates = tuple((tuned or {}).get(learner.name, learner) for learner in pipeline.model.candidates)
    if tuned:
        pipeline = replace(pipeline, model=replace(pipeline.model, candidates=candidates))
    fitted = {one.learner.name: one for one in _all(pipeline, prepared, validation_rows, warm)}
    in_order = [fitted[name] for name in (*(learner.name for learner in candidates), CONTINUED) if name in fitted]
    best = _best(pipeline.model.choose_by, in_order)
    if len(in_order) > 1:
        log.info("%s: %s is the best of %d by %s", pipeline.name, best.learner.name, len(in_order), pipeline.model.choose_by)
    importance = best.fitted.importance
    return Model(
        inputs=prepared.inputs,
        codes=prepared.codes,
        fitted=best.fitted,
        calibration=best.calibration,
        threshold=best.threshold,
        threads=pipeline.model.threads,
        facts=replace(
            facts,
            training_rate=float(np.mean(prepared.train.y)),
            validation_rate=float(np.mean(prepared.validation.y)),
            recipe=pipeline.as_json()["model"],
        ),
        candidates=tuple(
            Candidate(
                one.learner.name, type(one.learner).__name__, one is best, {k: _or_none(v) for k, v in one.metrics.items()}
            )
            for one in in_order
        ),
        shares=None
        if importance is not None
        else tuple(shares(best.fitted, prepared.validation, pipeline.model.seed).tolist()),
    )


def prepare(pipeline: Pipeline, train_rows: pa.Table, validation_rows: pa.Table) -> PreparedRows:
    """Code the categories by the training rows alone, make both matrices, weigh the rows. Raises: ModelInputError."""
    inputs = inputs_of(train_rows.schema, pipeline.feature_names)
    columns = read(train_rows, inputs)
    codes = _codes(pipeline, columns, inputs)
    categorical = tuple(i for i, wanted in enumerate(inputs) if wanted.name in codes)
    x, validation_x = matrix(columns, inputs, codes), matrix(read(validation_rows, inputs), inputs, codes)
    y, validation_y = outcome_of(train_rows), outcome_of(validation_rows)
    tick = _ticks(train_rows)
    weight, validation_weight = sample_weights.weights(pipeline, y, tick, validation_y)
    return PreparedRows(
        inputs,
        codes,
        Columns(tuple(wanted.name for wanted in inputs), categorical),
        LearnerRows(x, y, weight, tick),
        LearnerRows(validation_x, validation_y, validation_weight, _ticks(validation_rows)),
    )


def gap_ticks(pipeline: Pipeline) -> int:
    """Whole ticks that lie between two windows."""
    return ceil(pipeline.split.gap / timedelta(days=1))


def _all(
    pipeline: Pipeline, prepared: PreparedRows, validation_rows: pa.Table, warm: Model | None
) -> Iterator[FittedCandidate]:
    """Each candidate, ensembles after what they are of."""
    members: dict[str, FittedLearner] = {}
    singles = [learner for learner in pipeline.model.candidates if not isinstance(learner, Averaging | Stacking)]
    ensembles = [learner for learner in pipeline.model.candidates if isinstance(learner, Averaging | Stacking)]
    for learner in (*singles, *ensembles):
        began = time.perf_counter()
        log.info("%s: fitting to %d rows of %d features", learner.name, len(prepared.train), len(prepared.inputs))
        try:
            made = fit_learner(
                learner,
                prepared.columns,
                prepared.train,
                prepared.validation,
                pipeline.model,
                gap_ticks=gap_ticks(pipeline),
                members=members,
            )
        except Exception as error:
            error.add_note(f"{pipeline.name}: candidate {learner.name!r} could not be fitted")
            raise
        members[learner.name] = made
        yield _evaluate_candidate(pipeline, learner, made, prepared, validation_rows, began)
    if pipeline.model.warm_update:
        yield from _continued(pipeline, prepared, validation_rows, warm)


def _continued(
    pipeline: Pipeline, prepared: PreparedRows, validation_rows: pa.Table, warm: Model | None
) -> Iterator[FittedCandidate]:
    """The champion's trees with more trees, grown on the new training rows; nothing where that is not possible."""
    from mlprod_tasks.models.learners import lightgbm

    why = None
    if warm is None:
        why = "there is no champion"
    elif not isinstance(warm.fitted, lightgbm.BoostedTrees):
        why = f"the champion is a {warm.fitted.kind}"
    elif warm.inputs != prepared.inputs:
        why = "the champion reads other features"
    elif dict(warm.codes) != dict(prepared.codes):
        changed = sorted(name for name in prepared.codes if prepared.codes[name] != tuple(warm.codes.get(name, ())))
        why = f"the categories of {', '.join(changed)} are not those that the champion was trained on"
    if why is not None or warm is None:
        log.info("%s: no warm update, candidates start anew: %s", pipeline.name, why)
        return
    assert isinstance(warm.fitted, lightgbm.BoostedTrees)
    learner = next(learner for learner in pipeline.model.candidates if isinstance(learner, LightGBM))
    began = time.perf_counter()
    made = lightgbm.fit_lightgbm(
        learner, prepared.columns, prepared.train, prepared.validation, pipeline.model, continued=warm.fitted
    )
    yield _evaluate_candidate(pipeline, replace(learner, name=CONTINUED), made, prepared, validation_rows, began)


def _evaluate_candidate(
    pipeline: Pipeline, learner: Learner, fitted: FittedLearner, prepared: PreparedRows, validation_rows: pa.Table, began: float
) -> FittedCandidate:
    """Calibrate a candidate, set its threshold, and measure it, all on the validation window."""
    y = prepared.validation.y
    raw = fitted.predict(prepared.validation.x)
    calibrated = calibration.fit_calibration(pipeline.model.calibration, raw, y)
    score = calibrated(raw)
    worth = decision_value.worth(pipeline.value, validation_rows, score, y)
    threshold = decision_value.best_threshold(worth, score)
    found = {"log_loss": metrics.log_loss(y, score), "roc_auc": _auc(y, score)}
    chosen_by = pipeline.model.choose_by
    if chosen_by not in found:
        found[chosen_by] = metrics.measure(y, score, worth.of(score >= threshold), pipeline.top_share, resamples=0)[
            chosen_by
        ].value
    log.info(
        "%s: %.1f s, validation log loss %.5f, AUC %.4f",
        learner.name,
        time.perf_counter() - began,
        found["log_loss"],
        found["roc_auc"],
    )
    return FittedCandidate(learner, fitted, calibrated, threshold, found)


def _best(metric: str, fitted: list[FittedCandidate]) -> FittedCandidate:
    """The best by a metric; the first of equal ones; one without the metric only where none has it."""
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return max(fitted, key=lambda one: sign * one.metrics[metric] if np.isfinite(one.metrics[metric]) else -np.inf)


def _auc(y: np.ndarray, score: np.ndarray) -> float:
    return metrics.roc_auc(y, score) if y.any() and not y.all() else float("nan")


def _or_none(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _codes(pipeline: Pipeline, columns: list[pa.Array], inputs: tuple[Input, ...]) -> dict[str, tuple[Any, ...]]:
    """The values of each categorical feature, sorted. Text can be read in no other way, so it is always categorical."""
    return {
        wanted.name: tuple(sorted(pc.unique(column).drop_null().to_pylist()))
        for column, wanted in zip(columns, inputs, strict=True)
        if wanted.name in pipeline.model.categorical or wanted.kind == "text"
    }


def _ticks(rows: pa.Table) -> np.ndarray | None:
    """The tick of each row as whole days, or None where rows have none or are not sorted by it."""
    if "tick" not in rows.column_names:
        return None
    column = rows["tick"]
    days = column.cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64)
    return days if (np.diff(days) >= 0).all() else None
