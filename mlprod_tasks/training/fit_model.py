"""Fit and calibrate every candidate; choose the best on the validation window."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Averaging, ClassValue, Learner, LightGBM, Pipeline, Split, Stacking
from mlprod_tasks.declaration.checks.training import CONTINUED
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents.formatting import title
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.class_calibration import ClassCalibration
from mlprod_tasks.models.class_rule import rule_for
from mlprod_tasks.models.feature_frame import Input, Predictions, as_categories, inputs_of, matrix, outcome_of, read
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.models.learners import Columns, FittedLearner, LearnerRows, fit_learner, needs
from mlprod_tasks.models.learners.permutation import shares
from mlprod_tasks.models.learners.rows import in_memory, predict
from mlprod_tasks.models.model import Candidate, Model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.stored_rows import Rows, StoredMatrix, StoredRows
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.training import sample_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedRows:
    """Both windows as learners read them. codes: categories of the training rows. classes: of their outcomes, if any.

    validation_x, outcome, validation_outcome: of all rows of a window; learners read none of a class that they do not know.
    """

    inputs: tuple[Input, ...]
    codes: Mapping[str, tuple[Any, ...]]
    columns: Columns
    train: LearnerRows
    validation: LearnerRows
    validation_x: Any
    outcome: Any
    validation_outcome: Any
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FittedCandidate:
    """A fitted and calibrated candidate with its metrics on the validation window."""

    learner: Learner
    fitted: FittedLearner
    calibration: Calibration | ClassCalibration
    threshold: float | None
    metrics: Mapping[str, float]
    interval: PredictionInterval | None = None


def fit_model(
    pipeline: Pipeline,
    train_rows: Rows,
    validation_rows: Rows,
    facts: ModelFacts,
    tuned: Mapping[str, Learner] | None = None,
    warm: Model | None = None,
    classes: tuple[str, ...] | None = None,
) -> Model:
    """Fit to rows with features, `label` and, for recency and stacking, `tick`.

    Rows sorted by time.
    Each candidate is calibrated on the validation window. The one with the best `choose_by` there becomes the model; of equal
    ones the first declared. So metrics of the validation window are slightly optimistic; the test window is not used.

    tuned: candidates with other parameters, by name. warm: the champion, whose trees a warm update continues.
    facts: stored with the model, together with its recipe and the rates of both windows. classes: that the model is to know,
    which training rows of a segment may lack; None: those of the training rows.
    """
    if warm is not None and pipeline.model.warm_update and isinstance(train_rows, StoredRows):
        first = [one for one in pipeline.model.candidates if isinstance(one, LightGBM)][:1]
        rows = train_rows.num_rows + validation_rows.num_rows
        features = len(pipeline.feature_names)
        needs.require(first, pipeline.model, rows, features, f"{pipeline.name}: the warm update", in_memory=True)
    prepared = prepare(pipeline, train_rows, validation_rows, classes)
    candidates = tuple((tuned or {}).get(learner.name, learner) for learner in pipeline.model.candidates)
    if tuned:
        pipeline = replace(pipeline, model=replace(pipeline.model, candidates=candidates))
    fitted = {one.learner.name: one for one in _fit_candidates(pipeline, prepared, validation_rows, warm)}
    in_order = [fitted[name] for name in (*(learner.name for learner in candidates), CONTINUED) if name in fitted]
    best = _best(pipeline.choose_by, in_order)
    if len(in_order) > 1:
        log.info("%s: %s is the best of %d by %s", pipeline.name, best.learner.name, len(in_order), pipeline.choose_by)
    return _as_model(pipeline, prepared, in_order, best, facts)


def _as_model(
    pipeline: Pipeline, prepared: PreparedRows, candidates: list[FittedCandidate], best: FittedCandidate, facts: ModelFacts
) -> Model:
    """Make the model of the best candidate, with the validation metrics of all of them."""
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
            **task_of(pipeline).rates(pipeline, prepared.outcome, prepared.validation_outcome),
            recipe=pipeline.as_json()["model"],
        ),
        candidates=tuple(
            Candidate(
                one.learner.name, type(one.learner).__name__, one is best, {k: _or_none(v) for k, v in one.metrics.items()}
            )
            for one in candidates
        ),
        shares=None
        if importance is not None
        else tuple(shares(best.fitted, prepared.validation, pipeline.model.seed).tolist()),
        interval=best.interval,
        rule=rule_for(pipeline.value, prepared.classes) if isinstance(pipeline.value, ClassValue) else None,
    )


def prepare(
    pipeline: Pipeline, train_rows: Rows, validation_rows: Rows, classes: tuple[str, ...] | None = None
) -> PreparedRows:
    """Encode categories by the training rows, make both matrices, and weight the rows.

    Matrices of stored rows stay in their file. Raises: ModelInputError; NotEnoughMemory if a candidate needs them in memory.
    """
    inputs = inputs_of(train_rows.schema, pipeline.feature_names)
    exact = pipeline.model.categorical
    if isinstance(train_rows, StoredRows):
        rows = train_rows.num_rows + validation_rows.num_rows
        needs.require(pipeline.model.candidates, pipeline.model, rows, len(inputs), pipeline.name)
        codes = _codes_of_stored(pipeline, train_rows, inputs)
        x: Any = StoredMatrix(train_rows, inputs, codes, exact)
    else:
        columns = read(train_rows, inputs, exact)
        codes = _codes(pipeline, columns, inputs)
        x = matrix(columns, inputs, codes)
    validation_x: Any = (
        StoredMatrix(validation_rows, inputs, codes, exact)
        if isinstance(validation_rows, StoredRows)
        else matrix(read(validation_rows, inputs, exact), inputs, codes)
    )
    categorical = tuple(i for i, wanted in enumerate(inputs) if wanted.name in codes)
    task, outcome, validation_outcome = task_of(pipeline), outcome_of(train_rows), outcome_of(validation_rows)
    classes = task.classes(pipeline, outcome) if classes is None else classes
    y, validation_y = (task.as_learned(one, classes) for one in (outcome, validation_outcome))
    tick = _ticks(pipeline, train_rows)
    weight, validation_weight = sample_weights.weights(pipeline, y, tick, validation_y)
    known = len(classes) or None
    return PreparedRows(
        inputs,
        codes,
        Columns(tuple(wanted.name for wanted in inputs), categorical, tuple(codes[inputs[i].name] for i in categorical)),
        _learnable(LearnerRows(x, y, weight, tick, known)),
        _learnable(LearnerRows(validation_x, validation_y, validation_weight, _ticks(pipeline, validation_rows), known)),
        validation_x,
        outcome,
        validation_outcome,
        classes,
    )


def _learnable(rows: LearnerRows) -> LearnerRows:
    """Leave out rows of a class that the training rows, or the declaration, do not have."""
    if not rows.of_classes or len(rows) == 0 or rows.y.min() >= 0:
        return rows
    known = rows.y >= 0
    log.warning("%d of %d rows are of a class that the model cannot learn", len(rows) - int(known.sum()), len(rows))
    return rows.take(known)


def gap_ticks(pipeline: Pipeline) -> int:
    """Return the number of whole ticks between two windows; parts of a table without a time have none."""
    return pipeline.schedule.ticks_until(pipeline.split.gap) if isinstance(pipeline.split, Split) else 0


def _fit_candidates(
    pipeline: Pipeline, prepared: PreparedRows, validation_rows: Rows, warm: Model | None
) -> Iterator[FittedCandidate]:
    """Fit each candidate; ensembles after their members."""
    members: dict[str, FittedLearner] = {}
    singles = [learner for learner in pipeline.model.candidates if not isinstance(learner, Averaging | Stacking)]
    ensembles = [learner for learner in pipeline.model.candidates if isinstance(learner, Averaging | Stacking)]
    for learner in (*singles, *ensembles):
        began = time.perf_counter()
        log.info("%s: fitting to %d rows of %d features", learner.name, len(prepared.train), len(prepared.inputs))
        try:
            fitted = fit_learner(
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
        members[learner.name] = fitted
        yield _evaluate_candidate(pipeline, learner, fitted, prepared, validation_rows, began)
    if pipeline.model.warm_update:
        yield from _continue_champion(pipeline, prepared, validation_rows, warm)


def _continue_champion(
    pipeline: Pipeline, prepared: PreparedRows, validation_rows: Rows, warm: Model | None
) -> Iterator[FittedCandidate]:
    """Add trees, fitted to the new training rows, to the champion's; yield nothing if that is not possible."""
    from mlprod_tasks.models.learners import lightgbm

    why = None
    if warm is None:
        why = "there is no champion"
    elif not isinstance(warm.fitted, lightgbm.BoostedTrees):
        why = f"the champion is a {warm.fitted.kind}"
    elif warm.fitted.link != lightgbm.link_of(_first_lightgbm(pipeline), of_numbers=prepared.train.of_numbers):
        why = "the champion's trees add up on another scale than those of the declared objective"
    elif (() if warm.rule is None else warm.rule.classes) != prepared.classes:
        why = "the champion knows other classes"
    elif warm.inputs != prepared.inputs:
        why = "the champion reads other features"
    elif dict(warm.codes) != dict(prepared.codes):
        changed = sorted(name for name in prepared.codes if prepared.codes[name] != tuple(warm.codes.get(name, ())))
        why = f"the categories of {', '.join(changed)} differ from those that the champion was trained on"
    if why is not None or warm is None:
        log.info("%s: no warm update, candidates start from scratch: %s", pipeline.name, why)
        return
    assert isinstance(warm.fitted, lightgbm.BoostedTrees)
    learner = _first_lightgbm(pipeline)
    began = time.perf_counter()
    # LightGBM scores the rows with the champion's trees first, and for that needs them as a matrix.
    train, validation = in_memory(prepared.train), in_memory(prepared.validation)
    fitted = lightgbm.fit_lightgbm(learner, prepared.columns, train, validation, pipeline.model, continued=warm.fitted)
    yield _evaluate_candidate(pipeline, replace(learner, name=CONTINUED), fitted, prepared, validation_rows, began)


