"""Backtest the recipe: fit it as of earlier ticks, test it on the time after them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import Backtest, Learner, Pipeline, Split, Tick, TickRange
from mlprod_tasks.evaluation import evaluate
from mlprod_tasks.evaluation.folds import fold_windows, moments, too_few_rows
from mlprod_tasks.evaluation.results import BacktestResult, Estimates, Evaluation, Fold, KeptFold, outcomes_in_numbers
from mlprod_tasks.evaluation.training_spec import ChampionSpec, spec_of_champion
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import DateRange, ModelFacts, PerWindow
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.progress import tracked
from mlprod_tasks.platform.versioned import read_record, to_json, write_record
from mlprod_tasks.training import search, segments, workspace
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.provenance import Provenance, provenance
from mlprod_tasks.training.records import Assembled, Trained, facts_of
from mlprod_tasks.training.row_split import FoldOfRows, all_rows, rows_of_fold
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, HistoryTooShort, Windows, on_schedule, populated_ticks
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

log = logging.getLogger(__name__)

FOLDS = "backtest"  # subfolder of the training's, with one file per fold
ENOUGH = 2
FEWEST_TO_CORRELATE = 3


@dataclass(frozen=True)
class _Run:
    """The inputs that all folds of a backtest share."""

    pipeline: Pipeline
    training_id: str
    assembled: Assembled
    tuned: Mapping[str, Learner]
    champion: ChampionSpec
    code: Provenance


def backtest(pipeline: Pipeline, training_id: str, platform: Platform) -> BacktestResult | None:
    """Fit and evaluate the recipe as of several ticks.

    Write the folds to folder, MLflow and ledger.
    Each fold has its own tick: windows are counted back from it, labels are those known by it, features come from the
    training's lake versions. The last fold is the training itself, with its evaluation. Each fold also measures a constant
    baseline and the champion's recipe. Folds are left out if the history is too short, also if they would have fewer ticks to
    train on than to test on. A warm update starts from scratch.
    All folds use the parameters that a search found for the training, though on rows later than those of earlier folds: the
    spread over the folds is right, the level slightly optimistic.

    Rows without a time are split anew for each fold, as of the same tick: no row is tested on in two folds. That shows how much
    chance there is in which rows are tested, not how the model does on later ones.

    Each fold is stored when it is done: after a kill, the next run continues there. None if no backtest is declared.

    Raises: StepMissing before `evaluate`.
    """
    if pipeline.backtest is None:
        log.info("%s declares no backtest: nothing to do", pipeline.name)
        return None
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform), _exclusive(folder.path / FOLDS):
        evaluation = folder.read(Evaluation)
        run_id = folder.read(Trained).run_id
        assembled = folder.read(Assembled)
        champion = spec_of_champion(pipeline, load_model(folder.model), platform)
        run = _Run(pipeline, training_id, assembled, search.tuned(pipeline, folder), champion, provenance())
        last = pipeline.schedule.tick(assembled.as_of)
        earlier = _earlier_folds(run, last, folder, platform)
        folds = (*earlier, _training_as_fold(run, last, evaluation, folder))
        result = BacktestResult(
            folds=folds,
            champion_version=champion.version,
            champion_recipe=champion.recipe,
            problem=_problem(champion, len(folds), pipeline.backtest),
            correlation=correlation(folds, pipeline.of_task.correlated),
        )
        folder.write(result)
        _record(pipeline, folder, run_id, result, platform)
    _log_folds(pipeline, result)
    return result


def correlation(folds: Sequence[Fold], metric: str) -> float:
    """Return Spearman's rank correlation of a metric with the value over the folds.

    NaN for under three folds or a constant metric.
    """
    from scipy.stats import spearmanr

    pairs = [(fold.model[metric].value, fold.model["value_per_1000"].value) for fold in folds]
    finite = np.array([pair for pair in pairs if all(map(isfinite, pair))])
    if len(finite) < FEWEST_TO_CORRELATE:
        return nan
    return float(spearmanr(finite).statistic) if (np.ptp(finite, axis=0) > 0).all() else nan


@dataclass(frozen=True)
class _Planned:
    """A fold to fit. number: of rows without a time, which other split of them it is; 0: windows in time."""

    as_of: Tick
    spans: Windows
    number: int = 0

    def called(self, run: _Run) -> str:
        return f"on {self.part(run)}" if self.number else f"as of {self.as_of}"

    def part(self, run: _Run) -> str:
        split = run.pipeline.split
        return "" if isinstance(split, Split) else split.fold_words(self.number)


def _earlier_folds(run: _Run, last: Tick, folder: TrainingFolder, platform: Platform) -> list[Fold]:
    """Return the folds before the training's: stored ones are reused, the others fitted."""
    planned = _planned(run, last, platform)
    folds = {fold: _stored(_file(folder, fold), _key(run, fold)) for fold in planned}
    missing = [fold for fold in planned if folds[fold] is None]
    if missing:
        past = _past_rows(run, planned, folder, platform)
        for fold in tracked(missing, "fold", lambda fold: fold.called(run)):
            log.info("fold %s: train %s, test %s", fold.called(run), fold.spans.train, fold.spans.test)
            folds[fold] = fitted = _fit_fold(run, fold, past.rows(fold))
            _write(_file(folder, fold), _key(run, fold), fitted)
            folder.save()
        past.remove()
    for fold, fold_or_reason in folds.items():
        if isinstance(fold_or_reason, str):
            log.info("no fold %s: %s", fold.called(run), fold_or_reason)
    return [fold for fold in folds.values() if isinstance(fold, Fold)]


