"""The folder of one training with its records, and its state in the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import StepRun, Training
from mlprod_tasks.platform.step_runs import running_step
from mlprod_tasks.platform.versioned import Versioned, read_record, write_record

if TYPE_CHECKING:
    from mlprod_tasks.models.stored_rows import Rows
    from mlprod_tasks.platform.shared_records import SharedRecords

TRAININGS = "trainings"
SET = "training_set.parquet"
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,62}")


class StepMissing(LookupError):
    """A step of a training is called before a step that it needs."""


class NotAStep(RuntimeError):
    """What is not a step would write to a copy of a training's folder, which nobody else sees."""


@dataclass(frozen=True)
class StepRecord(Versioned):
    """What a step of a training writes for later ones, as a JSON file in its folder.

    FILE: its name; STEP: the step that writes it; EARLIER_FILE: its name in release 0.4, if different.
    """

    FILE: ClassVar[str]
    STEP: ClassVar[str]
    EARLIER_FILE: ClassVar[str] = ""


R = TypeVar("R", bound=StepRecord)


class TrainingFolder:
    """trainings/<training_id> of the shared files: training set, model, evaluation, plots.

    Steps write to it; elsewhere it is only read.
    """

    def __init__(self, platform: Platform, training_id: str) -> None:
        if not SAFE.fullmatch(training_id):
            raise ValueError(
                f"training id {training_id!r} names a folder and a ledger entry: at most 63 letters, digits, or . _ : + -, "
                "the first a letter or digit"
            )
        self.training_id = training_id
        self._shared, self._name = platform.shared, f"{TRAININGS}/{training_id}"
        self._folder = platform.shared.folder(self._name)
        self.path = self._folder.path

    @property
    def training_set(self) -> Path:
        return self._folder.fetch(SET)

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def fallback(self) -> Path:
        return self.path / "fallback"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def file(self, kind: type[StepRecord]) -> Path:
        """Return the path of a record, written or not."""
        path, earlier = self.path / kind.FILE, self.path / kind.EARLIER_FILE
        return earlier if kind.EARLIER_FILE and earlier.is_file() and not path.is_file() else path

    def read(self, kind: type[R]) -> R:
        """Read a record.

        Raises: StepMissing before the step that writes it; UnreadableRecord.
        """
        record = self.find(kind)
        if record is None:
            raise StepMissing(
                f"training {self.training_id!r} has no {kind.FILE}: run {kind.STEP} first (looked in {self.path})"
            )
        return record

    def find(self, kind: type[R]) -> R | None:
        """Read a record; None if it is not written yet. Raises: UnreadableRecord."""
        return read_record(kind, self.file(kind))

    def write(self, record: StepRecord) -> None:
        """Write a record atomically. Raises: NotAStep where that would be lost."""
        self.check_kept()
        self.path.mkdir(parents=True, exist_ok=True)
        write_record(record, self.path / record.FILE)

    def records(self, name: str) -> SharedRecords:
        """Records by which the processes of a step share its work. Unlike files of the folder, all see each at once."""
        return self._shared.records(f"{self._name}/{name}")

    def save(self) -> None:
        """Show to other machines what a step has done so far; a step that ends does so by itself."""
        self._folder.save()

    def check_kept(self) -> None:
        """Raises: NotAStep."""
        if not self._folder.is_kept:
            raise NotAStep(
                f"training {self.training_id!r} is in object storage, where only steps may change it: "
                "call the one in mlprod_tasks.steps"
            )

    def remove(self, kind: type[StepRecord]) -> None:
        """Remove a record, if there is one."""
        for name in filter(None, (kind.FILE, kind.EARLIER_FILE)):
            (self.path / name).unlink(missing_ok=True)


@contextmanager
def failing(training_id: str, platform: Platform) -> Iterator[None]:
    """Set the training's state to 'failed' if the body raises.

    A step that succeeds when it is run again sets it to 'running' again, unless another step has failed, too.
    """
    try:
        yield
    except BaseException:
        update(training_id, platform, state="failed")
        raise
    training = platform.ledger.get(Training, training_id)
    if training is None or training.state != "failed":
        return
    if _failed_steps(training, platform) == {running_step(training_id)}:
        update(training_id, platform, state="running")


def _failed_steps(training: Training, platform: Platform) -> set[str]:
    """The steps of a training whose newest ended run failed."""
    runs = platform.ledger.all(StepRun, pipeline=training.pipeline, subject=training.id)
    newest = {run.step: run.succeeded for run in sorted(runs, key=lambda run: run.at)}
    return {step for step, succeeded in newest.items() if not succeeded}


def update(training_id: str, platform: Platform, **changes: Any) -> None:
    """Change fields of the training's ledger row, if there is one."""
    with platform.ledger.session() as session:
        row = session.get(Training, training_id)
        if row is not None:
            for name, changed in changes.items():
                setattr(row, name, changed)


def read_window(folder: TrainingFolder, split: str, *, labelled: bool = True) -> Rows:
    """Read the rows of one window of the assembled set; many rows are left in their file.

    labelled: only those with a label.
    """
    from mlprod_tasks.models.stored_rows import window_rows  # who looks at a training's state reads no rows

    return window_rows(folder.training_set, split, labelled=labelled)