def _first_lightgbm(pipeline: Pipeline) -> LightGBM:
    return next(learner for learner in pipeline.model.candidates if isinstance(learner, LightGBM))


def _evaluate_candidate(
    pipeline: Pipeline, learner: Learner, fitted: FittedLearner, prepared: PreparedRows, validation_rows: Rows, began: float
) -> FittedCandidate:
    """Calibrate a candidate, set its threshold and measure it, all on the validation window."""
    task, y = task_of(pipeline), prepared.validation_outcome
    raw = predict(fitted.predict, prepared.validation_x)
    calibrated = task.calibration(pipeline, raw, task.as_learned(y, prepared.classes))
    score = task.scores(calibrated(raw), prepared.classes)
    worth = decision_value.worth(pipeline.value, validation_rows, score, y)
    threshold = task.threshold(worth, score)
    decided = within_capacity(pipeline, validation_rows, Predictions(score, task.decided(pipeline, score, threshold))).decision
    measured = task.candidate_metrics(pipeline, y, score, worth.of(decided))
    shown = ", ".join(f"{title(name)} {number:.4f}" for name, number in measured.items())
    log.info("%s: %.1f s, validation %s", learner.name, time.perf_counter() - began, shown)
    return FittedCandidate(learner, fitted, calibrated, threshold, measured, task.interval(pipeline, y, score))


