"""The folder of one training: what its steps hand to each other, and its state in the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_json
from mlprod_tasks.platform.ledger import Training

SET = "training_set.parquet"
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,62}")


class StepMissing(LookupError):
    """A step of a training is called before the one that it builds on."""


class TrainingFolder:
    """home/trainings/<training_id>: the training set, the model, the evaluation, the plots."""

    def __init__(self, platform: Platform, training_id: str) -> None:
        if not SAFE.fullmatch(training_id):
            raise ValueError(
                f"training id {training_id!r} names a folder and a ledger entry: at most 63 letters, digits, or . _ : + -, "
                "the first a letter or digit"
            )
        self.training_id = training_id
        self.path = platform.settings.home / "trainings" / training_id

    @property
    def training_set(self) -> Path:
        return self.path / SET

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def fallback(self) -> Path:
        return self.path / "fallback"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def read(self, name: str, step: str) -> dict[str, Any]:
        """The JSON that `step` left. Raises: StepMissing."""
        path = self.path / name
        if not path.is_file():
            raise StepMissing(f"training {self.training_id!r} has no {name}: run {step} first (looked in {self.path})")
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return written

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write JSON, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / name, content)


@contextmanager
def failing(training_id: str, platform: Platform) -> Iterator[None]:
    """Set the training's state to 'failed' if what is inside raises; a rerun that succeeds sets it anew."""
    try:
        yield
    except BaseException:
        update(training_id, platform, state="failed")
        raise


def update(training_id: str, platform: Platform, **changes: Any) -> None:
    """Change fields of the training's ledger entry, if there is one."""
    with platform.ledger.session() as session:
        row = session.get(Training, training_id)
        if row is not None:
            for name, changed in changes.items():
                setattr(row, name, changed)


def read_window(folder: TrainingFolder, split: str, *, labelled: bool = True) -> pa.Table:
    """The rows of one window of the assembled set, those without a label only when asked for."""
    wanted = pc.field("split") == split
    return pq.read_table(folder.training_set, filters=wanted & pc.field("label").is_valid() if labelled else wanted)
