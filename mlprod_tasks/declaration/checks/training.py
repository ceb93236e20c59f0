"""Rules of training: windows, candidates, weights, the fallback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.estimator import estimator_problems
from mlprod_tasks.declaration.checks.library_parameters import parameter_problems
from mlprod_tasks.declaration.checks.tables import IDENTIFIER, listed, repeated
from mlprod_tasks.declaration.learner import (
    Averaging,
    CatBoost,
    Estimator,
    LastValue,
    Learner,
    LightGBM,
    SeasonalMean,
    Stacking,
    XGBoost,
)
from mlprod_tasks.declaration.reads import resting_on_other_rows
from mlprod_tasks.declaration.split import Split, Ticks, least_ticks
from mlprod_tasks.declaration.table import Column

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

# Parameters by name, the same in every kind of candidate. None leaves a parameter out.
POSITIVE = (
    "learning_rate", "max_trees", "trees", "early_stopping_rounds", "min_data_in_leaf", "max_depth", "c", "least_category_rows",
    "batch_rows", "max_epochs", "min_child_weight",
)  # fmt: skip
AT_LEAST_TWO = ("num_leaves", "folds")
SHARES = ("feature_fraction", "bagging_fraction")  # in (0, 1]
NOT_NEGATIVE = ("lambda_l2",)
MOST_LEAVES = 131072  # LightGBM's limit
MOST_DEPTH = 16  # CatBoost's limit
CONTINUED = "lightgbm_continued"  # the candidate of a warm update


def training_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of training that the declaration breaks."""
    yield from _windows(pipeline)
    yield from _candidates(pipeline)
    yield from _model(pipeline)
    yield from _fallback(pipeline)


def _windows(pipeline: Pipeline) -> Iterator[str]:
    split = pipeline.split
    if not isinstance(split, Split):
        return
    for name in ("validation", "test", "train"):
        length = getattr(split, name)
        if isinstance(length, Ticks):
            if length.count < 1:
                yield f"split.{name}: {length} must have at least one tick"
        elif length is not None and length < pipeline.schedule.shortest:
            yield f"split.{name} {length} must be at least one {pipeline.schedule.unit}: a window has whole ticks"
    if split.gap < pipeline.label_delay:
        yield (
            f"split.gap {split.gap} is shorter than label.delay {pipeline.label_delay}: the last training labels would not "
            f"have been known when the next window begins. Write gap={_length(pipeline.label_delay)}"
        )
    yield from _room(pipeline, split)


def _length(length: timedelta) -> str:
    whole, rest = divmod(length, timedelta(days=1))
    return f"ml.hours({length / timedelta(hours=1):g})" if rest else f"ml.days({whole})"


def _room(pipeline: Pipeline, split: Split) -> Iterator[str]:
    """A schedule that ends before a first training would have its windows."""
    schedule = pipeline.schedule
    if schedule.last is None:
        return
    windows = sum(least_ticks(length, schedule) for length in (split.train, split.validation, split.test))
    needed = windows + 2 * schedule.ticks_until(split.gap) + pipeline.label_delay_ticks
    there = schedule.ticks_between(schedule.first, schedule.last) + 1
    if there < needed:
        yield (
            f"schedule: from {schedule.first} to {schedule.last} are {there} ticks, but a training needs {needed} (train, two "
            "gaps, validation, test and the label's delay): let it start earlier, or declare shorter windows in `split`"
        )


def _candidates(pipeline: Pipeline) -> Iterator[str]:
    candidates = pipeline.model.candidates
    if not candidates:
        yield "model.candidates is empty: declare at least one, such as LightGBM()"
    yield from repeated("model.candidates", (learner.name for learner in candidates))
    usable = {learner.name for learner in candidates if not isinstance(learner, Averaging | Stacking)}
    for learner in candidates:
        at = f"model.candidates {learner.name!r}"
        if not IDENTIFIER.fullmatch(learner.name):
            yield f"{at}: name must be lower-case letters, digits and _, starting with a letter"
        if learner.name == CONTINUED and pipeline.model.warm_update:
            yield f"{at}: with warm_update this name is that of the continued champion; give another"
        yield from bounds_problems(at, learner)
        if isinstance(learner, LightGBM | XGBoost | CatBoost):
            yield from parameter_problems(at, learner, len(pipeline.feature_names))
        if isinstance(learner, XGBoost | CatBoost) and find_spec(extra := type(learner).__name__.lower()) is None:
            library = type(learner).__name__
            yield f"{at}: {library} is not installed here: pip install 'mlprod[{extra}]', wherever this use case is loaded"
        if isinstance(learner, LastValue | SeasonalMean):
            yield from _baseline(at, learner, pipeline)
        if isinstance(learner, Estimator):
            yield from estimator_problems(at, learner)
        if isinstance(learner, Averaging | Stacking):
            if len(set(learner.of)) < 2:
                yield f"{at}: of={learner.of} needs at least two different candidates"
            yield from repeated(f"{at}: of", learner.of)
            for name in sorted(set(learner.of) - usable):
                yield f"{at}: of names {name!r}, which is no candidate declared before it; there are {listed(usable)}"
            usable.add(learner.name)


