"""Evaluate a model, a baseline and the champion on the test window and its slices."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.champion import ChampionNow, champion_now
from mlprod_tasks.evaluation.compare import Performance, compare
from mlprod_tasks.evaluation.results import BacktestResult, Comparison, Estimates, Evaluation, Slices, outcomes_in_numbers
from mlprod_tasks.evaluation.simple_baselines import simple_baselines
from mlprod_tasks.evaluation.slices import slices
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.check_task import check_task
from mlprod_tasks.models.feature_frame import Predictions, drawn_ticks_of, outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.training import workspace
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

log = logging.getLogger(__name__)

LOGGED = "training"  # folder of the MLflow run


def evaluate(pipeline: Pipeline, training_id: str, platform: Platform) -> Evaluation:
    """Measure model, baseline and champion on the test window.

    Write the results to folder, MLflow and ledger.
    Also writes the comparison with the champion, on the same rows and resamples, and the slices. If the champion cannot be
    evaluated on these rows, the reason is recorded and gates against it fail.

    Raises: StepMissing before `train`.
    """
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        trained, assembled = folder.read(Trained), folder.read(Assembled)
        rows = workspace.read_window(folder, TEST)
        outcome = outcome_of(rows)
        positives, mean, classes = outcomes_in_numbers(outcome)
        candidate = load_model(folder.model)
        ours = measure_performance(pipeline, candidate, rows)
        now = champion_now(pipeline, platform)
        champion, problem = _champion(pipeline, now, assembled, rows, platform)
        evaluation = Evaluation(
            training_id=training_id,
            model_digest=trained.digest,
            rows=rows.num_rows,
            positives=positives,
            unlabelled=assembled.unlabelled.test,
            threshold=candidate.threshold,
            model=ours.sampled.estimates(),
            baseline=baseline(pipeline, candidate.facts, workspace.read_window(folder, VALIDATION), rows),
            champion=None if champion is None else champion.sampled.estimates(),
            champion_version=now.version,
            champion_problem=problem,
            champion_recorded=now.recorded,
            mean_outcome=mean,
            classes=classes,
            simple=simple_baselines(pipeline, folder, rows, ours.ticks),
            ticks=ours.sampled.ticks,
        )
        comparison = None if champion is None or now.version is None else compare(now.version, outcome, ours, champion)
        sliced = slices(pipeline, rows, outcome, ours.score, ours.worth, seed=pipeline.model.seed)
        _write(folder, evaluation, comparison, sliced)
        _record(folder, trained.run_id, evaluation, comparison, platform)
    for name, one in evaluation.model.items():
        constant = evaluation.baseline.get(name)
        against = "" if constant is None else f", baseline {constant.value:.4f}"
        log.info("%s %.4f [%.4f, %.4f]%s", name, one.value, one.low, one.high, against)
    _log_results(comparison, sliced)
    return evaluation


def measure_performance(pipeline: Pipeline, candidate: Any, rows: Rows, by_tick: bool = True) -> Performance:
    """Score labelled rows and compute every metric.

    by_tick: whether intervals rest on resamples of ticks, if there are enough, or of rows, as once they always did.
    Raises: ModelInputError, CannotBeMeasured, ValueUndefined.
    """
    predicted, outcome = within_capacity(pipeline, rows, candidate.predict(rows)), outcome_of(rows)
    worth = decision_value.worth(pipeline.value, rows, predicted.score, outcome).of(predicted.decision)
    ticks = drawn_ticks_of(rows) if by_tick else None
    return Performance(predicted.score, worth, task_of(pipeline).sample(pipeline, outcome, predicted, worth, ticks), ticks)


def baseline(pipeline: Pipeline, facts: ModelFacts, validation: Rows, rows: Rows) -> Estimates:
    """Measure a constant baseline.

    It gives every row the training rate, mean, or shares of classes; its one decision is the best on the validation window.
    """
    task, known, outcome = task_of(pipeline), outcome_of(validation), outcome_of(rows)
    before, now = (task.constant(facts, len(one)) for one in (known, outcome))
    threshold = task.threshold(decision_value.worth(pipeline.value, validation, before, known), before)
    predicted = within_capacity(pipeline, rows, Predictions(now, task.decided(pipeline, now, threshold)))
    worth = decision_value.worth(pipeline.value, rows, now, outcome).of(predicted.decision)
    return task.sample(pipeline, outcome, predicted, worth, drawn_ticks_of(rows)).estimates()


def _champion(
    pipeline: Pipeline, now: ChampionNow, assembled: Assembled, rows: Rows, platform: Platform
) -> tuple[Performance | None, str | None]:
    """Return the champion's performance, or why it could not be evaluated; neither if there never was a champion."""
    champion = now.ref
    if champion is None or now.problem is not None:
        return None, now.problem
    try:
        loaded = platform.registry.load_model(champion)
        check_task(pipeline, loaded, champion.version)
        fitted_to = loaded.facts.windows
        if fitted_to is None:
            raise ValueError("it does not record which rows it was fitted on")
        if assembled.split is not None:
            if loaded.facts.split != assembled.split:
                raise ValueError("its rows were split in another way, so it may have been fitted on rows of this test")
        elif fitted_to.validation.last >= assembled.windows.test.first:
            raise ValueError(f"it was fitted on rows up to {fitted_to.validation.last}, which overlap this test window")
        return measure_performance(pipeline, loaded, rows), None
    except Exception as error:
        log.exception("champion version %d cannot be evaluated", champion.version)
        return None, f"champion version {champion.version}: {type(error).__name__}: {error}"


