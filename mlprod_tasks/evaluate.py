"""Judge a model on its test window, beside a constant baseline and the champion, on the same rows."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa

from mlprod_tasks import assemble, metrics, model, plots, train, value
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation import Estimates, Evaluation
from mlprod_tasks.model import Model
from mlprod_tasks.platform import Platform
from mlprod_tasks.split import TEST, VALIDATION
from mlprod_tasks.training_folder import TrainingFolder, failing, update

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"


def evaluate(pipeline: Pipeline, training_id: str, platform: Platform) -> Evaluation:
    """Measure model, baseline and champion on the test window; write numbers and plots to folder, MLflow and ledger.

    A champion that cannot be evaluated on these rows is no error here: it is recorded, and gates against it fail.

    Raises: StepMissing before `train`.
    """
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        trained = folder.read(train.TRAINED, "train")
        assembled = folder.read(assemble.MANIFEST, "assemble")
        rows = train.read_window(folder, TEST)
        made, candidate = _evaluated(pipeline, training_id, trained["digest"], assembled, rows, folder, platform)
        folder.write(EVALUATION, made.as_json())
        outcome = _outcome(rows)
        plots.write(folder.plots, pipeline, outcome, candidate.predict(rows).score, candidate.threshold, candidate.importance)
        platform.registry.log(trained["run_id"], metrics=_flat(made), tags={"champion": _champion_told(made)})
        platform.registry.log_folder(trained["run_id"], folder.plots, "plots")
        update(training_id, platform, metrics=_flat(made))
    for name, one in made.model.items():
        log.info("%s %.4f [%.4f, %.4f], baseline %.4f", name, one.value, one.low, one.high, made.baseline[name].value)
    return made


def _evaluated(
    pipeline: Pipeline,
    training_id: str,
    digest: str,
    assembled: dict,
    rows: pa.Table,
    folder: TrainingFolder,
    platform: Platform,
) -> tuple[Evaluation, Model]:
    candidate = model.load(folder.model)
    outcome = _outcome(rows)
    champion, version, problem = _champion(pipeline, assembled, rows, outcome, platform)
    made = Evaluation(
        training_id=training_id,
        model_digest=digest,
        rows=rows.num_rows,
        positives=int(outcome.sum()),
        unlabelled=assembled["unlabelled"][TEST],
        threshold=candidate.threshold,
        model=measured(pipeline, candidate, rows, outcome),
        baseline=_baseline(pipeline, candidate, _outcome(train.read_window(folder, VALIDATION)), outcome),
        champion=champion,
        champion_version=version,
        champion_problem=problem,
    )
    return made, candidate


def measured(pipeline: Pipeline, candidate: Model, rows: pa.Table, outcome: np.ndarray) -> Estimates:
    """Every metric of a model on labelled rows. Raises: ModelInputError, CannotBeMeasured."""
    predicted = candidate.predict(rows)
    worth = value.of_decisions(pipeline.value, predicted.decision, outcome)
    return metrics.measure(outcome, predicted.score, worth, pipeline.top_share, seed=pipeline.model.seed)


def _baseline(pipeline: Pipeline, candidate: Model, validation: np.ndarray, outcome: np.ndarray) -> Estimates:
    """The training rate for every row, and for every row the one decision that was best on the validation window."""
    rate = candidate.facts["training_rate"]
    threshold = value.best_threshold(pipeline.value, np.full(len(validation), rate), validation)
    worth = value.of_decisions(pipeline.value, np.full(len(outcome), rate >= threshold), outcome)
    return metrics.measure(outcome, np.full(len(outcome), rate), worth, pipeline.top_share, seed=pipeline.model.seed)


def _champion(
    pipeline: Pipeline, assembled: dict, rows: pa.Table, outcome: np.ndarray, platform: Platform
) -> tuple[Estimates | None, int | None, str | None]:
    """The champion's metrics, its version, and what kept it from being evaluated."""
    champion = platform.registry.champion(pipeline)
    if champion is None:
        return None, None, None
    try:
        loaded = platform.registry.load_model(champion)
        seen = loaded.facts["windows"][VALIDATION][1]
        if seen >= assembled["windows"][TEST][0]:
            raise ValueError(f"it was fitted to rows up to {seen}, which this test window holds too")
        return measured(pipeline, loaded, rows, outcome), champion.version, None
    except Exception as error:
        log.exception("champion version %d cannot be evaluated", champion.version)
        return None, champion.version, f"champion version {champion.version}: {type(error).__name__}: {error}"


def _outcome(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["label"].to_numpy(zero_copy_only=False), bool)


def _flat(made: Evaluation) -> dict[str, float]:
    """Metrics by name, as MLflow and the ledger list them; what could not be computed is left out."""
    flat = {"test_rows": float(made.rows), "test_positives": float(made.positives), "threshold": made.threshold}
    for prefix, estimates in (("", made.model), ("baseline_", made.baseline), ("champion_", made.champion or {})):
        for name, one in estimates.items():
            flat[f"{prefix}{name}"] = one.value
            if not prefix:
                flat |= {f"{name}_low": one.low, f"{name}_high": one.high}
    return {name: number for name, number in flat.items() if np.isfinite(number)}


def _champion_told(made: Evaluation) -> str:
    if made.champion_version is None:
        return "none yet"
    return made.champion_problem or f"version {made.champion_version}, evaluated on the same rows"