def _planned(run: _Run, last: Tick, platform: Platform) -> list[_Planned]:
    """Return the folds before the training's that the history is long enough for."""
    declared, pipeline = run.pipeline.backtest, run.pipeline
    assert declared is not None
    if not isinstance(pipeline.split, Split):
        spans = on_schedule(run.assembled.windows, pipeline.schedule)
        return [_Planned(last, spans, number) for number in reversed(range(1, declared.windows))]
    planned = []
    populated = populated_ticks(pipeline, last, platform, run.assembled.versions)
    for day in moments(declared, pipeline, last, populated)[:-1]:
        try:
            planned.append(_Planned(*fold_windows(pipeline, day, populated)))
        except HistoryTooShort as error:
            log.info("no fold as of %s: %s", day, error)
    return planned


class _Windows:
    """Rows of windows in time, from features that are computed once."""

    def __init__(self, run: _Run, planned: Sequence[_Planned], folder: TrainingFolder, platform: Platform) -> None:
        # The ticks of all folds, also the stored ones: then a later run can reuse features that a killed one computed.
        ranges = [ticks for fold in planned for _, ticks in fold.spans.named()]
        ticks = run.pipeline.schedule.range(min(one.first for one in ranges), max(one.last for one in ranges))
        self._history = History(run.pipeline, ticks, run.assembled.versions, folder.path / FOLDS, platform)

    def rows(self, fold: _Planned) -> Iterator[tuple[str, TickRange, Rows]]:
        for name, ticks in fold.spans.named():
            yield name, ticks, self._history.window(ticks, fold.as_of)

    def remove(self) -> None:
        self._history.remove()


class _Parts:
    """The rows of the training's snapshot, split anew."""

    def __init__(self, run: _Run, folder: TrainingFolder, platform: Platform) -> None:
        self._run, self._platform = run, platform
        self._rows = all_rows(run.pipeline, folder, (TRAIN, VALIDATION, TEST))

    def rows(self, fold: _Planned) -> Iterator[tuple[str, TickRange, Rows]]:
        run, of = self._run, FoldOfRows(fold.number, "test")
        parts = rows_of_fold(run.pipeline, self._rows, fold.spans.test, run.assembled.versions, self._platform, of)
        for name, ticks in fold.spans.named():
            yield name, ticks, parts[name]

    def remove(self) -> None:
        """Nothing is left in files."""


def _past_rows(run: _Run, planned: Sequence[_Planned], folder: TrainingFolder, platform: Platform) -> _Windows | _Parts:
    if isinstance(run.pipeline.split, Split):
        return _Windows(run, planned, folder, platform)
    return _Parts(run, folder, platform)


def _stored(file: Path, key: str) -> Fold | str | None:
    """Return the stored fold, or the reason why there is none; None if it is not computed yet."""
    kept = read_record(KeptFold, file)
    return None if kept is None or kept.key != key else kept.fold or kept.left_out


def _write(file: Path, key: str, result: Fold | str) -> None:
    fold, left_out = (result, None) if isinstance(result, Fold) else (None, result)
    write_record(KeptFold(key, fold, left_out), file)


def _file(folder: TrainingFolder, fold: _Planned) -> Path:
    number = f"-{fold.number}" if fold.number else ""
    return folder.path / FOLDS / f"{fold.as_of}{number}.json"


def _key(run: _Run, fold: _Planned) -> str:
    """Return a hash of everything a fold depends on."""
    other = run.champion.pipeline
    inputs: dict[str, Any] = {
        "code": [run.code.code_digest, run.code.lock_digest],
        "declaration": run.pipeline.digest,
        "tuned": {name: repr(learner) for name, learner in sorted(run.tuned.items())},
        "champion": [run.champion.recipe, other.digest if other else None],
        "versions": run.assembled.versions,
        "as_of": str(fold.as_of),
        "windows": to_json(fold.spans.dates()),
    }
    if fold.number:
        inputs["number"] = fold.number
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _fit_fold(run: _Run, fold: _Planned, windows: Iterable[tuple[str, TickRange, Rows]]) -> Fold | str:
    """Fit and evaluate a fold; return the reason if a window has too few rows."""
    rows = {}
    for name, ticks, found in windows:
        rows[name] = found
        if problem := too_few_rows(run.pipeline, name, ticks, rows[name]):
            return problem
    outcome = outcome_of(rows[TEST])
    facts = _facts(run, fold.as_of, fold.spans.dates())
    fitted = segments.fit_all(run.pipeline, rows[TRAIN], rows[VALIDATION], facts, tuned=run.tuned)
    of_model = _metrics_of(run.pipeline, fitted, rows[TEST])
    of_baseline = evaluate.baseline(run.pipeline, fitted.facts, rows[VALIDATION], rows[TEST])
    first = run.pipeline.of_task.shown[0]
    log.info("%s: %s %.4f on %d rows", fold.called(run), first, of_model[first].value, len(outcome))
    positives, mean, classes = outcomes_in_numbers(outcome)
    return Fold(
        as_of=fold.as_of.name,
        windows=fold.spans.dates(),
        part=fold.part(run),
        rows=len(outcome),
        positives=positives,
        model=of_model,
        baseline=of_baseline,
        champion=_champion_metrics(run, facts, of_model, rows),
        mean_outcome=mean,
        classes=classes,
    )


