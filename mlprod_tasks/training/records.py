"""What the steps of a training leave for each other: the JSON files of its folder, as typed records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from mlprod_tasks.models.model_facts import ContinuedFrom, DateRange, ModelFacts, PerWindow
from mlprod_tasks.platform.versioned import Versioned
from mlprod_tasks.training.workspace import StepRecord


@dataclass(frozen=True)
class Assembled(StepRecord):
    """A training set.

    declaration: SHA-256 of the declared use case. rows: with a label, and positives: of these. unlabelled: rows left out for
    want of a label. versions: of the lake tables that were read.
    """

    FILE: ClassVar[str] = "assembled.json"
    STEP: ClassVar[str] = "assemble"

    pipeline: str
    as_of: date
    declaration: str
    windows: PerWindow[DateRange]
    rows: PerWindow[int]
    positives: PerWindow[int]
    unlabelled: PerWindow[int]
    versions: dict[str, int]


@dataclass(frozen=True)
class BestTrial:
    """The trial of least loss of one candidate.

    parameters: the values that it tried, by field. declared_loss: of the candidate as it is declared; None where that failed.
    place: in the candidate's budget. trials: how many of the candidate's ended in each state.
    """

    parameters: dict[str, Any]
    loss: float | None
    declared_loss: float | None
    place: int
    trials: dict[str, int]


@dataclass(frozen=True)
class SearchResult(StepRecord):
    """What a search found for each candidate. key: what its trials depend on; for another key they say nothing."""

    FILE: ClassVar[str] = "search.json"
    STEP: ClassVar[str] = "search"

    key: str
    candidates: dict[str, BestTrial]


@dataclass(frozen=True)
class Trained(StepRecord):
    """A fitted model, in home/trainings/<training_id>/model. digest: of its files. segments: how many have their own model."""

    FILE: ClassVar[str] = "trained.json"
    STEP: ClassVar[str] = "train"

    training_id: str
    run_id: str
    digest: str
    learner: str
    segments: int
    trees: int
    threshold: float
    seconds: float


@dataclass(frozen=True)
class WarmStart(StepRecord):
    """Which champion a warm update goes on from, decided once for all parts. None: candidates start anew."""

    FILE: ClassVar[str] = "continued.json"
    STEP: ClassVar[str] = "fit"

    champion: ContinuedFrom | None


@dataclass(frozen=True)
class KeptPart(Versioned):
    """What lies beside the model of a part. key: what it was made from."""

    key: str
    segment: str


@dataclass(frozen=True)
class SegmentSummary:
    """One model of a model by segments: training rows that it answers for, its learner, threshold and validation scores."""

    segment: str
    rows: int
    learner: str
    threshold: float
    validation: dict[str, float | None]


@dataclass(frozen=True)
class Segments(StepRecord):
    """The models of a model by segments, the one of all other rows ('*') first. by: the feature that tells them apart."""

    FILE: ClassVar[str] = "segments.json"
    STEP: ClassVar[str] = "train"

    by: str
    segments: tuple[SegmentSummary, ...]


@dataclass(frozen=True)
class ComputedFeatures(Versioned):
    """What lies in the files of a feature history. declaration: SHA-256; versions: of the lake tables they were read from."""

    declaration: str
    versions: dict[str, int]
    ticks: DateRange


def facts_of(
    assembled: Assembled, training_id: str, declaration: str, continued_from: ContinuedFrom | None = None
) -> ModelFacts:
    """What is known of where a model comes from before it is fitted.

    declaration: SHA-256 of the one that it is fitted by, which may be another than the set was assembled by.
    """
    return ModelFacts(
        pipeline=assembled.pipeline,
        declaration=declaration,
        training_id=training_id,
        as_of=assembled.as_of,
        windows=assembled.windows,
        versions=assembled.versions,
        continued_from=continued_from,
    )
