"""Try the model itself, as far as the declared gates ask for it: leaks, behaviour, round trip, latency, size, KPI."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

import pyarrow as pa

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
from mlprod_tasks.declaration.gate import TRIED
from mlprod_tasks.evaluation.evaluate import LOGGED
from mlprod_tasks.evaluation.gates.model_checks import CheckedGate
from mlprod_tasks.evaluation.gates.names import check_of
from mlprod_tasks.evaluation.results import CheckResult, Evaluation, ModelChecks
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.platform import Platform, digest
from mlprod_tasks.training import workspace
from mlprod_tasks.training.records import Assembled, Trained
from mlprod_tasks.training.split import TEST, TRAIN
from mlprod_tasks.training.workspace import TrainingFolder, failing

if TYPE_CHECKING:
    from mlprod_tasks.evaluation.model_checks import AnyModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examined:
    """What was tried on the model of that digest: how many trials, and how many could not be made."""

    training_id: str
    model_digest: str
    trials: int
    impossible: int
    seconds: float


def examine(pipeline: Pipeline, training_id: str, platform: Platform) -> Examined:
    """Make the trials that the declared gates rest on, and leave what they found in the training's folder.

    A trial that cannot be made is no error here: it is recorded with its reason, and its gate fails. The findings are bound to
    the digest of the files that were tried.

    Raises: StepMissing before `evaluate`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    gates: list[CheckedGate] = [gate for gate in pipeline.gates if isinstance(gate, TRIED)]
    with failing(training_id, platform):
        tried = _Tried(pipeline, folder, platform)
        model_digest = digest.of_folder(folder.model)
        found: dict[tuple[str, str], CheckResult] = {}
        for i, gate in enumerate(gates):
            log.info("trial %d of %d: %s", i + 1, len(gates), check_of(gate)[0])
            found |= {(one.check, one.subject): one for one in _findings(gate, tried)}
        folder.write(ModelChecks(model_digest, tuple(found.values())))
        platform.registry.log_file(folder.read(Trained).run_id, folder.file(ModelChecks), LOGGED)
    if not gates:
        log.info("%s declares no gate that needs a trial of the model", pipeline.name)
    impossible = sum(one.value is None for one in found.values())
    return Examined(training_id, model_digest, len(gates), impossible, time.perf_counter() - began)


@dataclass(frozen=True)
class _Tried:
    """The model and its rows, each read when it is first needed."""

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
    def train_rows(self) -> pa.Table:
        return workspace.read_window(self.folder, TRAIN)

    @cached_property
    def test_rows(self) -> pa.Table:
        return workspace.read_window(self.folder, TEST)

    @property
    def key(self) -> tuple[str, ...]:
        return self.pipeline.entity_table.key


def _findings(gate: CheckedGate, tried: _Tried) -> Sequence[CheckResult]:
    try:
        return tuple(_trial(gate, tried))
    except Exception as error:
        log.exception("the trial for gate %s cannot be made", type(gate).__name__)
        return (CheckResult(*check_of(gate), None, 0, f"{type(error).__name__}: {error}"),)


def _trial(gate: CheckedGate, tried: _Tried) -> Iterable[CheckResult]:
    # Imported where they are used: not every model needs every trial.
    from mlprod_tasks.evaluation.model_checks import availability, behaviour, footprint, leakage, round_trip, simulation

    pipeline, model = tried.pipeline, tried.model
    match gate:
        case AvailableAtPrediction():
            every = workspace.read_window(tried.folder, TEST, labelled=False)
            yield availability.as_scored(gate, pipeline, every, tried.assembled, tried.platform)
            yield availability.when_fresh(pipeline, tried.train_rows, tried.assembled, tried.platform)
        case NoLeakageSuspicion():
            categorical = pipeline.model.categorical
            yield from leakage.alone(tried.train_rows, tried.test_rows, pipeline.feature_names, categorical)
            yield from leakage.lost(model, tried.test_rows, pipeline.model.seed)
        case Latency():
            yield footprint.latency(gate, model, tried.test_rows)
        case ModelSize():
            yield footprint.size(gate, tried.folder.model)
        case SamePredictions():
            evaluated = tried.folder.read(Evaluation).model["roc_auc"].value
            yield round_trip.same_predictions(model, tried.folder.model, tried.test_rows, evaluated)
        case Invariance():
            yield behaviour.invariance(gate, model, tried.test_rows, tried.key)
        case Monotonic():
            yield behaviour.monotonic(gate, model, tried.test_rows, tried.key)
        case KpiAtLeast() | KpiAtMost():
            yield from simulation.kpi(pipeline, model, tried.test_rows, *tried.assembled.windows.test)
        case _:
            assert_never(gate)
