"""Backtest the recipe: how the same way of making a model would have done at earlier moments, each on its own later window."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import ceil, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Backtest, Learner, Pipeline, Tick, TickRange
from mlprod_tasks.evaluation import evaluate
from mlprod_tasks.evaluation.results import BacktestResult, Estimates, Evaluation, Fold, KeptFold
from mlprod_tasks.evaluation.training_spec import ChampionSpec, spec_of_champion
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import DateRange, ModelFacts, PerWindow
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.versioned import read_record, to_json, write_record
from mlprod_tasks.training import assemble, search, segments, workspace
from mlprod_tasks.training.feature_history import History
from mlprod_tasks.training.provenance import Provenance, provenance
from mlprod_tasks.training.records import Assembled, Trained, facts_of
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, HistoryTooShort, Windows, on_schedule, windows
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

log = logging.getLogger(__name__)

FOLDS = "backtest"  # folder of the training's: one file a fold
ENOUGH = 2
FEWEST_TO_CORRELATE = 3
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Run:
    """What the folds of one backtest have in common."""

    pipeline: Pipeline
    training_id: str
    assembled: Assembled
    tuned: Mapping[str, Learner]
    champion: ChampionSpec
    made_by: Provenance


def backtest(pipeline: Pipeline, training_id: str, platform: Platform) -> BacktestResult | None:
    """Fit and evaluate the recipe as of the training's tick and of earlier ones; write the folds to folder, MLflow and ledger.

    Each fold stands at its own moment: windows counted back from it, labels known by it, features from the training's lake
    versions. The last is the training itself, whose evaluation it takes over. Beside the model each fold measures a constant
    baseline and the champion's recipe. Folds that the history is too short for are left out, also
    where it would leave fewer ticks to train on than to test on. A warm update starts anew.
    Parameters that a search found for the training hold in every fold, though it chose them on rows that are later than those
    of earlier folds: there the spread is honest, the level a little flattered.

    Folds are kept one by one: a run that was killed goes on where it was. None where no backtest is declared.

    Raises: StepMissing before `evaluate`.
    """
    if pipeline.backtest is None:
        log.info("%s declares no backtest: nothing to do", pipeline.name)
        return None
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform), _alone(folder.path / FOLDS):
        evaluation = folder.read(Evaluation)
        run_id = folder.read(Trained).run_id
        assembled = folder.read(Assembled)
        champion = spec_of_champion(pipeline, load_model(folder.model), platform)
        run = _Run(pipeline, training_id, assembled, search.tuned(pipeline, folder), champion, provenance())
        own = pipeline.schedule.tick(assembled.as_of)
        earlier = _earlier(run, own, folder, platform)
        folds = (*earlier, _training_as_fold(run, own, evaluation, folder))
        made = BacktestResult(
            folds=folds,
            champion_version=champion.version,
            champion_recipe=champion.recipe,
            problem=_problem(champion, len(folds), pipeline.backtest),
            correlation=correlation(folds),
        )
        folder.write(made)
        _record(folder, run_id, made, platform)
    _log_folds(pipeline, made)
    return made


def correlation(folds: Sequence[Fold], metric: str = "roc_auc", business: str = "value_per_1000") -> float:
    """Spearman's rank correlation of two metrics over the folds; NaN for fewer than three, or where one never changes."""
    from scipy.stats import spearmanr

    pairs = [(fold.model[metric].value, fold.model[business].value) for fold in folds]
    finite = np.array([pair for pair in pairs if all(map(isfinite, pair))])
    if len(finite) < FEWEST_TO_CORRELATE:
        return nan
    return float(spearmanr(finite).statistic) if (np.ptp(finite, axis=0) > 0).all() else nan


def moments(declared: Backtest, test: timedelta, as_of: Tick) -> list[date]:
    """The ticks as of which there are folds, earliest first, the training's own last."""
    step = ceil((declared.step or test) / ONE_DAY)
    return [as_of.date - i * step * ONE_DAY for i in reversed(range(declared.windows))]