def _training_as_fold(run: _Run, as_of: Tick, evaluation: Evaluation, folder: TrainingFolder) -> Fold:
    """Return the training itself as a fold; only the champion's recipe, if it is another one, is fitted."""
    of_model, spans = evaluation.model, run.assembled.windows
    itself = _Planned(as_of, on_schedule(spans, run.pipeline.schedule))
    key, file = f"{evaluation.model_digest} {_key(run, itself)}", _file(folder, itself)
    if run.champion.recipe != "other":
        of_champion = of_model if run.champion.recipe == "same" else None
    elif isinstance(stored := _stored(file, key), Fold):
        return stored
    else:
        log.info("as of %s: fitting the recipe of champion version %s", as_of, run.champion.version)
        rows = {name: workspace.read_window(folder, name) for name in (TRAIN, VALIDATION, TEST)}
        of_champion = _champion_metrics(run, _facts(run, as_of, spans), of_model, rows)
    fold = Fold(
        as_of=as_of.name,
        windows=spans,
        part=itself.part(run),
        rows=evaluation.rows,
        positives=evaluation.positives,
        model=of_model,
        baseline=evaluation.baseline,
        champion=of_champion,
        mean_outcome=evaluation.mean_outcome,
        classes=evaluation.classes,
    )
    _write(file, key, fold)
    return fold


def _champion_metrics(run: _Run, facts: ModelFacts, of_model: Estimates, rows: Mapping[str, Rows]) -> Estimates | None:
    other = run.champion.pipeline
    if other is None:
        return of_model if run.champion.recipe == "same" else None
    return _metrics_of(other, segments.fit_all(other, rows[TRAIN], rows[VALIDATION], facts), rows[TEST])


def _metrics_of(pipeline: Pipeline, fitted: Any, rows: Rows) -> Estimates:
    return evaluate.measure_performance(pipeline, fitted, rows).sampled.estimates()


def _facts(run: _Run, as_of: Tick, spans: PerWindow[DateRange]) -> ModelFacts:
    assembled_then = replace(run.assembled, as_of=as_of.name, windows=spans)
    return facts_of(assembled_then, run.training_id, run.pipeline.digest)


def _problem(champion: ChampionSpec, folds: int, declared: Backtest) -> str | None:
    problems = [champion.problem] if champion.problem else []
    if folds < ENOUGH:
        problems.append(f"the history is too short: it has {folds} of {declared.windows} windows")
    return "; ".join(problems) or None


def _record(pipeline: Pipeline, folder: TrainingFolder, run_id: str, result: BacktestResult, platform: Platform) -> None:
    """Add mean, minimum and maximum over the folds to the training's metrics."""
    flat = {"backtest_folds": float(len(result.folds)), "backtest_correlation": result.correlation}
    for name in (one for one in pipeline.of_task.shown if one != "calibration_error"):
        values = [fold.model[name].value for fold in result.folds]
        summaries = (("mean", np.mean), ("min", np.min), ("max", np.max))
        flat |= {f"backtest_{name}_{summary}": float(function(values)) for summary, function in summaries}
    flat = {name: number for name, number in flat.items() if isfinite(number)}
    platform.registry.log(run_id, metrics=flat)
    platform.registry.log_file(run_id, folder.file(BacktestResult), evaluate.LOGGED)
    row = platform.ledger.get(Training, folder.training_id)
    if row is not None:
        update(folder.training_id, platform, metrics={**row.metrics, **flat})


def _log_folds(pipeline: Pipeline, result: BacktestResult) -> None:
    first = pipeline.of_task.shown[0]
    for fold in result.folds:
        one, worth = fold.model[first], fold.model["value_per_1000"].value
        value = f"{worth:,.0f} {pipeline.value.unit} per 1,000 rows"
        if result.champion_recipe == "other" and fold.champion:
            value += f"; the champion's recipe {first} {fold.champion[first].value:.4f}"
        log.info("%s: %s %.4f [%.4f, %.4f], %s", fold.as_of, first, one.value, one.low, one.high, value)
    if result.problem:
        log.warning("%s: %s", pipeline.name, result.problem)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time work in the folder; another one waits, then reuses the folds."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", waiting="another process runs this backtest: waiting for it"):
        yield
