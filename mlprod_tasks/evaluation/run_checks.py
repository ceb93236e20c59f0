"""Run the checks of the model that the declared gates need."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

from mlprod_tasks.declaration import (
    AvailableAtPrediction,
    Invariance,
    KpiAtLeast,
    KpiAtMost,
    Latency,
    ModelSize,
    Monotonic,
    NoLeakageSuspicion,
    Pipeline,
    SamePredictions,
)
from mlprod_tasks.declaration.gate import CheckedGate
from mlprod_tasks.evaluation.evaluate import LOGGED
from mlprod_tasks.evaluation.gates.names import check_of
from mlprod_tasks.evaluation.results import CheckResult, Evaluation, ModelChecks
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.platform import Platform, digest
from mlprod_tasks.training import workspace
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, failing

if TYPE_CHECKING:
    from mlprod_tasks.evaluation.model_checks import AnyModel
    from mlprod_tasks.evaluation.model_checks.past_outcomes import Windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChecksRun:
    """The number of gates with checks, and how many checks could not be made."""

    training_id: str
    model_digest: str
    gates: int
    impossible: int
    seconds: float


def run_checks(pipeline: Pipeline, training_id: str, platform: Platform) -> ChecksRun:
    """Make the checks of the model that the declared gates need.

    Write the results to the training's folder.
    If a check cannot be made, the reason is recorded and its gate fails. The results are bound to the digest of the checked
    files.

    Raises: StepMissing before `evaluate`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    gates: list[CheckedGate] = [gate for gate in pipeline.gates if isinstance(gate, CheckedGate)]
    with failing(training_id, platform):
        inputs = _CheckInputs(pipeline, folder, platform)
        model_digest = digest.of_folder(folder.model)
        results: dict[tuple[str, str], CheckResult] = {}
        for i, gate in enumerate(gates):
            log.info("check %d of %d: %s", i + 1, len(gates), check_of(gate)[0])
            results |= {(one.check, one.subject): one for one in _results(gate, inputs)}
        folder.write(ModelChecks(model_digest, tuple(results.values())))
        platform.registry.log_file(folder.read(Trained).run_id, folder.file(ModelChecks), LOGGED)
    if not gates:
        log.info("%s declares no gate that needs a check of the model", pipeline.name)
    impossible = sum(one.value is None for one in results.values())
    return ChecksRun(training_id, model_digest, len(gates), impossible, time.perf_counter() - began)


@dataclass(frozen=True)
class _CheckInputs:
    """The model and its rows, each read when first needed."""

    pipeline: Pipeline
    folder: TrainingFolder
    platform: Platform

    def __post_init__(self) -> None:
        self.folder.read(Trained)
        self.folder.read(Evaluation)

    @cached_property
    def model(self) -> AnyModel:
        return load_model(self.folder.model)

    @cached_property
    def assembled(self) -> Assembled:
        return self.folder.read(Assembled)

    @cached_property
    def train_rows(self) -> Rows:
        return workspace.read_window(self.folder, TRAIN)

    @cached_property
    def test_rows(self) -> Rows:
        return workspace.read_window(self.folder, TEST)

    @property
    def windows(self) -> Windows:
        from mlprod_tasks.evaluation.model_checks.past_outcomes import Windows
        from mlprod_tasks.features.snapshot import Snapshot

        validation = workspace.read_window(self.folder, VALIDATION)
        snapshot = Snapshot(self.pipeline, self.platform, self.assembled.versions, examples=True)
        return Windows((self.train_rows, validation, self.test_rows), snapshot)

    @property
    def key(self) -> tuple[str, ...]:
        return self.pipeline.entity_table.key


def _results(gate: CheckedGate, inputs: _CheckInputs) -> Sequence[CheckResult]:
    try:
        return tuple(_check(gate, inputs))
    except Exception as error:
        log.exception("the check for gate %s cannot be made", type(gate).__name__)
        return (CheckResult(*check_of(gate), None, 0, f"{type(error).__name__}: {error}"),)


def _check(gate: CheckedGate, inputs: _CheckInputs) -> Iterable[CheckResult]:
    # Imported here: not every model needs every check.
    from mlprod_tasks.evaluation.model_checks import (
        availability,
        behaviour,
        footprint,
        leakage,
        past_outcomes,
        round_trip,
        simulation,
    )

    pipeline, model = inputs.pipeline, inputs.model
    match gate:
        case AvailableAtPrediction():
            all_rows = workspace.read_window(inputs.folder, TEST, labelled=False)
            yield availability.as_scored(gate, pipeline, all_rows, inputs.assembled, inputs.platform)
            yield availability.when_fresh(pipeline, inputs.train_rows, inputs.assembled, inputs.platform)
        case NoLeakageSuspicion():
            categorical = pipeline.model.categorical
            alone = leakage.alone(inputs.train_rows, inputs.test_rows, pipeline.feature_names, categorical)
            lost = leakage.lost(model, inputs.test_rows, pipeline.model.seed)
            carrying = {one.subject for one in lost if (one.value or 0.0) > gate.most_share}
            suspects = [one for one in alone if (one.value or 0.0) > gate.most or one.subject in carrying]
            yield from (*alone, *lost, *past_outcomes.past_powers(pipeline, suspects, inputs.windows))
        case Latency():
            yield footprint.latency(gate, model, inputs.test_rows)
        case ModelSize():
            yield footprint.size(gate, inputs.folder.model)
        case SamePredictions():
            evaluated = inputs.folder.read(Evaluation).model[pipeline.of_task.shown[0]].value
            yield round_trip.same_predictions(model, inputs.folder.model, inputs.test_rows, evaluated)
        case Invariance():
            yield behaviour.invariance(gate, model, inputs.test_rows, inputs.key)
        case Monotonic():
            yield behaviour.monotonic(gate, model, inputs.test_rows, inputs.key)
        case KpiAtLeast() | KpiAtMost():
            yield from simulation.kpi(pipeline, model, inputs.test_rows, *inputs.assembled.windows.test)
        case _:
            assert_never(gate)
