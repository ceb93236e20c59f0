"""The records that steps of a training write for later steps, as JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mlprod_tasks.declaration.recorded import read_part
from mlprod_tasks.declaration.rhythm import RecordedName
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.model_facts import ContinuedFrom, DateRange, ModelFacts, PerWindow
from mlprod_tasks.platform.versioned import Versioned
from mlprod_tasks.training.workspace import StepRecord

MOST_NAMED = 5
LONGEST_NAME = 40


@dataclass(frozen=True)
class Assembled(StepRecord):
    """A training set.

    declaration: SHA-256 of the declared use case. rows: those with a label; positives: of these. unlabelled: rows left out as
    they have no label. versions: of the lake tables that were read. unusable: rows left out as a feature is infinite, or a
    feature or the label cannot be computed. means: of the outcomes, if they are numbers; classes: the rows of
    each class, if they are classes; positives are then 0. split: the declared split as JSON, if it is not by time: all windows
    are then the tick of one snapshot.
    """

    FILE: ClassVar[str] = "assembled.json"
    STEP: ClassVar[str] = "assemble"

    pipeline: str
    as_of: RecordedName
    declaration: str
    windows: PerWindow[DateRange]
    rows: PerWindow[int]
    positives: PerWindow[int]
    unlabelled: PerWindow[int]
    versions: dict[str, int]
    unusable: PerWindow[int] = field(default_factory=lambda: PerWindow(0, 0, 0))
    means: PerWindow[float] | None = None
    classes: PerWindow[dict[str, int]] | None = None
    split: dict[str, Any] | None = None

    @property
    def split_words(self) -> str:
        """How rows are split, if not by time: 'by a hash of the key with seed 0'; else ''."""
        return "" if self.split is None else str(read_part(self.split).words)

    def outcomes(self, window: str) -> str:
        """Return what the outcomes of a window are, in words: '12.3 % positive', 'mean outcome 6.9', '3 classes'."""
        if self.classes is not None:
            return classes_in_words(self.classes[window])
        if self.means is not None:
            return f"mean outcome {format_number(self.means[window])}"
        return f"{100 * self.positives[window] / self.rows[window]:.1f} % positive"


def classes_in_words(rows: Mapping[str, int]) -> str:
    """Return the shares of the largest classes, and how many others there are: 'on time 78.1 %, late 19.5 %'."""
    total = sum(rows.values())
    ordered = sorted(rows.items(), key=lambda one: (-one[1], one[0]))
    said = [f"{shortened(name)} {100 * n / total:.1f} %" for name, n in ordered[:MOST_NAMED]]
    rest = len(ordered) - len(said)
    return ", ".join(said) + (f" and {rest} other classes" if rest > 1 else f" and {shortened(ordered[-1][0])}" if rest else "")


def shortened(name: str) -> str:
    """Return the name of a class, cut if it is long, to be put into a sentence."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


@dataclass(frozen=True)
class BestTrial:
    """The trial with the lowest loss of one candidate.

    parameters: its values by field. declared_loss: that of the candidate with its declared values; None if that failed.
    place: its number in the candidate's budget. trials: how many of the candidate's trials ended in each state.
    """

    parameters: dict[str, Any]
    loss: float | None
    declared_loss: float | None
    place: int
    trials: dict[str, int]


@dataclass(frozen=True)
class SearchResult(StepRecord):
    """The best trial of each candidate.

    key: a hash of the inputs; results with another key are not valid.
    """

    FILE: ClassVar[str] = "search.json"
    STEP: ClassVar[str] = "search"

    key: str
    candidates: dict[str, BestTrial]


@dataclass(frozen=True)
class Trained(StepRecord):
    """A fitted model in home/trainings/<training_id>/model.

    digest: of its files; segments: those with their own model.
    """

    FILE: ClassVar[str] = "trained.json"
    STEP: ClassVar[str] = "train"

    training_id: str
    run_id: str
    digest: str
    learner: str
    segments: int
    trees: int
    threshold: float | None
    seconds: float


@dataclass(frozen=True)
class WarmStart(StepRecord):
    """The champion that a warm update continues, decided once for all parts.

    None: candidates start from scratch.
    """

    FILE: ClassVar[str] = "continued.json"
    STEP: ClassVar[str] = "fit"

    champion: ContinuedFrom | None


@dataclass(frozen=True)
class KeptPart(Versioned):
    """The record beside the model of a part. key: a hash of its inputs."""

    key: str
    segment: str


@dataclass(frozen=True)
class SegmentSummary:
    """One part of a model by segments: rows, learner, threshold, validation metrics."""

    segment: str
    rows: int
    learner: str
    threshold: float | None
    validation: dict[str, float | None]


@dataclass(frozen=True)
class Segments(StepRecord):
    """The parts of a model by segments; first the one for all other rows ('*').

    by: the feature with the segment.
    """

    FILE: ClassVar[str] = "segments.json"
    STEP: ClassVar[str] = "train"

    by: str
    segments: tuple[SegmentSummary, ...]


@dataclass(frozen=True)
class ComputedFeatures(Versioned):
    """The content of a feature history's files.

    declaration: SHA-256; versions: of the lake tables they were read from.
    """

    declaration: str
    versions: dict[str, int]
    ticks: DateRange


def facts_of(
    assembled: Assembled, training_id: str, declaration: str, continued_from: ContinuedFrom | None = None
) -> ModelFacts:
    """Return the facts about a model that are known before it is fitted.

    declaration: SHA-256 of the declaration that it is fitted by, which may differ from the one of the training set.
    """
    return ModelFacts(
        pipeline=assembled.pipeline,
        declaration=declaration,
        training_id=training_id,
        as_of=assembled.as_of,
        windows=assembled.windows,
        split=assembled.split,
        versions=assembled.versions,
        continued_from=continued_from,
    )
