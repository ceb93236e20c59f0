"""Search for better parameters: trials on validation rows, shared by workers."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline, Split
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.search import Search, searched, space_of, values_of, with_values
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners.rows import predict
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.versioned import to_json
from mlprod_tasks.training import fit_model, search_report, workspace
from mlprod_tasks.training.fit_model import PreparedRows
from mlprod_tasks.training.records import Assembled, BestTrial, SearchResult
from mlprod_tasks.training.row_split import FoldOfRows, all_rows, rows_of_fold
from mlprod_tasks.training.search_study import EndedTrial
from mlprod_tasks.training.search_trials import Claim, Trials
from mlprod_tasks.training.split import TRAIN, VALIDATION, HistoryTooShort
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder, failing, update

if TYPE_CHECKING:
    from mlprod_tasks.declaration.learner import Learner

log = logging.getLogger(__name__)

# Fits are compared at 1, 2, 4 ... steps, from this share of the maximum on: earlier, fast learners look better than good ones.
FIRST_COMPARED = 1 / 16
STEPS_OF_A_FOLD = 1 << 20


@dataclass(frozen=True)
class Searched:
    """One worker's trials by candidate, and each candidate's lowest loss of all workers."""

    training_id: str
    worker: int
    trials: dict[str, int]
    best: dict[str, float]


@dataclass(frozen=True)
class SearchFold:
    """Rows to fit to, and later rows to measure on."""

    train: Rows
    validation: Rows


def search(pipeline: Pipeline, training_id: str, platform: Platform, worker: int = 0) -> Searched:
    """Make trials until the budget is spent, shared with the training's other workers.

    Trials are stored with the training, for workers on any machine: a rerun continues after a killed worker, and makes none if
    the budget is spent. The last worker writes the results to search.json, and to the training's MLflow run with a picture and
    a nested run for each trial.

    Without a declared search nothing is done. Raises: StepMissing before `assemble`; HistoryTooShort if the folds need more
    ticks than there are.
    """
    declared = pipeline.model.search
    if declared is None:
        log.info("%s declares no search: candidates are fitted with their declared values", pipeline.name)
        return Searched(training_id, worker, {}, {})
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        trials = trials_of(pipeline, folder, worker)
        windows = cache(lambda: folds(pipeline, folder, platform))
        prepared = cache(lambda i: fit_model.prepare(pipeline, windows()[i].train, windows()[i].validation))
        with trials.at_work():
            while (claim := trials.claim()) is not None:
                _run_and_record(pipeline, claim, trials, prepared)
                _log_trial(pipeline, declared, claim, trials)
                if search_report.is_due(trials):
                    search_report.record(pipeline, folder, trials, platform)
            run_id = search_report.record(pipeline, folder, trials, platform)
            update(training_id, platform, run_id=run_id)
            if trials.over():
                _write(folder, trials)
                metric = task_of(pipeline).search_metric(pipeline)
                search_report.finish(folder, trials, run_id, platform, SearchResult.FILE, metric)
    ended = trials.ended()
    mine = [one.candidate for one in ended if one.worker == worker]
    best = {name: float(one.loss or 0.0) for name, one in _best(ended).items()}
    return Searched(training_id, worker, {name: mine.count(name) for name in trials.spaces}, best)


def tuned(pipeline: Pipeline, folder: TrainingFolder) -> dict[str, Learner]:
    """Return the searched candidates with their best parameters, by name.

    Empty without a declared search.
    They are those of search.json; if no worker has written it, it is written from the existing trials.
    Raises: StepMissing before `search`, or if it was made for another declaration or other data.
    """
    if pipeline.model.search is None:
        return {}
    if not folder.file(SearchResult).is_file():
        trials = trials_of(pipeline, folder, 0)
        if not trials.ended():
            raise StepMissing(f"training {folder.training_id!r} has no trials of a search: run search first")
        log.warning("the search of training %s did not finish: using the best trial so far", folder.training_id)
        _write(folder, trials)
    result = folder.read(SearchResult)
    if result.key != _key(pipeline, folder):
        raise StepMissing(
            f"the search of training {folder.training_id!r} used another declaration or other data: run search first"
        )
    named = searched(pipeline.model.candidates, pipeline.model.search)
    return {
        name: with_values(learner, {one: _from_json(value) for one, value in result.candidates[name].parameters.items()})
        for name, learner in named.items()
        if name in result.candidates
    }


def folds(pipeline: Pipeline, folder: TrainingFolder, platform: Platform) -> list[SearchFold]:
    """Return the windows of the search, latest first.

    None has rows of the test window. Of rows without a time, each fold has another validation part.
    The first is the declared one. Each further one measures on the preceding ticks, as many as the validation window has,
    going back from the training window's end, and fits to those that end a gap earlier. Raises: HistoryTooShort.
    """
    wanted = pipeline.model.search.folds if pipeline.model.search else 1
    if wanted > 1 and not isinstance(pipeline.split, Split):
        return _folds_of_rows(pipeline, folder, wanted, platform)
    windows = folder.read(Assembled).windows
    (first, last), (from_, to) = windows.train, windows.validation
    train_rows, validation_rows = (workspace.read_window(folder, name) for name in (TRAIN, VALIDATION))
    schedule = pipeline.schedule
    length, gap = schedule.ticks_between(from_, to) + 1, schedule.ticks_between(last, from_) - 1
    search_folds = [SearchFold(train_rows, validation_rows)]
    for i in range(1, wanted):
        end = schedule.shift(last, (1 - i) * length)
        begin = schedule.shift(end, 1 - length)
        fit_to = schedule.shift(begin, -gap - 1)
        if (missing := length - schedule.ticks_between(first, fit_to) - 1) > 0:
            raise HistoryTooShort(
                f"{pipeline.name}: fold {i + 1} of the search would be fitted to ticks {first} to {fit_to} and measured "
                f"on {begin} to {end}: {missing} ticks fewer to fit to than to measure on. Declare fewer folds than {wanted}, "
                "or a longer split.train"
            )
        search_folds.append(SearchFold(_between(train_rows, first, fit_to), _between(train_rows, begin, end)))
    return search_folds


def _folds_of_rows(pipeline: Pipeline, folder: TrainingFolder, wanted: int, platform: Platform) -> list[SearchFold]:
    """Return the folds of rows without a time: no row is in the validation part of two of them."""
    assembled, rows = folder.read(Assembled), all_rows(pipeline, folder, (TRAIN, VALIDATION))
    ticks, versions = pipeline.schedule.range(*assembled.windows.train), assembled.versions
    of = (FoldOfRows(number, "validation") for number in range(wanted))
    parts = [rows_of_fold(pipeline, rows, ticks, versions, platform, fold) for fold in of]
    return [SearchFold(one[TRAIN], one[VALIDATION]) for one in parts]


def _run_and_record(pipeline: Pipeline, claim: Claim, trials: Trials, prepared: Callable[[int], PreparedRows]) -> None:
    """Run one trial and record its end. The first one, with the declared values, is never cut and must not fail."""
    try:
        loss, cut = run_trial(pipeline, claim, trials, prepared)
    except Exception as error:
        if claim.place == 0:
            error.add_note(f"{pipeline.name}: candidate {claim.candidate!r} could not be fitted with its declared values")
            raise
        log.warning("%s: %s with %s failed", pipeline.name, claim.candidate, claim.parameters, exc_info=True)
        trials.tell(claim, "failed", note=f"{type(error).__name__}: {error}")
    else:
        trials.tell(claim, "pruned" if cut else "complete", loss, cut)


def run_trial(
    pipeline: Pipeline, claim: Claim, trials: Trials, prepared: Callable[[int], PreparedRows]
) -> tuple[float | None, str]:
    """Return the mean loss over the folds, or the last reported one, with why the trial was cut short, or ''."""
    learner = with_values(pipeline.model.candidate(claim.candidate), claim.parameters)
    most = getattr(learner, "max_trees", None) or getattr(learner, "max_epochs", None) or 1
    wanted = trials.search.folds
    losses: list[float] = []
    reached, cut = 0, ""
    ends = time.monotonic() + trials.seconds_left()

    def compare(step: int, so_far: list[float]) -> None:
        nonlocal cut
        claim.values[len(losses) * STEPS_OF_A_FOLD + step] = float(np.mean(so_far))
        if claim.place > 0 and trials.is_worse_than_median(claim):
            cut = "worse than the median"

    def report(step: int, loss: float) -> bool:
        nonlocal cut, reached
        at = 1 << max(step, 1).bit_length() - 1
        if claim.place > 0 and time.monotonic() >= ends:
            cut = "time is up"
        elif at > reached and step >= FIRST_COMPARED * most:
            reached = at
            compare(at, [*losses, loss])
        return bool(cut)

    for i in range(wanted):
        rows, reached = prepared(i), 0
        fitted = learners.fit_learner(
            learner, rows.columns, rows.train, rows.validation, pipeline.model, report, gap_ticks=fit_model.gap_ticks(pipeline)
        )
        if not cut:
            raw = predict(fitted.predict, rows.validation.x)
            losses.append(task_of(pipeline).search_loss(pipeline, raw, rows.validation.y))
            if len(losses) < wanted:
                compare(0, losses)
        if cut:
            break
    loss = claim.values[max(claim.values)] if cut and claim.values else float(np.mean(losses or [np.nan]))
    if not cut and np.isnan(loss):
        raise ValueError("its loss is not a number")
    return None if np.isnan(loss) else loss, cut


def _between(rows: Rows, first: TickName, last: TickName) -> Rows:
    tick = rows["tick"]
    return rows.filter(pc.and_(pc.greater_equal(tick, first), pc.less_equal(tick, last)))


def trials_of(pipeline: Pipeline, folder: TrainingFolder, worker: int) -> Trials:
    declared = pipeline.model.search
    assert declared is not None
    named = searched(pipeline.model.candidates, declared)
    key = _key(pipeline, folder)
    return Trials(
        folder.records(f"search/{key[:16]}"),
        key,
        declared,
        {name: space_of(learner, declared) for name, learner in named.items()},
        {name: values_of(learner) for name, learner in named.items()},
        pipeline.model.seed,
        worker,
    )


def _key(pipeline: Pipeline, folder: TrainingFolder) -> str:
    """Return a hash of what trials depend on: declaration, windows and versions of the data."""
    assembled = folder.read(Assembled)
    inputs = [pipeline.digest, str(assembled.as_of), to_json(assembled.windows), assembled.versions]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _best(trials: list[EndedTrial]) -> Mapping[str, EndedTrial]:
    """Return the trial with the lowest loss of each candidate; of equal ones the first, so the declared one wins."""
    best: dict[str, EndedTrial] = {}
    for one in trials:
        if one.state == "complete" and (one.candidate not in best or _has_lower_loss(one, best[one.candidate])):
            best[one.candidate] = one
    return best


def _has_lower_loss(one: EndedTrial, other: EndedTrial) -> bool:
    return (one.loss or 0.0) < (other.loss or 0.0)


def _write(folder: TrainingFolder, trials: Trials) -> None:
    """Write the best parameters of each candidate, with the number of trials."""
    ended = trials.ended()
    candidates = {
        name: BestTrial(
            parameters=best.parameters,
            loss=best.loss,
            declared_loss=next((one.loss for one in ended if (one.candidate, one.place) == (name, 0)), None),
            place=best.place,
            trials={
                state: sum(one.candidate == name and one.state == state for one in ended)
                for state in ("complete", "pruned", "failed")
            },
        )
        for name, best in _best(ended).items()
    }
    folder.write(SearchResult(trials.key, candidates))


def _from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _log_trial(pipeline: Pipeline, declared: Search, claim: Claim, trials: Trials) -> None:
    """Log one line per trial: its loss, the best so far, and its duration."""
    ended = [one for one in trials.ended() if one.candidate == claim.candidate]
    one = next(one for one in ended if one.place == claim.place)
    best = _best(ended)
    log.info(
        "%s: %s trial %d%s: %s; best %s, %.1f s%s",
        pipeline.name,
        claim.candidate,
        claim.place + 1,
        f" of {declared.trials}" if declared.trials else "",
        f"loss {one.loss:.5f}" if one.state == "complete" else f"{one.state}, {one.note}",
        f"{best[claim.candidate].loss:.5f}" if claim.candidate in best else "none yet",
        one.seconds,
        f", {max(0.0, trials.seconds_left()) / 60:.1f} of {declared.minutes:g} minutes left" if declared.minutes else "",
    )
