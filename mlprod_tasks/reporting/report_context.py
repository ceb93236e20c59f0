"""All of one training in one object: what its steps left, its rows and scores. Read once, for report and model card."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gates import GateVerdict, Passed, Refused, evaluate_gates
from mlprod_tasks.evaluation.results import EvaluationResults, read_results
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import Predictions, outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.training import workspace
from mlprod_tasks.training.provenance import Provenance, provenance
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST
from mlprod_tasks.training.workspace import TrainingFolder

log = logging.getLogger(__name__)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ReportedChampion:
    """The champion of when the model was evaluated. model: None where it cannot be loaded any more, and problem says why."""

    version: int
    model: Model | SegmentedModel | None
    problem: str | None = None


@dataclass(frozen=True)
class ReportContext:
    """One training. rows: the labelled rows of its test window; predicted: the model's answers for them."""

    pipeline: Pipeline
    folder: TrainingFolder
    assembled: Assembled
    run_id: str
    digest: str
    results: EvaluationResults
    verdict: Passed | Refused
    model: Model | SegmentedModel
    rows: pa.Table
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
    def outcome(self) -> Bools:
        return outcome_of(self.rows)

    @cached_property
    def worth(self) -> Worth:
        return decision_value.worth(self.pipeline.value, self.rows, self.predicted.score, self.outcome)


def read(pipeline: Pipeline, folder: TrainingFolder) -> ReportContext:
    """Gather what the training's folder holds. Raises: StepMissing before `evaluate`."""
    trained = folder.read(Trained)
    results = read_results(folder)
    made = load_model(folder.model)
    rows = workspace.read_window(folder, TEST)
    return ReportContext(
        pipeline=pipeline,
        folder=folder,
        assembled=folder.read(Assembled),
        run_id=trained.run_id,
        digest=trained.digest,
        results=results,
        verdict=evaluate_gates(pipeline.gates, results, trained.digest),
        model=made,
        rows=rows,
        predicted=made.predict(rows),
        made_by=provenance(),
    )


def champion(context: ReportContext, platform: Platform) -> ReportedChampion | None:
    """The champion that the model was compared with, whichever is champion now; None where there was none."""
    version = context.results.evaluation.champion_version
    if version is None:
        return None
    try:
        name = names.registered_model(context.pipeline)
        return ReportedChampion(version, platform.registry.load_model(platform.registry.version(name, version)))
    except Exception as error:
        log.exception("champion version %d cannot be loaded", version)
        return ReportedChampion(version, None, f"Version {version} cannot be loaded: {type(error).__name__}: {error}")
