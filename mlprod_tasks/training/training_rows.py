"""Read the rows of a training set, window by window: their features, and the labels known by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Split, Tick, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features.labels import KnownLabels
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.training.row_split import PART, check_parts, parts_of_rows
from mlprod_tasks.training.split import Windows
from mlprod_tasks.training.usable_rows import usable_rows

TICKS_AT_ONCE, ROWS_AT_ONCE = 92, 500_000  # limit memory; a part has at least one tick
LABEL = "label.sql"  # at fault beside features, none of which has a dot in its name


@dataclass(frozen=True)
class RowsOfWindow:
    """Some rows of a window.

    rows: the key, tick, the features, `split`, `label`. left_out: rows left out, by the feature at fault. versions: of the lake
    tables that were read.
    """

    window: str
    rows: pa.Table
    left_out: Counter[str]
    versions: Mapping[str, int]


def training_rows(
    pipeline: Pipeline, chosen: Windows, as_of: Tick, versions: Mapping[str, int] | None, platform: Platform
) -> Iterator[RowsOfWindow]:
    """Yield the rows of each window in the order of the windows, in parts that fit into memory.

    Of a table without a time, rows without an outcome are no part of a training: they are to be scored.

    versions: of the lake tables; for tables left out, the current one. Raises: TableMissing, PartsUnknown.
    """
    if not isinstance(pipeline.split, Split):
        yield from _by_row(pipeline, chosen.train, as_of, versions, platform)
        return
    versions = features.pinned(pipeline, platform, versions)
    if pipeline.label.table not in versions:  # no feature reads it
        versions[pipeline.label.table] = platform.lake.version(names.raw(pipeline, pipeline.label.table))
    sizes = Snapshot(pipeline, platform, versions)
    parts = [(name, part) for name, ticks in chosen.named() for part in parts_of(ticks, sizes.rows_to_score(ticks))]
    work = partial(_rows_of_parts, pipeline, as_of, versions, platform)
    yield from compute_of(platform.settings).map(work, parts, f"training rows of {pipeline.name}")


def _rows_of_parts(
    pipeline: Pipeline,
    as_of: Tick,
    versions: Mapping[str, int],
    platform: Platform,
    parts: Iterator[tuple[str, TickRange]],
) -> Iterator[RowsOfWindow]:
    for name, part in parts:
        yield _joined(pipeline, name, _read(pipeline, part, as_of, versions, platform))


@dataclass(frozen=True)
class _Read:
    """Rows with their features, sorted by (tick, key), and the labels that are known."""

    table: pa.Table
    failed: Mapping[int, str]
    labels: KnownLabels
    versions: Mapping[str, int]


def _read(pipeline: Pipeline, ticks: TickRange, as_of: Tick, versions: Mapping[str, int] | None, platform: Platform) -> _Read:
    built = features.build(pipeline, ticks, platform, versions=versions, examples=True)
    read = {**(versions or {}), **built.versions}
    if pipeline.label.table not in read:  # no feature reads it
        read[pipeline.label.table] = platform.lake.version(names.raw(pipeline, pipeline.label.table))
    known = features.known_labels(pipeline, ticks, as_of, platform, versions=read, examples=True)
    return _Read(built.table, built.failed, known, read)


def _by_row(
    pipeline: Pipeline, ticks: TickRange, as_of: Tick, versions: Mapping[str, int] | None, platform: Platform
) -> Iterator[RowsOfWindow]:
    read = _read(pipeline, ticks, as_of, versions, platform)
    key = ", ".join(identifier(name) for name in ("tick", *pipeline.entity_table.key))
    with engine() as db:
        db.register("parts", parts_of_rows(pipeline, ticks, read.versions, platform))
        db.register("labels", read.labels.table)
        db.register("failed", read.labels.failed)
        outcomes = f"SELECT {key} FROM labels UNION ALL SELECT {key} FROM failed"
        placed = db.sql(
            f"SELECT p.*, o.tick IS NOT NULL AS _has_outcome FROM parts p LEFT JOIN ({outcomes}) o USING ({key}) ORDER BY {key}"
        ).to_arrow_table()
    assert placed.num_rows == read.table.num_rows, "a row has more than one label"
    with_outcome = placed["_has_outcome"]
    check_parts(pipeline, placed.filter(with_outcome))
    for name in ("train", "validation", "test"):
        mine = pc.and_(with_outcome, pc.fill_null(pc.equal(placed[PART], name), False))
        kept = mine.to_numpy()
        place = np.cumsum(kept) - 1
        failed = {int(place[row]): why for row, why in read.failed.items() if kept[row]}
        yield _joined(pipeline, name, _Read(read.table.filter(mine), failed, read.labels, read.versions))


def _joined(pipeline: Pipeline, window: str, read: _Read) -> RowsOfWindow:
    """The rows that a model can be trained on, with their labels."""
    usable = usable_rows(pipeline, read.table, read.failed)
    key = list(pipeline.entity_table.key)
    joined_by = ", ".join(identifier(name) for name in ("tick", *key))
    selected = [*key, "tick", *(name for name in pipeline.feature_names if name not in key)]
    columns = ", ".join(f'f."{name}"' for name in selected)
    with engine() as db:
        db.register("features", usable.table)
        db.register("labels", read.labels.table.select([*key, "tick", "label"]))
        db.register("failed", read.labels.failed)
        joined = db.sql(
            f"SELECT {columns}, '{window}' AS split, l.label FROM features f LEFT JOIN labels l USING ({joined_by}) "
            f"ANTI JOIN failed USING ({joined_by}) ORDER BY {joined_by}"
        ).to_arrow_table()
    without_label = usable.table.num_rows - joined.num_rows
    assert 0 <= without_label <= read.labels.failed.num_rows, "a row has more than one label"
    return RowsOfWindow(window, joined, usable.left_out + Counter({LABEL: without_label}), read.versions)


def parts_of(ticks: TickRange, counts: Mapping[TickName, int]) -> Iterator[TickRange]:
    """Split a window into parts of whole ticks, with at most TICKS_AT_ONCE ticks and about ROWS_AT_ONCE rows.

    counts: the rows of each tick.
    """
    part: list[TickName] = []
    rows = 0
    for tick in ticks:
        count = counts.get(tick.name, 0)
        if part and (rows + count > ROWS_AT_ONCE or len(part) == TICKS_AT_ONCE):
            yield TickRange(ticks.schedule, part[0], part[-1])
            part, rows = [], 0
        part.append(tick.name)
        rows += count
    yield TickRange(ticks.schedule, part[0], part[-1])