def _best(metric: str, fitted: list[FittedCandidate]) -> FittedCandidate:
    """Return the best by a metric, the first of equal ones; one without the metric only if none has it."""
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return max(fitted, key=lambda one: sign * one.metrics[metric] if np.isfinite(one.metrics[metric]) else -np.inf)


def _or_none(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _codes(pipeline: Pipeline, columns: list[pa.Array], inputs: tuple[Input, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the sorted values of each categorical feature. Text is always categorical."""
    return {
        wanted.name: as_categories(sorted(pc.unique(column).drop_null().to_pylist()))
        for column, wanted in zip(columns, inputs, strict=True)
        if wanted.name in pipeline.model.categorical or wanted.kind == "text"
    }


def _codes_of_stored(pipeline: Pipeline, rows: StoredRows, inputs: tuple[Input, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the same as `_codes`, with one batch of the categorical features in memory at once."""
    wanted = [one for one in inputs if one.name in pipeline.model.categorical or one.kind == "text"]
    found: list[set[Any]] = [set() for _ in wanted]
    for batch in rows.batches([one.name for one in wanted]) if wanted else ():
        for values, column in zip(found, read(batch, wanted, pipeline.model.categorical), strict=True):
            values.update(pc.unique(column).drop_null().to_pylist())
    return {one.name: as_categories(sorted(values)) for one, values in zip(wanted, found, strict=True)}


def _ticks(pipeline: Pipeline, rows: Rows) -> np.ndarray | None:
    """Return the number of each row's tick, from the first tick on; None if rows have no tick or are not sorted by it.

    Rows of a table without a time have the tick of their snapshot, which is not theirs.
    """
    if "tick" not in rows.column_names or not isinstance(pipeline.split, Split):
        return None
    names = rows["tick"]
    found = pc.unique(names)
    schedule = pipeline.schedule
    numbers = pa.array([schedule.ticks_between(schedule.first, name) for name in found.to_pylist()], pa.int64())
    ticks = numbers.take(pc.index_in(names, found).combine_chunks()).to_numpy()
    return ticks if (np.diff(ticks) >= 0).all() else None
