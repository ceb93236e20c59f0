"""Count what became of the outcomes that an earlier model was made with: they are taken as known then, and corrected later."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.features.key_ranges import RowPiece, row_pieces
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.split import on_schedule
from mlprod_tasks.training.training_rows import parts_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelChanges:
    """Rows of the earlier windows. known: with an outcome then; changed, gone: of these; added: with one only now."""

    known: int
    changed: int
    gone: int
    added: int


def label_changes(pipeline: Pipeline, before: ModelFacts, now: Assembled, platform: Platform) -> LabelChanges | str:
    """Compare the outcomes of an earlier model's rows, from its lake versions, with those of a training. Else why that fails.

    Both by the label as it is declared now.
    """
    if before.windows is None or before.as_of is None or not before.versions:
        return "the earlier model does not record which rows it was made with"
    try:
        then, today = (pipeline.schedule.tick(name) for name in (before.as_of, now.as_of))
        windows = on_schedule(before.windows, pipeline.schedule)
        ranges = dict.fromkeys(ticks for _, ticks in windows.named())  # parts of a snapshot have the same tick
        key = ", ".join(identifier(name) for name in ("tick", *pipeline.entity_table.key))
        counts = [0, 0, 0, 0]
        for part in _parts(pipeline, ranges, before.versions, platform):
            of = [
                features.known_labels(
                    pipeline, part.ticks, as_of, platform, versions=versions, examples=True, keys=part.keys
                ).table
                for as_of, versions in ((then, before.versions), (today, now.versions))
            ]
            with engine() as db:
                db.register("earlier", of[0])
                db.register("later", of[1])
                found = db.sql(
                    "SELECT count(e.label), count(*) FILTER (e.label <> l.label), count(*) FILTER (l.label IS NULL), "
                    "count(*) FILTER (e.label IS NULL) "
                    f"FROM earlier e FULL JOIN later l USING ({key})"
                ).fetchall()[0]
            counts = [total + one for total, one in zip(counts, found, strict=True)]
    except Exception as error:  # a version that the lake no longer has, a column that is no longer declared
        log.warning("%s: changes of outcomes cannot be counted: %s", pipeline.name, error)
        return f"{type(error).__name__}: {error}"
    return LabelChanges(*counts)


def _parts(
    pipeline: Pipeline, ranges: Iterable[TickRange], versions: Mapping[str, int], platform: Platform
) -> Iterator[RowPiece]:
    sizes = Snapshot(pipeline, platform, versions, examples=True)
    for ticks in ranges:
        counts = sizes.rows_to_score(ticks)
        yield from row_pieces(pipeline, parts_of(ticks, counts), counts, platform, versions, examples=True)
