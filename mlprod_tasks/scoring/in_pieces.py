"""Score a tick that is too large to be scored at once: pieces of its rows, each in a file, here or on a Spark cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.features.key_ranges import KeyRange, RowsLost, key_ranges, pieces_for, rows_to_score
from mlprod_tasks.features.staged_values import StagedGroup, StagedPiece
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.exchange import Exchange
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.ledger import Fallback, FallbackCause
from mlprod_tasks.platform.model_copies import kept_copy
from mlprod_tasks.platform.model_files import ModelRef, load_files
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.scoring import answers
from mlprod_tasks.scoring.answers import Answering, TickRows
from mlprod_tasks.scoring.prediction_rows import prediction_rows

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.apply import Adaptation

MODELS_KEPT = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFiles:
    """A version, and the folder with its files, which whoever computes a piece reaches."""

    ref: ModelRef
    folder: Exchange = field(compare=False)  # by its digest a version is the same wherever its files are


@dataclass(frozen=True)
class Answerer:
    """Who answers all pieces of a tick.

    model: None if the fallback answers all rows; fallback: as JSON, None if there is none; version: the fallback's. adaptation:
    how the model's scores are adapted, if they may be.
    """

    model: ModelFiles | None
    fallback: dict[str, Any] | None
    version: int
    adaptation: Adaptation | None = None


@dataclass(frozen=True)
class PieceScored:
    """What became of a piece.

    refused: rows that the model did not take; told: what is wrong with the first of them.
    """

    rows: int
    refused: int
    told: list[str]


class InPieces:
    """Scores a tick piece by piece. See `score.Way`.

    folder: for the files of the pieces.
    """

    def __init__(
        self, pipeline: Pipeline, tick: Tick, ticks: TickRange, platform: Platform, rows: int, folder: Exchange
    ) -> None:
        self._pipeline, self._tick, self._ticks, self._platform = pipeline, tick, ticks, platform
        self._pieces, self._folder = pieces_for(rows), folder

    def by_champion(self, ref: ModelRef) -> TickRows:
        """Answer with a version."""
        from mlprod_tasks.models.check_task import check_task

        pipeline, platform = self._pipeline, self._platform
        loaded, adaptation = platform.registry.load_model(ref), None
        check_task(pipeline, loaded, ref.version)
        if pipeline.adapt is not None:
            from mlprod_tasks.adaptation.apply import adaptation_of

            adaptation = adaptation_of(pipeline, self._tick, ref.version, loaded, platform)
        kept = platform.ledger.get(Fallback, pipeline.name, ref.version)
        model = ModelFiles(ref, self._folder.lend(platform.registry.files(ref), "model"))
        rows, done = self._scored(Answerer(model, None if kept is None else kept.model, ref.version, adaptation), None)
        refused = sum(one.refused for one in done)
        if not refused:
            return TickRows(rows, ref.version, 0, None, None)
        reason = answers.reason_of([told for one in done for told in one.told], refused)
        answers.fallback_for_rows(pipeline, self._tick, ref.version, reason, platform)
        log.error("%s: %s: the fallback answers %d of %d rows: %s", pipeline.name, self._tick, refused, rows.num_rows, reason)
        return TickRows(rows, ref.version, refused, reason, FallbackCause.ROWS)

    def by_fallback(self, kept: Fallback, cause: FallbackCause, reason: str) -> TickRows:
        """Answer all rows with a fallback."""
        only = answers.read_by_fallback(self._pipeline)
        rows, _ = self._scored(Answerer(None, kept.model, kept.model_version), only)
        return TickRows(rows, kept.model_version, rows.num_rows, reason, cause)

    def completed(self, answers: TickRows) -> TickRows:
        """The same: what needs all rows of a tick is not scored in pieces."""
        return answers

    def _scored(self, by: Answerer, only: tuple[str, ...] | None) -> tuple[RowFiles, list[PieceScored]]:
        """Score all pieces. only: the features to compute. Raises: RowsLost, NotComputed."""
        pipeline, platform, folder = self._pipeline, self._platform, self._folder
        versions = features.pinned(pipeline, platform, only=only)
        rows, ranges = key_ranges(pipeline, self._ticks, platform, versions, self._pieces)
        staged = features.stage_events(pipeline, self._ticks, platform, versions, only, ranges, folder.below("events"))
        work = partial(score_pieces, pipeline, self._ticks, platform, versions, by, only, staged, folder)
        pieces = list(enumerate(ranges))
        done = list(compute_of(platform.settings).map(work, pieces, f"scores of {pipeline.name}, {self._tick}"))
        if (scored := sum(one.rows for one in done)) != rows:
            raise RowsLost(f"{pipeline.name}: {self._tick}: {scored:,} rows were scored of {rows:,}; nothing was written")
        return RowFiles(folder, tuple(_file(number) for number, _ in pieces), rows), done


def too_large(pipeline: Pipeline, tick: Tick, ticks: TickRange, platform: Platform) -> int | None:
    """The number of rows of a tick that is scored in pieces, for its rows or for the events that they look back on; None if it
    is scored at once."""
    try:
        most = 0 if features.reads_too_many_events(pipeline, ticks, platform) else platform.settings.score_rows
        rows = rows_to_score(pipeline, ticks, platform, most)
    except TableMissing:
        return None  # scoring says so
    if rows is None:
        return None
    if (needed := _needs_all_rows(pipeline, tick, platform)) is None:
        return rows
    log.warning("%s: %s: its %d rows are scored at once, in this process: %s", pipeline.name, tick, rows, needed)
    return None


def _needs_all_rows(pipeline: Pipeline, tick: Tick, platform: Platform) -> str | None:
    """Why a tick cannot be scored in pieces; None if it can."""
    if pipeline.capacity is not None:
        return "of all rows the best are acted on"
    if pipeline.experiments is not None:
        from mlprod_tasks.bandits import run as bandits
        from mlprod_tasks.experiments import run as experiments

        if experiments.in_force(pipeline, tick, platform) or bandits.in_force(pipeline, tick, platform) is not None:
            return "an experiment or a bandit assigns them"
    return None


def score_pieces(
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    versions: Mapping[str, int],
    by: Answerer,
    only: tuple[str, ...] | None,
    staged: tuple[StagedGroup, ...],
    folder: Exchange,
    pieces: Iterator[tuple[int, KeyRange]],
) -> Iterator[PieceScored]:
    """Write the predictions of each piece to a file of its number. Work of `Compute.map`."""
    for number, keys in pieces:
        computed = StagedPiece(staged, number)
        built = features.build(pipeline, ticks, platform, versions=versions, only=only, keys=keys, staged=computed)
        made, done = _answered(pipeline, built, by)
        if made is not None:
            with folder.writing(_file(number)) as being_made:
                pq.write_table(prediction_rows(pipeline, made), being_made)
        del built, made  # before the next piece is read: one at a time
        yield done


def _answered(pipeline: Pipeline, built: features.FeatureSet, by: Answerer) -> tuple[answers.Answers | None, PieceScored]:
    """The answers to the rows of a piece; None if it has refused rows and there is no fallback."""
    rows = built.table.num_rows
    if by.model is None:
        assert by.fallback is not None
        return answers.by_fallback(pipeline, built.table, by.fallback, by.version, None, None), PieceScored(rows, 0, [])
    answering = Answering(_model(by.model), by.version, by.adaptation)
    refused = answering.refused(built)
    done = PieceScored(rows, len(refused), answers.told_rows(pipeline, built, refused))
    if refused and by.fallback is None:
        return None, done
    return answers.answered(answering, built, refused, by.fallback, None), done


@lru_cache(MODELS_KEPT)
def _model(files: ModelFiles) -> Any:
    """The model, loaded once by each process that computes pieces."""
    return load_files(files.ref, files.folder.local(partial(kept_copy, files.ref)))


def _file(number: int) -> str:
    return f"{number:05d}.parquet"