def _baseline(at: str, learner: LastValue | SeasonalMean, pipeline: Pipeline) -> Iterator[str]:
    named = (learner.feature,) if isinstance(learner, LastValue) else learner.by
    for name in named:
        if name not in pipeline.feature_names:
            yield f"{at}: {name!r} is not a feature; features are {listed(pipeline.feature_names)}"
    if isinstance(learner, SeasonalMean):
        yield from repeated(f"{at}: by", learner.by)
        if not learner.by:
            yield f"{at}: by names no feature: give at least one, such as the weekday"
        if learner.smoothing < 0:
            yield f"{at}: smoothing {learner.smoothing} may not be negative"
    elif learner.feature in pipeline.model.categorical or _kind(pipeline, learner.feature) == "text":
        yield f"{at}: {learner.feature!r} is a category, and what is predicted is a number: name a feature that is one"


def bounds_problems(at: str, learner: Learner) -> Iterator[str]:
    for name in (one.name for one in fields(learner)):
        given = getattr(learner, name)
        if given is None:
            continue
        if name in POSITIVE and given <= 0:
            yield f"{at}: {name} {given} must be positive"
        if name in AT_LEAST_TWO and given < 2:
            yield f"{at}: {name} {given} must be at least 2"
        if name in SHARES and not 0 < given <= 1:
            yield f"{at}: {name} {given} must lie in (0, 1]"
        if name in NOT_NEGATIVE and given < 0:
            yield f"{at}: {name} {given} may not be negative"
        if isinstance(learner, CatBoost) and name == "max_depth" and given > MOST_DEPTH:
            yield f"{at}: {name} {given} must be at most {MOST_DEPTH}: symmetric trees have 2 ** {name} leaves"
        if name == "num_leaves" and given > MOST_LEAVES:
            yield f"{at}: {name} {given} must be at most {MOST_LEAVES}"
        if name == "hidden" and (not given or min(given) < 1):
            yield f"{at}: {name} {given} must name at least one layer, each of at least one unit"


def _model(pipeline: Pipeline) -> Iterator[str]:
    model, known = pipeline.model, set(pipeline.feature_names)
    for name in model.categorical:
        if name not in known:
            yield f"model.categorical: {name!r} is not a feature; features are {listed(known)}"
    yield from repeated("model.categorical", model.categorical)
    if not isinstance(model.weights, str) and model.weights <= 0:
        yield f"model.weights {model.weights} must be positive: what a positive counts where a negative counts one"
    if model.half_life is not None and model.half_life <= timedelta(0):
        yield f"model.half_life {model.half_life} must be positive"
    if model.warm_update and not any(isinstance(learner, LightGBM) for learner in model.candidates):
        yield "model.warm_update continues a LightGBM champion's trees, but no candidate is a LightGBM: declare one"
    if model.segment_by is not None:
        yield from _segments(pipeline, model.segment_by)
    if model.least_segment_rows < 1:
        yield f"model.least_segment_rows {model.least_segment_rows} must be at least 1"
    if not 0 <= model.max_unusable_share <= 1:
        yield f"model.max_unusable_share {model.max_unusable_share} must lie in [0, 1]"
    if not 0 <= model.seed < 2**31:
        yield f"model.seed {model.seed} must lie in [0, {2**31})"
    if model.threads is not None and model.threads < 1:
        yield f"model.threads {model.threads} must be at least 1"


def _segments(pipeline: Pipeline, name: str) -> Iterator[str]:
    if name not in pipeline.feature_names:
        yield f"model.segment_by: {name!r} is not a feature; features are {listed(pipeline.feature_names)}"
        return
    if name in resting_on_other_rows(pipeline.features):
        yield f"model.segment_by: {name!r} rests on as-of or trailing values; a segment must be known from the row itself"
    kind = _kind(pipeline, name)
    if kind not in (None, "text"):
        yield f"model.segment_by: {name!r} is {kind}; segments are told apart by a text feature"


def _kind(pipeline: Pipeline, name: str) -> str | None:
    """The declared kind of a feature of the row or of a look-up; None if only the data gives it."""
    for feature in pipeline.features:
        if getattr(feature, "name", None) == name:
            return getattr(feature, "kind", None)
        taken = getattr(feature, "columns", None)
        if isinstance(taken, dict) and name in taken:
            table = next((table for table in pipeline.tables if table.name == feature.table), None)  # type: ignore[union-attr]
            columns: tuple[Column, ...] = table.columns if table else ()
            return next((column.kind for column in columns if column.name == taken[name]), None)
    return None


def _fallback(pipeline: Pipeline) -> Iterator[str]:
    known = set(pipeline.feature_names)
    for name in pipeline.fallback.by:
        if name not in known:
            yield f"fallback.by: {name!r} is not a feature; features are {listed(known)}"
    for name in sorted(resting_on_other_rows(pipeline.features)):
        if name in pipeline.fallback.by:
            yield f"fallback.by: {name!r} rests on as-of or trailing values, which the fallback must do without"
    if pipeline.fallback.smoothing <= 0:
        yield f"fallback.smoothing {pipeline.fallback.smoothing} must be positive"
