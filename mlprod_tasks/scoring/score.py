"""Score a tick with the champion or the fallback, and store the predictions."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import NotComputed
from mlprod_tasks.platform.compute.open_exchange import exchange
from mlprod_tasks.platform.ledger import Fallback, FallbackCause, Promotion, Scoring
from mlprod_tasks.platform.row_files import RowFiles, parts_of
from mlprod_tasks.promotion.fallback_switch import sentence, switched
from mlprod_tasks.scoring.answers import NoModel, TickRows
from mlprod_tasks.scoring.at_once import AtOnce
from mlprod_tasks.scoring.in_pieces import InPieces, too_large
from mlprod_tasks.scoring.prediction_rows import published

if TYPE_CHECKING:
    import pyarrow as pa

    from mlprod_tasks.platform.model_files import ModelRef

log = logging.getLogger(__name__)
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Scored:
    """The predictions of one tick.

    fallback_reason: why the fallback answered all rows or some, or None.
    """

    tick: str
    rows: int
    model_version: int
    fallback_reason: str | None
    delta_version: int


class Way(Protocol[Answered]):
    """How the rows of a tick are answered: at once, or in pieces."""

    def by_champion(self, ref: ModelRef) -> Answered:
        """Answer with a version, and with its fallback rows that it does not take."""

    def by_fallback(self, kept: Fallback, cause: FallbackCause, reason: str) -> Answered:
        """Answer all rows with a fallback. It works while lake joins and registry are down: it needs only the row."""

    def completed(self, answers: Answered) -> TickRows:
        """The rows to store."""


def score(pipeline: Pipeline, tick: Tick, platform: Platform, *, as_of: bool = False) -> Scored:
    """Replace the predictions of a tick, in the lake, then in the business database.

    `as_of` uses the champion of that tick instead of the current champion. Safe to run again: the rows are the same, and a
    rerun completes a run that was killed between the two writes.

    Raises: NoModel without champion and fallback; OtherTask if they were trained for another task than is declared; the error
    of the lake or database if one cannot be written.
    """
    ticks = pipeline.schedule.range(tick.name)
    if (rows := too_large(pipeline, tick, ticks, platform)) is None:
        return _store(
            pipeline, tick, ticks, _answer(pipeline, tick, platform, as_of, AtOnce(pipeline, tick, ticks, platform)), platform
        )
    with exchange(platform.settings, "scores") as folder:
        way = InPieces(pipeline, tick, ticks, platform, rows, folder)
        return _store(pipeline, tick, ticks, _answer(pipeline, tick, platform, as_of, way), platform)


def _store(pipeline: Pipeline, tick: Tick, ticks: TickRange, answer: TickRows, platform: Platform) -> Scored:
    rows = answer.rows
    written = platform.lake.replace_ticks(names.predictions(pipeline), ticks, rows, note=f"version {answer.model_version}")
    if pipeline.publish is not None:
        _publish(pipeline, tick, rows, platform)
    platform.ledger.put(
        Scoring(
            pipeline=pipeline.name,
            tick=tick.name,
            model_version=answer.model_version,
            rows=rows.num_rows,
            fallback_rows=answer.fallback_rows,
            fallback_reason=answer.fallback_reason,
            features_digest=pipeline.digest,
            delta_version=written.version,
            at=platform.clock.now(),
            fallback_cause=answer.fallback_cause,
        )
    )
    log.info("%s: scored %d rows of %s with version %d", pipeline.name, rows.num_rows, tick, answer.model_version)
    return Scored(str(tick), rows.num_rows, answer.model_version, answer.fallback_reason, written.version)


def _answer(pipeline: Pipeline, tick: Tick, platform: Platform, as_of: bool, way: Way[Answered]) -> TickRows:
    """Answer with the champion; with the fallback, if it is switched on or the champion fails.

    A row with a feature that no model takes is answered by the fallback, as it is on request, and the others by the champion.
    """
    if (switch := switched(pipeline, platform, tick if as_of else None)) is not None:
        kept = _kept_fallback(pipeline, tick, None, platform, as_of)
        if kept is not None:
            return way.completed(way.by_fallback(kept, FallbackCause.SWITCHED, sentence(switch)))
        log.error("%s: %s, but no fallback is stored for %s: the champion scores it", pipeline.name, sentence(switch), tick)
    champion: ModelRef | None = None
    try:
        champion = _champion(pipeline, tick, platform, as_of)
        answers = way.by_champion(champion)
    except NotComputed:
        raise  # nothing is wrong with the champion
    except Exception as error:
        if as_of and isinstance(error, NoModel):
            raise  # today's fallback did not exist at that tick
        log.exception("%s: the champion cannot score %s; trying the fallback", pipeline.name, tick)
        kept = _kept_fallback(pipeline, tick, champion.version if champion else None, platform, as_of)
        if kept is None:
            raise
        answers = way.by_fallback(kept, FallbackCause.FAILED, f"{type(error).__name__}: {error}"[:1000])
    return way.completed(answers)


def _champion(pipeline: Pipeline, tick: Tick, platform: Platform, as_of: bool) -> ModelRef:
    registry = platform.registry
    champion = registry.champion_at(pipeline, tick, platform.ledger) if as_of else registry.champion(pipeline)
    if champion is None:
        raise NoModel(f"{pipeline.name} has no champion{f' at {tick}' if as_of else ''}: train a model first")
    return champion


def _kept_fallback(pipeline: Pipeline, tick: Tick, champion: int | None, platform: Platform, as_of: bool) -> Fallback | None:
    """Return the champion's fallback; if the champion is unknown, that of the last promoted version."""
    known = platform.ledger.all(Promotion, pipeline=pipeline.name)
    promoted = [promotion for promotion in known if promotion.effective <= tick.name or not as_of]
    last = max(promoted, key=lambda promotion: (promotion.effective, promotion.at), default=None)
    version = champion or (last.model_version if last else None)
    return None if version is None else platform.ledger.get(Fallback, pipeline.name, version)


def _publish(pipeline: Pipeline, tick: Tick, rows: pa.Table | RowFiles, platform: Platform) -> None:
    from mlprod_tasks.platform.sinks import replace_rows

    assert pipeline.publish is not None
    read, change = published(pipeline, rows.schema.names)
    url = platform.settings.database(pipeline.publish.connection)
    done = replace_rows(
        url, pipeline.publish.table, "tick", tick.name, parts_of(rows, change, read), key=pipeline.entity_table.key
    )
    log.info("%s: published %d rows to %s", pipeline.name, done, pipeline.publish.table)