def _write(folder: TrainingFolder, evaluation: Evaluation, comparison: Comparison | None, sliced: Slices) -> None:
    """Write the results to the training's folder, the evaluation last: it marks the step as done.

    The backtest of another model that was evaluated here before is removed.
    """
    before = folder.find(Evaluation)
    if before is not None and before.model_digest != evaluation.model_digest:
        folder.remove(BacktestResult)
    folder.write(sliced)
    if comparison is None:
        # It is from an earlier evaluation, against a champion that is gone or can no longer be evaluated.
        folder.remove(Comparison)
    else:
        folder.write(comparison)
    folder.write(evaluation)


def _record(
    folder: TrainingFolder, run_id: str, evaluation: Evaluation, comparison: Comparison | None, platform: Platform
) -> None:
    flat = _metrics_by_name(evaluation, comparison)
    platform.registry.log(run_id, metrics=flat, tags={"champion": _champion_tag(evaluation)})
    for part in (Slices, Comparison):
        if (file := folder.file(part)).is_file():
            platform.registry.log_file(run_id, file, LOGGED)
    update(folder.training_id, platform, metrics=flat)


def _metrics_by_name(evaluation: Evaluation, comparison: Comparison | None) -> dict[str, float]:
    """Return the metrics by name, as MLflow and the ledger list them, without those that could not be computed."""
    flat = {"test_rows": float(evaluation.rows)}
    if evaluation.classes is not None:
        flat["test_classes"] = float(len(evaluation.classes))
    elif evaluation.mean_outcome is None:
        flat["test_positives"] = float(evaluation.positives)
    else:
        flat["test_mean_outcome"] = evaluation.mean_outcome
    if evaluation.threshold is not None:
        flat["threshold"] = evaluation.threshold
    estimates_by_prefix = {"": evaluation.model, "baseline_": evaluation.baseline, "champion_": evaluation.champion or {}}
    for prefix, estimates in estimates_by_prefix.items():
        for name, one in estimates.items():
            flat[f"{prefix}{name}"] = one.value
            if not prefix:
                flat |= {f"{name}_low": one.low, f"{name}_high": one.high}
    for name, difference in comparison.differences.items() if comparison else ():
        flat |= {f"diff_{name}{end}": getattr(difference, field) for end, field in _ENDS}
    return {name: number for name, number in flat.items() if np.isfinite(number)}


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"), ("_p", "p"))


def _champion_tag(evaluation: Evaluation) -> str:
    if evaluation.champion_version is None:
        return "none yet"
    return evaluation.champion_problem or f"version {evaluation.champion_version}, evaluated on the same rows"


def _log_results(comparison: Comparison | None, sliced: Slices) -> None:
    for name, one in comparison.differences.items() if comparison else ():
        against = f"than champion version {comparison.champion_version}" if comparison else ""
        log.info("%s %+.4f [%+.4f, %+.4f] %s, p %.3f", name, one.value, one.low, one.high, against, one.p)
    log.info("%d slices measured, %d with fewer than %d rows left out", len(sliced.slices), sliced.left_out, sliced.least_rows)
    for one_slice in sliced.slices:
        if one_slice.found == "searched":
            shown = ", ".join(f"{name} {estimate.value:.4f}" for name, estimate in one_slice.metrics.items())
            log.info("worst slice %s: %d rows, %s", one_slice.name, one_slice.rows, shown)
