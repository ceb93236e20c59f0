"""Compare other features with the declared ones: both fitted and tested on the same rows of the folds of a backtest."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlprod_tasks.declaration import AsOf, Backtest, Lookup, Pipeline, Split, Tick, Trailing
from mlprod_tasks.declaration.defaults import FALLBACK, GATES
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.refusals import sentences
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.evaluation.compare import paired_differences
from mlprod_tasks.evaluation.evaluate import measure_performance
from mlprod_tasks.evaluation.folds import fold_windows, moments, overlapping, too_few_rows
from mlprod_tasks.evaluation.results import Estimates
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.progress import tracked
from mlprod_tasks.statistics.intervals import mean_of_differences
from mlprod_tasks.statistics.metrics import Difference
from mlprod_tasks.training import segments
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, HistoryTooShort, Windows, populated_ticks

log = logging.getLogger(__name__)


class CannotCompare(ValueError):
    """The change of features leaves nothing to compare, or names features wrongly."""


@dataclass(frozen=True)
class ComparedFold:
    """One fold: the metrics with the declared and with the changed features, and their paired differences, by metric."""

    as_of: TickName
    rows: int
    declared: Estimates
    changed: Estimates
    differences: dict[str, Difference]


@dataclass(frozen=True)
class FeatureComparison:
    """Changed features against the declared ones.

    added, dropped: names of feature columns. folds: earliest first. mean: over the folds, by metric; its interval tells how
    much chance there is in which rows were tested, not how much other training rows would have changed. left_out: why folds
    are missing.
    """

    pipeline: Pipeline
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    folds: tuple[ComparedFold, ...]
    mean: dict[str, Difference]
    left_out: tuple[str, ...]


def compare_features(
    pipeline: Pipeline, add: Sequence[Feature], drop: Sequence[str], as_of: Tick, folds: Backtest, platform: Platform
) -> FeatureComparison:
    """Fit the declared model with and without a change of its features, as of several ticks, and compare on the rows after.

    The last fold is as of `as_of`; windows, labels and features are those of `backtest`, from the lake as it is now. Both
    models are fitted on the same rows with the declared parameters. A row on which any of the features cannot be computed is
    left out for both. Neither the lake nor ledger or registry is written to.

    add: features as in a declaration. drop: names of declared expressions and looked up columns, or of a Trailing as a whole.

    Raises: CannotCompare, also for features that a declaration could not have; HistoryTooShort if no fold can be fitted;
    TableMissing.
    """
    if not isinstance(pipeline.split, Split):
        raise CannotCompare(
            f"{pipeline.name}: features are compared on later and later windows, and the rows of {pipeline.entity_name!r} have "
            "no time: train with the change, and compare the reports"
        )
    changed = _changed(pipeline, add, drop)
    together = _declared(pipeline, (*pipeline.features, *add))
    planned, left_out = _planned(pipeline, folds, as_of, platform)
    compared = []
    with tempfile.TemporaryDirectory(prefix="mlprod-features-") as folder:
        history = _history(together, [spans for _, spans in planned], Path(folder), platform)
        for tick, spans in tracked(planned, "fold as of", lambda fold: str(fold[0])):
            fold = _compared(pipeline, changed, tick, spans, history)
            if isinstance(fold, str):
                left_out.append(f"as of {tick}: {fold}")
            else:
                compared.append(fold)
    if not compared:
        raise HistoryTooShort("no fold can be fitted: " + "; ".join(left_out))
    before, after = set(pipeline.feature_names), changed.feature_names
    shared = overlapping(folds, [spans for _, spans in planned], pipeline.schedule)
    return FeatureComparison(
        pipeline,
        tuple(name for name in after if name not in before),
        tuple(name for name in pipeline.feature_names if name not in set(after)),
        tuple(compared),
        {name: mean_of_differences([fold.differences[name] for fold in compared], shared) for name in compared[0].differences},
        tuple(left_out),
    )


def _changed(pipeline: Pipeline, add: Sequence[Feature], drop: Sequence[str]) -> Pipeline:
    if not add and not drop:
        raise CannotCompare("give features to `add`, or names of features to `drop`")
    droppable = [name for feature in pipeline.features for name in _droppable(feature)]
    for name in drop:
        if name not in droppable:
            raise CannotCompare(_not_declared(pipeline, name, droppable))
    for column in (column for feature in add for column in names_of(feature)):
        if column in pipeline.feature_names:
            raise CannotCompare(
                f"{pipeline.name} already has a feature {column!r}: give the added one another name, and drop the declared one "
                "if it is to be replaced"
            )
    kept = (left for feature in pipeline.features if (left := _without(feature, set(drop))) is not None)
    return _declared(pipeline, (*kept, *add))


def _declared(pipeline: Pipeline, features: tuple[Feature, ...]) -> Pipeline:
    """Return the use case with other features, without parts that name features but say nothing of fitting or measuring."""
    named = {name for feature in features for name in names_of(feature)}
    categorical = tuple(name for name in pipeline.model.categorical if name in named)
    try:
        return replace(
            pipeline, features=features, model=replace(pipeline.model, categorical=categorical), fallback=FALLBACK, gates=GATES,
            slices=(), watches=(), rules=(), serving=None, experiments=None,
        )  # fmt: skip
    except ValueError as error:  # a broken rule of a declaration
        raise CannotCompare(f"{pipeline.name} cannot have these features: {sentences(error)}") from None


def _droppable(feature: Feature) -> tuple[str, ...]:
    """Return the names by which a feature, or a part of it, is dropped."""
    return (feature.name,) if isinstance(feature, Trailing) else names_of(feature)


def _without(feature: Feature, dropped: set[str]) -> Feature | None:
    """Return what is left of a feature; None if nothing is."""
    if isinstance(feature, Lookup | AsOf):
        columns = {name: column for name, column in feature.columns.items() if name not in dropped}
        return replace(feature, columns=columns) if columns else None
    return None if feature.name in dropped else feature


def _not_declared(pipeline: Pipeline, name: str, droppable: Sequence[str]) -> str:
    of = next((one.name for one in pipeline.features if isinstance(one, Trailing) and name in names_of(one)), None)
    if of is not None:
        return f"{name!r} is one column of ml.Trailing({of!r}), which is dropped as a whole: drop {of!r}"
    return f"{pipeline.name} declares no feature {name!r} to drop; it has {', '.join(droppable)}"


def _planned(
    pipeline: Pipeline, folds: Backtest, as_of: Tick, platform: Platform
) -> tuple[list[tuple[Tick, Windows]], list[str]]:
    """Return the folds that the history is long enough for, and why others are left out."""
    planned, left_out = [], []
    populated = populated_ticks(pipeline, as_of, platform)
    for day in moments(folds, pipeline, as_of, populated):
        try:
            planned.append(fold_windows(pipeline, day, populated))
        except HistoryTooShort as error:
            left_out.append(f"as of {day}: {error}")
    if not planned:
        raise HistoryTooShort(left_out[-1])
    return planned, left_out


def _history(pipeline: Pipeline, all_spans: Sequence[Windows], folder: Path, platform: Platform) -> History:
    ranges = [ticks for spans in all_spans for _, ticks in spans.named()]
    ticks = pipeline.schedule.range(min(one.first for one in ranges), max(one.last for one in ranges))
    stored = {table.name: names.raw(pipeline, table.name) for table in pipeline.tables}
    versions = {table: platform.lake.version(name) for table, name in stored.items() if platform.lake.exists(name)}
    return History(pipeline, ticks, versions, folder, platform)


def _compared(pipeline: Pipeline, changed: Pipeline, as_of: Tick, spans: Windows, history: History) -> ComparedFold | str:
    """Fit and test both as of a tick; return the reason if a window has too few rows."""
    rows = {}
    for name, ticks in spans.named():
        rows[name] = history.window(ticks, as_of)
        if problem := too_few_rows(pipeline, name, ticks, rows[name]):
            return problem
    measured = []
    for one in (pipeline, changed):
        facts = ModelFacts(
            pipeline=one.name, declaration=one.digest, as_of=as_of.name, windows=spans.dates(), versions=history.versions
        )
        fitted = segments.fit_all(one, rows[TRAIN], rows[VALIDATION], facts)
        measured.append(measure_performance(one, fitted, rows[TEST]))
    ours, theirs = measured[1], measured[0]
    return ComparedFold(
        as_of.name,
        rows[TEST].num_rows,
        theirs.sampled.estimates(),
        ours.sampled.estimates(),
        paired_differences(outcome_of(rows[TEST]), ours, theirs),
    )