def _earlier(run: _Run, own: Tick, folder: TrainingFolder, platform: Platform) -> list[Fold]:
    """Every fold before the training's own: those that are kept, and those that are made now."""
    declared = run.pipeline.backtest
    assert declared is not None
    chosen = []
    for day in moments(declared, run.pipeline.split.test, own)[:-1]:
        try:
            chosen.append(_windows(run.pipeline, day))
        except HistoryTooShort as error:
            log.info("no fold as of %s: %s", day, error)
    kept = {as_of: _kept(_file(folder, as_of), _key(run, as_of, placed)) for as_of, placed in chosen}
    missing = [(as_of, placed) for as_of, placed in chosen if kept[as_of] is None]
    if missing:
        # Of all folds, also those that are kept: what a killed run has computed then serves the next one.
        span = [ticks for _, placed in chosen for _, ticks in placed.named()]
        ticks = run.pipeline.schedule.range(min(one.first for one in span), max(one.last for one in span))
        past = History(run.pipeline, ticks, run.assembled.versions, folder.path / FOLDS, platform)
        for i, (as_of, placed) in enumerate(missing):
            log.info("fold %d of %d, as of %s: train %s, test %s", i + 1, len(missing), as_of, placed.train, placed.test)
            kept[as_of] = made = _fit_fold(run, as_of, placed, past)
            _write(_file(folder, as_of), _key(run, as_of, placed), made)
        past.remove()
    for as_of, found in kept.items():
        if isinstance(found, str):
            log.info("no fold as of %s: %s", as_of, found)
    return [found for found in kept.values() if isinstance(found, Fold)]


def _windows(pipeline: Pipeline, day: date) -> tuple[Tick, Windows]:
    if day < pipeline.schedule.starts:
        raise HistoryTooShort(f"the schedule starts only at {pipeline.schedule.starts}")
    as_of = pipeline.schedule.tick(day)
    placed = windows(pipeline.split, as_of, pipeline.label_delay_ticks, pipeline.schedule)
    if pipeline.split.train is None and len(placed.train) < len(placed.test):
        raise HistoryTooShort(f"there would be {len(placed.train)} ticks to train on and {len(placed.test)} to test on")
    return as_of, placed


def _kept(file: Path, key: str) -> Fold | str | None:
    """The fold of an earlier run, or why there is none; None where it is still to be made."""
    kept = read_record(KeptFold, file)
    return None if kept is None or kept.key != key else kept.fold or kept.left_out


def _write(file: Path, key: str, made: Fold | str) -> None:
    fold, left_out = (made, None) if isinstance(made, Fold) else (None, made)
    write_record(KeptFold(key, fold, left_out), file)


def _file(folder: TrainingFolder, as_of: Tick) -> Path:
    return folder.path / FOLDS / f"{as_of}.json"


def _key(run: _Run, as_of: Tick, placed: Windows) -> str:
    """What a fold rests on: with the same key it comes out the same."""
    other = run.champion.pipeline
    rests_on = {
        "code": [run.made_by.code_digest, run.made_by.lock_digest],
        "declaration": run.pipeline.digest,
        "tuned": {name: repr(learner) for name, learner in sorted(run.tuned.items())},
        "champion": [run.champion.recipe, other.digest if other else None],
        "versions": run.assembled.versions,
        "as_of": str(as_of),
        "windows": to_json(placed.dates()),
    }
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()


def _fit_fold(run: _Run, as_of: Tick, placed: Windows, past: History) -> Fold | str:
    """Fit and evaluate as of an earlier tick; a sentence where the windows hold too little."""
    rows = {}
    for name, ticks in placed.named():
        rows[name] = past.window(ticks, as_of)
        if problem := _too_little(name, ticks, rows[name]):
            return problem
    outcome = outcome_of(rows[TEST])
    facts = _facts(run, as_of, placed.dates())
    fitted = segments.fit_all(run.pipeline, rows[TRAIN], rows[VALIDATION], facts, tuned=run.tuned)
    of_model = _metrics_of(run.pipeline, fitted, rows[TEST])
    of_baseline = evaluate.baseline(run.pipeline, fitted.facts, rows[VALIDATION], rows[TEST])
    log.info("as of %s: AUC %.4f on %d rows", as_of, of_model["roc_auc"].value, len(outcome))
    return Fold(
        as_of=as_of.date,
        windows=placed.dates(),
        rows=len(outcome),
        positives=int(outcome.sum()),
        model=of_model,
        baseline=of_baseline,
        champion=_of_champion(run, facts, of_model, rows),
    )


