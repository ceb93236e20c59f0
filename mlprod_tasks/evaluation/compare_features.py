"""Compare other features with the declared ones: both fitted and tested on the same rows of the folds of a backtest."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import AsOf, Backtest, Lookup, Pipeline, Split, Tick, TickRange, Trailing
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
from mlprod_tasks.training.row_split import FoldOfRows, newest_snapshot, rows_of_fold
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, HistoryTooShort, Windows, populated_ticks
from mlprod_tasks.training.training_rows import training_rows

log = logging.getLogger(__name__)


class CannotCompare(ValueError):
    """The change of features leaves nothing to compare, or names features wrongly."""


@dataclass(frozen=True)
class ComparedFold:
    """One fold: the metrics with the declared and with the changed features, and their paired differences, by metric.

    part: of rows without a time, which of them it is tested on, in words.
    """

    as_of: TickName
    rows: int
    declared: Estimates
    changed: Estimates
    differences: dict[str, Difference]
    part: str = ""

    @property
    def called(self) -> str:
        """What tells it from other folds."""
        return self.part or str(self.as_of)


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

    The last fold is as of `as_of`; rows without a time are split anew for each fold, as `backtest` does. Windows, labels and
    features are those of `backtest`, from the lake as it is now. Both models are fitted on the same rows with the declared
    parameters. A row on which any of the features cannot be computed is left out for both. Neither the lake nor ledger or
    registry is written to.

    add: features as in a declaration. drop: names of declared expressions and looked up columns, or of a Trailing as a whole.

    Raises: CannotCompare, also for features that a declaration could not have; HistoryTooShort if no fold can be fitted;
    TableMissing.
    """
    changed = _changed(pipeline, add, drop)
    together = _declared(pipeline, (*pipeline.features, *add))
    compared: list[ComparedFold] = []
    left_out: list[str] = []
    shared = 1
    with tempfile.TemporaryDirectory(prefix="mlprod-features-") as folder:
        if isinstance(pipeline.split, Split):
            planned, left_out = _planned(pipeline, folds, as_of, platform)
            shared = overlapping(folds, [fold.spans for fold in planned], pipeline.schedule)
            rows_of = _rows_in_time(together, planned, Path(folder), platform)
        else:
            planned, rows_of = _parts(together, folds, as_of, platform)
        for fold in tracked(planned, "fold", lambda fold: fold.called):
            found = _compared(pipeline, changed, fold, rows_of(fold))
            if isinstance(found, str):
                left_out.append(f"{fold.called}: {found}")
            else:
                compared.append(found)
    if not compared:
        raise HistoryTooShort("no fold can be fitted: " + "; ".join(left_out))
    before, after = set(pipeline.feature_names), changed.feature_names
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


@dataclass(frozen=True)
class _PlannedFold:
    """A fold to fit: its tick and windows, and the lake versions that are read; part: as of `ComparedFold`."""

    tick: Tick
    spans: Windows
    part: str = ""
    number: int = 0

    @property
    def called(self) -> str:
        return f"on {self.part}" if self.part else f"as of {self.tick}"


@dataclass(frozen=True)
class _Rows:
    """The rows of a fold's windows, read one after the other, and the lake versions that they are from."""

    windows: Iterator[tuple[str, TickRange, pa.Table]]
    versions: Mapping[str, int]


def _planned(pipeline: Pipeline, folds: Backtest, as_of: Tick, platform: Platform) -> tuple[list[_PlannedFold], list[str]]:
    """Return the folds that the history is long enough for, and why others are left out."""
    planned, left_out = [], []
    populated = populated_ticks(pipeline, as_of, platform)
    for day in moments(folds, pipeline, as_of, populated):
        try:
            planned.append(_PlannedFold(*fold_windows(pipeline, day, populated)))
        except HistoryTooShort as error:
            left_out.append(f"as of {day}: {error}")
    if not planned:
        raise HistoryTooShort(left_out[-1])
    return planned, left_out


def _rows_in_time(
    pipeline: Pipeline, planned: Sequence[_PlannedFold], folder: Path, platform: Platform
) -> Callable[[_PlannedFold], _Rows]:
    """Return what reads the rows of a fold, from features that are computed once."""
    ranges = [ticks for fold in planned for _, ticks in fold.spans.named()]
    ticks = pipeline.schedule.range(min(one.first for one in ranges), max(one.last for one in ranges))
    history = History(pipeline, ticks, _versions(pipeline, platform), folder, platform)

    def rows(fold: _PlannedFold) -> _Rows:
        read = ((name, ticks, history.window(ticks, fold.tick)) for name, ticks in fold.spans.named())
        return _Rows(read, history.versions)

    return rows


def _parts(
    pipeline: Pipeline, folds: Backtest, as_of: Tick, platform: Platform
) -> tuple[list[_PlannedFold], Callable[[_PlannedFold], _Rows]]:
    """Return the folds of rows without a time, the declared split last, and what splits the rows for each."""
    split = pipeline.split
    assert not isinstance(split, Split)
    if folds.windows > (most := split.most_folds("test")):
        raise CannotCompare(
            f"{pipeline.name}: rows split {split.words} have at most {most} folds, and {folds.windows} are asked"
        )
    versions = _versions(pipeline, platform)
    spans = newest_snapshot(pipeline, as_of, versions, platform)
    read = pa.concat_tables(part.rows for part in training_rows(pipeline, spans, as_of, versions, platform))
    rows = read.drop_columns(["split"]).sort_by([(name, "ascending") for name in ("tick", *pipeline.entity_table.key)])
    rows = rows.filter(pc.is_valid(rows["label"]))

    def rows_of(fold: _PlannedFold) -> _Rows:
        parts = rows_of_fold(pipeline, rows, spans.test, versions, platform, FoldOfRows(fold.number))
        return _Rows(iter([(name, ticks, parts[name]) for name, ticks in spans.named()]), versions)

    numbers = reversed(range(folds.windows))
    return [_PlannedFold(as_of, spans, split.fold_words(number), number) for number in numbers], rows_of


def _versions(pipeline: Pipeline, platform: Platform) -> dict[str, int]:
    stored = {table.name: names.raw(pipeline, table.name) for table in pipeline.tables}
    return {table: platform.lake.version(name) for table, name in stored.items() if platform.lake.exists(name)}


def _compared(pipeline: Pipeline, changed: Pipeline, fold: _PlannedFold, read: _Rows) -> ComparedFold | str:
    """Fit and test both on a fold; return the reason if a window has too few rows."""
    rows = {}
    for name, ticks, found in read.windows:
        rows[name] = found
        if problem := too_few_rows(pipeline, name, ticks, found):
            return problem
    measured = []
    for one in (pipeline, changed):
        facts = ModelFacts(
            pipeline=one.name,
            declaration=one.digest,
            as_of=fold.tick.name,
            windows=fold.spans.dates(),
            versions=dict(read.versions),
        )
        fitted = segments.fit_all(one, rows[TRAIN], rows[VALIDATION], facts)
        measured.append(measure_performance(one, fitted, rows[TEST]))
    ours, theirs = measured[1], measured[0]
    return ComparedFold(
        fold.tick.name,
        rows[TEST].num_rows,
        theirs.sampled.estimates(),
        ours.sampled.estimates(),
        paired_differences(outcome_of(rows[TEST]), ours, theirs),
        fold.part,
    )
