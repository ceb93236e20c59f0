"""A small shop whose model is tried again and again: shared, or of the test's own to be tampered with, or trained anew."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gate import GateVerdict, evaluate_gates
from mlprod_tasks.evaluation.results import CheckResult, read_results
from mlprod_tasks.evaluation.run_checks import run_checks
from mlprod_tasks.models import model
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import TrainingFolder, read_window


@dataclass(frozen=True)
class EvaluatedShop:
    """A platform on which training 'one' was evaluated, and its declaration."""

    pipeline: ml.Pipeline
    platform: Platform

    @property
    def folder(self) -> TrainingFolder:
        return TrainingFolder(self.platform, "one")

    def rows(self, window: str = "test") -> pa.Table:
        return read_window(self.folder, window)

    def loaded(self) -> model.Model:
        return load_model(self.folder.model)

    def checked(self, *gates: ml.gate.Gate) -> tuple[GateVerdict, ...]:
        """The verdicts on these gates, after their checks."""
        declared = replace(self.pipeline, gates=gates)
        run_checks(declared, "one", self.platform)
        return self.judged(*gates)

    def judged(self, *gates: ml.gate.Gate) -> tuple[GateVerdict, ...]:
        return evaluate_gates(gates, read_results(self.folder), self.folder.read(Trained).digest).gates

    def found(self, check: str) -> dict[str, CheckResult]:
        checks = read_results(self.folder).checks
        assert checks is not None
        return {one.subject: one for one in checks.results if one.check == check}


def at(pipeline: ml.Pipeline, home: Path) -> EvaluatedShop:
    return EvaluatedShop(pipeline, Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)})))


@pytest.fixture(scope="session")
def trained(filled_home: Path, shop_pipeline: ml.Pipeline, tmp_path_factory: pytest.TempPathFactory) -> EvaluatedShop:
    """Read by many tests; model_checks.json is all that they write."""
    home = tmp_path_factory.mktemp("trained") / "var"
    shutil.copytree(filled_home, home)
    return made(at(shop_pipeline, home))


@pytest.fixture
def own(trained: EvaluatedShop, tmp_path: Path) -> EvaluatedShop:
    """The same in a folder of the test's own, to be tampered with."""
    shutil.copytree(trained.platform.settings.home, tmp_path / "var")
    return at(trained.pipeline, tmp_path / "var")


def made(shop: EvaluatedShop) -> EvaluatedShop:
    from mlprod_tasks.evaluation.evaluate import evaluate
    from mlprod_tasks.training.assemble import assemble
    from mlprod_tasks.training.train import train

    assemble(shop.pipeline, shop.pipeline.schedule.tick("2024-02-10"), "one", "a test", shop.platform)
    train(shop.pipeline, "one", shop.platform)
    evaluate(shop.pipeline, "one", shop.platform)
    return shop


@pytest.fixture
def evaluated() -> Callable[[ml.Pipeline, Platform], EvaluatedShop]:
    """Train on a platform that is filled, and evaluate."""
    return lambda pipeline, platform: made(EvaluatedShop(pipeline, platform))


Tables = tuple[pa.Table, pa.Table]


@pytest.fixture
def retold(empty_shop: Callable[[pa.Table, pa.Table], object], shop_pipeline: ml.Pipeline) -> Callable:
    """Train a shop on other tables, or by another declaration."""

    def make(held: Tables, /, **changes: object) -> EvaluatedShop:
        shop = empty_shop(*held)
        return made(EvaluatedShop(replace(shop_pipeline, **changes), shop.platform))

    return make
