"""The provenance stored with a model: training, windows, data versions, recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from mlprod_tasks.declaration.rhythm import RecordedName
from mlprod_tasks.platform.versioned import Versioned

T = TypeVar("T")


class DateRange(NamedTuple):
    """The ticks from `first` to `last`, both included."""

    first: RecordedName
    last: RecordedName

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


@dataclass(frozen=True)
class PerWindow(Generic[T]):
    """One value per window of a training, such as its ticks or its number of rows."""

    train: T
    validation: T
    test: T

    def __getitem__(self, name: str) -> T:
        """Return the value of the window with this name. Raises: KeyError."""
        return dict(self.named())[name]

    def named(self) -> Iterator[tuple[str, T]]:
        """Yield each window's name and value, earliest first."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test


@dataclass(frozen=True)
class ContinuedFrom:
    """The champion whose trees a warm update continued. digest: of its files."""

    version: int
    digest: str


@dataclass(frozen=True)
class ModelFacts(Versioned):
    """The provenance of a model.

    Facts that an earlier release did not record are empty or None.
    declaration: SHA-256 of the declared use case. as_of: the tick of the training. windows: the ticks used to train, tune and
    test. versions: of the lake tables with its rows. segment: the only one it was fitted to. training_rate, validation_rate:
    shares of positives, or mean outcomes; None of classes. recipe: the declared model as JSON, with the parameters from a
    search. training_classes, validation_classes: the rows of each class, if outcomes are classes. training_quantile: of
    outcomes, if one is predicted. split: as declared, if rows were not split by time.
    """

    pipeline: str = ""
    declaration: str = ""
    training_id: str = ""
    as_of: RecordedName | None = None
    windows: PerWindow[DateRange] | None = None
    versions: dict[str, int] = field(default_factory=dict)
    continued_from: ContinuedFrom | None = None
    segment: str | None = None
    training_rate: float | None = None
    validation_rate: float | None = None
    recipe: dict[str, Any] | None = None
    training_classes: dict[str, int] | None = None
    validation_classes: dict[str, int] | None = None
    split: dict[str, Any] | None = None
    training_quantile: float | None = None

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """Facts without a version have the same fields; the first models had no windows."""
        return {**written, "windows": written.get("windows") or None}
