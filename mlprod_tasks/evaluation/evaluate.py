"""Evaluate a model on its test window, beside a constant baseline and the champion, on the same rows, whole and in slices."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.compare import Performance, compare
from mlprod_tasks.evaluation.results import BacktestResult, Comparison, Estimates, Evaluation, Slices
from mlprod_tasks.evaluation.slices import slices
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.platform import Platform
from mlprod_tasks.statistics import metrics
from mlprod_tasks.statistics.metrics import Sampled
from mlprod_tasks.training import workspace
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

log = logging.getLogger(__name__)

LOGGED = "training"  # folder of the MLflow run


def evaluate(pipeline: Pipeline, training_id: str, platform: Platform) -> Evaluation:
    """Measure model, baseline and champion on the test window; write the numbers to folder, MLflow and ledger.

    Besides the evaluation: the comparison with the champion on the same rows and draws, and slices of the window. A champion
    that cannot be evaluated on these rows is no error here: it is recorded, and gates against it fail.

    Raises: StepMissing before `train`.
    """
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        trained = folder.read(Trained)
        assembled = folder.read(Assembled)
        rows = workspace.read_window(folder, TEST)
        outcome = outcome_of(rows)
        candidate = load_model(folder.model)
        ours = measure_performance(pipeline, candidate, rows)
        champion, version, problem = _champion(pipeline, assembled, rows, platform)
        made = Evaluation(
            training_id=training_id,
            model_digest=trained.digest,
            rows=rows.num_rows,
            positives=int(outcome.sum()),
            unlabelled=assembled.unlabelled.test,
            threshold=candidate.threshold,
            model=ours.sampled.estimates(),
            baseline=baseline(pipeline, candidate.facts, workspace.read_window(folder, VALIDATION), rows),
            champion=None if champion is None else champion.sampled.estimates(),
            champion_version=version,
            champion_problem=problem,
        )
        comparison = None if champion is None or version is None else compare(version, outcome, ours, champion)
        sliced = slices(pipeline, rows, outcome, ours.score, ours.worth, seed=pipeline.model.seed)
        _keep(folder, made, comparison, sliced)
        _record(folder, trained.run_id, made, comparison, platform)
    for name, one in made.model.items():
        log.info("%s %.4f [%.4f, %.4f], baseline %.4f", name, one.value, one.low, one.high, made.baseline[name].value)
    _log_findings(comparison, sliced)
    return made


def measure_performance(pipeline: Pipeline, candidate: Any, rows: pa.Table) -> Performance:
    """A model's scores of labelled rows and every metric of them. Raises: ModelInputError, CannotBeMeasured, ValueUndefined."""
    predicted, outcome = candidate.predict(rows), outcome_of(rows)
    worth = decision_value.worth(pipeline.value, rows, predicted.score, outcome).of(predicted.decision)
    return Performance(predicted.score, worth, _sampled(pipeline, outcome, predicted.score, worth))


def baseline(pipeline: Pipeline, facts: ModelFacts, validation: pa.Table, rows: pa.Table) -> Estimates:
    """The model's training rate for every row, and for every row the one decision that was best on the validation window."""
    rate = facts.training_rate
    assert rate is not None, "a model that is fitted here knows its training rate"
    known, outcome = outcome_of(validation), outcome_of(rows)
    before, now = np.full(len(known), rate), np.full(len(outcome), rate)
    threshold = decision_value.best_threshold(decision_value.worth(pipeline.value, validation, before, known), before)
    worth = decision_value.worth(pipeline.value, rows, now, outcome).of(now >= threshold)
    return _sampled(pipeline, outcome, now, worth).estimates()


def _champion(
    pipeline: Pipeline, assembled: Assembled, rows: pa.Table, platform: Platform
) -> tuple[Performance | None, int | None, str | None]:
    """How the champion does, its version, and what kept it from being evaluated."""
    champion = platform.registry.champion(pipeline)
    if champion is None:
        return None, None, None
    try:
        loaded = platform.registry.load_model(champion)
        fitted_to = loaded.facts.windows
        if fitted_to is None:
            raise ValueError("it does not say which rows it was fitted to")
        if fitted_to.validation.last >= assembled.windows.test.first:
            raise ValueError(f"it was fitted to rows up to {fitted_to.validation.last}, which this test window holds too")
        return measure_performance(pipeline, loaded, rows), champion.version, None
    except Exception as error:
        log.exception("champion version %d cannot be evaluated", champion.version)
        return None, champion.version, f"champion version {champion.version}: {type(error).__name__}: {error}"


def _sampled(pipeline: Pipeline, outcome: np.ndarray, score: np.ndarray, worth: np.ndarray) -> Sampled:
    return metrics.sample(outcome, score, worth, pipeline.top_share, seed=pipeline.model.seed)


def _keep(folder: TrainingFolder, made: Evaluation, comparison: Comparison | None, sliced: Slices) -> None:
    """Leave the numbers in the training's folder, the evaluation last: with it this step is done.

    The backtest of a model that was evaluated here before says nothing of another one, and goes.
    """
    before = folder.find(Evaluation)
    if before is not None and before.model_digest != made.model_digest:
        folder.remove(BacktestResult)
    folder.write(sliced)
    if comparison is None:
        # Of an earlier evaluation, against a champion that is none any more or can no longer be evaluated.
        folder.remove(Comparison)
    else:
        folder.write(comparison)
    folder.write(made)


def _record(folder: TrainingFolder, run_id: str, made: Evaluation, comparison: Comparison | None, platform: Platform) -> None:
    flat = _flat(made, comparison)
    platform.registry.log(run_id, metrics=flat, tags={"champion": _champion_told(made)})
    for part in (Slices, Comparison):
        if (file := folder.file(part)).is_file():
            platform.registry.log_file(run_id, file, LOGGED)
    update(folder.training_id, platform, metrics=flat)


def _flat(made: Evaluation, comparison: Comparison | None) -> dict[str, float]:
    """Metrics by name, as MLflow and the ledger list them; what could not be computed is left out."""
    flat = {"test_rows": float(made.rows), "test_positives": float(made.positives), "threshold": made.threshold}
    for prefix, estimates in (("", made.model), ("baseline_", made.baseline), ("champion_", made.champion or {})):
        for name, one in estimates.items():
            flat[f"{prefix}{name}"] = one.value
            if not prefix:
                flat |= {f"{name}_low": one.low, f"{name}_high": one.high}
    for name, difference in comparison.differences.items() if comparison else ():
        flat |= {f"diff_{name}{end}": getattr(difference, field) for end, field in _ENDS}
    return {name: number for name, number in flat.items() if np.isfinite(number)}


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"), ("_p", "p"))


def _champion_told(made: Evaluation) -> str:
    if made.champion_version is None:
        return "none yet"
    return made.champion_problem or f"version {made.champion_version}, evaluated on the same rows"


def _log_findings(comparison: Comparison | None, sliced: Slices) -> None:
    for name, one in comparison.differences.items() if comparison else ():
        against = f"than champion version {comparison.champion_version}" if comparison else ""
        log.info("%s %+.4f [%+.4f, %+.4f] %s, p %.3f", name, one.value, one.low, one.high, against, one.p)
    log.info("%d slices measured, %d with fewer than %d rows left out", len(sliced.slices), sliced.left_out, sliced.least_rows)
    for found in sliced.slices:
        if found.found == "searched":
            loss, off = found.metrics["log_loss"].value, found.metrics["calibration"].value
            log.info("worst where %s: %d rows, log loss %.4f, calibration %+.4f", found.name, found.rows, loss, off)