def _training_as_fold(run: _Run, as_of: Tick, evaluation: Evaluation, folder: TrainingFolder) -> Fold:
    """The training itself as a fold; only another recipe of the champion's is still to be fitted."""
    of_model, placed = evaluation.model, run.assembled.windows
    key = f"{evaluation.model_digest} {_key(run, as_of, on_schedule(placed, run.pipeline.schedule))}"
    file = _file(folder, as_of)
    if run.champion.recipe != "other":
        of_champion = of_model if run.champion.recipe == "same" else None
    elif isinstance(kept := _kept(file, key), Fold):
        return kept
    else:
        log.info("as of %s: fitting the recipe of champion version %s", as_of, run.champion.version)
        rows = {name: workspace.read_window(folder, name) for name in (TRAIN, VALIDATION, TEST)}
        of_champion = _of_champion(run, _facts(run, as_of, placed), of_model, rows)
    made = Fold(
        as_of=as_of.date,
        windows=placed,
        rows=evaluation.rows,
        positives=evaluation.positives,
        model=of_model,
        baseline=evaluation.baseline,
        champion=of_champion,
    )
    _write(file, key, made)
    return made


def _of_champion(run: _Run, facts: ModelFacts, of_model: Estimates, rows: Mapping[str, pa.Table]) -> Estimates | None:
    other = run.champion.pipeline
    if other is None:
        return of_model if run.champion.recipe == "same" else None
    return _metrics_of(other, segments.fit_all(other, rows[TRAIN], rows[VALIDATION], facts), rows[TEST])


def _metrics_of(pipeline: Pipeline, fitted: Any, rows: pa.Table) -> Estimates:
    return evaluate.measure_performance(pipeline, fitted, rows).sampled.estimates()


def _facts(run: _Run, as_of: Tick, placed: PerWindow[DateRange]) -> ModelFacts:
    placed_otherwise = replace(run.assembled, as_of=as_of.date, windows=placed)
    return facts_of(placed_otherwise, run.training_id, run.pipeline.digest)


def _too_little(window: str, ticks: TickRange, rows: pa.Table) -> str | None:
    n = rows.num_rows
    positives = int(outcome_of(rows).sum()) if n else 0
    if n < assemble.LEAST_ROWS:
        return f"the {window} window {ticks} holds {n} labelled rows, fewer than {assemble.LEAST_ROWS}"
    if positives in (0, n):
        return f"the {window} window {ticks} holds outcomes of one class only"
    return None


def _problem(champion: ChampionSpec, folds: int, declared: Backtest) -> str | None:
    told = [champion.problem] if champion.problem else []
    if folds < ENOUGH:
        told.append(f"the history is too short: it has {folds} of {declared.windows} windows")
    return "; ".join(told) or None


def _record(folder: TrainingFolder, run_id: str, made: BacktestResult, platform: Platform) -> None:
    """The spread over the folds, beside the training's other metrics."""
    flat = {"backtest_folds": float(len(made.folds)), "backtest_correlation": made.correlation}
    for name in ("roc_auc", "log_loss", "value_per_1000"):
        values = [fold.model[name].value for fold in made.folds]
        flat |= {f"backtest_{name}_{of}": float(f(values)) for of, f in (("mean", np.mean), ("min", np.min), ("max", np.max))}
    flat = {name: number for name, number in flat.items() if isfinite(number)}
    platform.registry.log(run_id, metrics=flat)
    platform.registry.log_file(run_id, folder.file(BacktestResult), evaluate.LOGGED)
    row = platform.ledger.get(Training, folder.training_id)
    if row is not None:
        update(folder.training_id, platform, metrics={**row.metrics, **flat})


def _log_folds(pipeline: Pipeline, made: BacktestResult) -> None:
    for fold in made.folds:
        auc, worth = fold.model["roc_auc"], fold.model["value_per_1000"].value
        told = f"{worth:,.0f} {pipeline.value.unit} per 1,000"
        if made.champion_recipe == "other" and fold.champion:
            told += f"; the champion's recipe AUC {fold.champion['roc_auc'].value:.4f}"
        log.info("%s: AUC %.4f [%.4f, %.4f], %s", fold.as_of, auc.value, auc.low, auc.high, told)
    if made.problem:
        log.warning("%s: %s", pipeline.name, made.problem)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time work in the folder; another waits, and then finds the folds there."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", waiting="another process is at this backtest: waiting for it"):
        yield
