"""Everything about one training, read once for report and model card."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gates import GateVerdict, Passed, Refused, evaluate_gates
from mlprod_tasks.evaluation.results import EvaluationResults, read_results
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions, outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks.protocol import Outcomes
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.reporting.task_words import TaskWords, words_of
from mlprod_tasks.training import workspace
from mlprod_tasks.training.provenance import Provenance, provenance
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST
from mlprod_tasks.training.workspace import TrainingFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportedChampion:
    """The champion at the time of the evaluation.

    model: None if it can no longer be loaded; problem then says why.
    """

    version: int
    model: Model | SegmentedModel | None
    problem: str | None = None


@dataclass(frozen=True)
class ReportContext:
    """One training.

    rows: the labelled rows of its test window; predicted: the model's predictions for them.
    """

    pipeline: Pipeline
    folder: TrainingFolder
    assembled: Assembled
    run_id: str
    digest: str
    results: EvaluationResults
    verdict: Passed | Refused
    model: Model | SegmentedModel
    rows: Rows
    predicted: Predictions
    made_by: Provenance

    @property
    def passed(self) -> bool:
        return isinstance(self.verdict, Passed)

    @property
    def gates(self) -> tuple[GateVerdict, ...]:
        return self.verdict.gates

    @property
    def unit(self) -> str:
        return self.pipeline.value.unit

    @cached_property
    def outcome(self) -> Outcomes:
        return outcome_of(self.rows)

    @property
    def words(self) -> TaskWords:
        return words_of(self.pipeline)

    @cached_property
    def worth(self) -> Worth:
        return decision_value.worth(self.pipeline.value, self.rows, self.predicted.score, self.outcome)


def read(pipeline: Pipeline, folder: TrainingFolder) -> ReportContext:
    """Read the training's folder. Raises: StepMissing before `evaluate`."""
    trained = folder.read(Trained)
    results = read_results(folder)
    model = load_model(folder.model)
    rows = workspace.read_window(folder, TEST)
    return ReportContext(
        pipeline=pipeline,
        folder=folder,
        assembled=folder.read(Assembled),
        run_id=trained.run_id,
        digest=trained.digest,
        results=results,
        verdict=evaluate_gates(pipeline.gates, results, trained.digest),
        model=model,
        rows=rows,
        predicted=within_capacity(pipeline, rows, model.predict(rows)),
        made_by=provenance(),
    )


def champion(context: ReportContext, platform: Platform) -> ReportedChampion | None:
    """The champion that the model was compared with, even if another is champion now.

    None if there was none.
    """
    version = context.results.evaluation.champion_version
    if version is None:
        return None
    try:
        name = names.registered_model(context.pipeline)
        return ReportedChampion(version, platform.registry.load_model(platform.registry.version(name, version)))
    except Exception as error:
        log.exception("champion version %d cannot be loaded", version)
        return ReportedChampion(version, None, f"Version {version} cannot be loaded: {type(error).__name__}: {error}")
