"""What is kept with a model of where it comes from: training, windows, versions of the data, recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Generic, NamedTuple, TypeVar

from mlprod_tasks.platform.versioned import Versioned

T = TypeVar("T")


class DateRange(NamedTuple):
    """The ticks from `first` to `last`, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


@dataclass(frozen=True)
class PerWindow(Generic[T]):
    """The same of each window of a training, such as its ticks or how many rows it holds."""

    train: T
    validation: T
    test: T

    def __getitem__(self, name: str) -> T:
        """That of the window of this name. Raises: KeyError."""
        return dict(self.named())[name]

    def named(self) -> Iterator[tuple[str, T]]:
        """Each window's name with its own, in the order of time."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test


@dataclass(frozen=True)
class ContinuedFrom:
    """The champion whose trees a warm update went on from. digest: of its files."""

    version: int
    digest: str


@dataclass(frozen=True)
class ModelFacts(Versioned):
    """Where a model comes from. What a model of an earlier release did not keep is empty or None.

    declaration: SHA-256 of the declared use case. as_of: the tick that the training stood at. windows: the ticks that it was
    fitted to, tuned on and tested on. versions: of the lake tables that its rows were read from. segment: whose rows alone it
    was fitted to. training_rate, validation_rate: shares of positives. recipe: the declared model as JSON, with the parameters
    that a search found.
    """

    pipeline: str = ""
    declaration: str = ""
    training_id: str = ""
    as_of: date | None = None
    windows: PerWindow[DateRange] | None = None
    versions: dict[str, int] = field(default_factory=dict)
    continued_from: ContinuedFrom | None = None
    segment: str | None = None
    training_rate: float | None = None
    validation_rate: float | None = None
    recipe: dict[str, Any] | None = None

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """Facts without a version are the same fields; the very first models kept no windows."""
        return {**written, "windows": written.get("windows") or None}
