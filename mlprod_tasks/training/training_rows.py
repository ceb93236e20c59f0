"""Read the rows of a training set, window by window: their features, and the labels known by then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Split, Tick, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features.key_ranges import RowPiece, all_keys, check_rows, row_pieces
from mlprod_tasks.features.labels import KnownLabels
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.features.staged_values import StagedGroup, StagedPiece
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.exchange import FOLDER
from mlprod_tasks.platform.compute.open_exchange import exchange
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.files import scratch_folder
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.training.row_split import PART, VALUE, check_parts, parts_of_rows
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, Windows
from mlprod_tasks.training.usable_rows import usable_rows

TICKS_AT_ONCE, ROWS_AT_ONCE = 92, 500_000  # limit memory; a part has at least one tick
WINDOWS = (TRAIN, VALIDATION, TEST)
Part = tuple[str, RowPiece]  # with the window that it is in
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

    @property
    def count(self) -> int:
        """Of all rows, with those left out."""
        return int(self.rows.num_rows) + self.left_out.total()


def training_rows(
    pipeline: Pipeline, chosen: Windows, as_of: Tick, versions: Mapping[str, int] | None, platform: Platform
) -> Iterator[RowsOfWindow]:
    """Yield the rows of each window in the order of the windows, in parts that fit into memory.

    A tick of more than MLPROD_SCORE_ROWS rows is cut by its key: its parts have its rows in the same order. Of a table without
    a time, rows without an outcome are no part of a training: they are to be scored.

    versions: of the lake tables; for tables left out, the current one. Raises: TableMissing, PartsUnknown, RowsLost.
    """
    versions = features.pinned(pipeline, platform, versions)
    if pipeline.label.table not in versions:  # no feature reads it
        versions[pipeline.label.table] = platform.lake.version(names.raw(pipeline, pipeline.label.table))
    if not isinstance(pipeline.split, Split):
        yield from _by_row(pipeline, chosen.train, as_of, versions, platform)
        return
    sizes = Snapshot(pipeline, platform, versions)
    parts: list[Part] = []
    counts: dict[TickName, int] = {}
    for name, ticks in chosen.named():
        counts |= (its := sizes.rows_to_score(ticks))
        parts += [(name, part) for part in row_pieces(pipeline, parts_of(ticks, its), its, platform, versions)]
    rows: list[int] = []
    for too_many_events, batch in _batches(pipeline, parts, versions, platform):
        with ExitStack() as held:
            staged: tuple[StagedGroup, ...] = ()
            if too_many_events:
                ranges = [part.keys or all_keys(pipeline) for _, part in batch]
                own = held.enter_context(exchange(platform.settings, "training"))
                staged = features.stage_events(pipeline, batch[0][1].ticks, platform, versions, None, ranges, own)
            work = partial(_rows_of_parts, pipeline, as_of, versions, platform, staged)
            what = f"training rows of {pipeline.name}"
            for made in compute_of(platform.settings).map(work, list(enumerate(batch)), what):
                rows.append(made.count)
                yield made
    check_rows(pipeline, [part for _, part in parts], rows, counts)


def _rows_of_parts(
    pipeline: Pipeline,
    as_of: Tick,
    versions: Mapping[str, int],
    platform: Platform,
    staged: tuple[StagedGroup, ...],
    parts: Iterator[tuple[int, Part]],
) -> Iterator[RowsOfWindow]:
    for number, (name, part) in parts:
        yield _joined(pipeline, name, _read(pipeline, part, as_of, versions, platform, StagedPiece(staged, number)))


def _batches(
    pipeline: Pipeline, parts: Sequence[Part], versions: Mapping[str, int], platform: Platform
) -> Iterator[tuple[bool, list[Part]]]:
    """Parts that are computed together, and whether they read more events than a process is to hold.

    Those that do are of the same ticks, so that their events are aggregated before them.
    """

    @cache
    def too_many(first: TickName, last: TickName) -> bool:
        return features.reads_too_many_events(pipeline, TickRange(pipeline.schedule, first, last), platform, versions)

    def ticks(part: Part) -> tuple[TickName, TickName]:
        return part[1].ticks.first, part[1].ticks.last

    for alike, found in groupby(parts, key=lambda part: too_many(*ticks(part))):
        if alike:
            yield from ((True, list(own)) for _, own in groupby(found, key=ticks))
        else:
            yield False, list(found)


@dataclass(frozen=True)
class _Read:
    """Rows with their features, sorted by (tick, key), and the labels that are known."""

    table: pa.Table
    failed: Mapping[int, str]
    labels: KnownLabels
    versions: Mapping[str, int]


def _read(
    pipeline: Pipeline,
    part: RowPiece,
    as_of: Tick,
    versions: Mapping[str, int],
    platform: Platform,
    staged: StagedPiece | None = None,
) -> _Read:
    built = features.build(pipeline, part.ticks, platform, versions=versions, examples=True, keys=part.keys, staged=staged)
    read = {**versions, **built.versions}
    known = features.known_labels(pipeline, part.ticks, as_of, platform, versions=read, examples=True, keys=part.keys)
    return _Read(built.table, built.failed, known, read)


@dataclass(frozen=True)
class _Placed:
    """Rows of a snapshot by the window that they are in.

    unplaced: of rows with an outcome that are in none, what `check_parts` reads. count: all rows.
    """

    windows: tuple[RowsOfWindow, ...]
    unplaced: pa.Table
    count: int


def _by_row(
    pipeline: Pipeline, ticks: TickRange, as_of: Tick, versions: Mapping[str, int], platform: Platform
) -> Iterator[RowsOfWindow]:
    counts = Snapshot(pipeline, platform, versions, examples=True).rows_to_score(ticks)
    parts = list(row_pieces(pipeline, [ticks], counts, platform, versions, examples=True))
    work = partial(_placed_parts, pipeline, as_of, versions, platform)
    with scratch_folder(platform.settings.home / FOLDER / "snapshot") as folder:
        # All parts come before the first window is complete.
        kept: list[tuple[RowsOfWindow, Path]] = []
        unplaced, rows = [], []
        for number, placed in enumerate(compute_of(platform.settings).map(work, parts, f"training rows of {pipeline.name}")):
            for one in placed.windows:
                file = folder / f"{one.window}-{number:05d}.parquet"
                pq.write_table(one.rows, file)
                kept.append((replace(one, rows=one.rows.slice(0, 0)), file))
            unplaced.append(placed.unplaced)
            rows.append(placed.count)
        check_parts(pipeline, pa.concat_tables(unplaced))
        check_rows(pipeline, parts, rows, counts)
        for name in WINDOWS:
            yield from (replace(one, rows=pq.read_table(file)) for one, file in kept if one.window == name)


def _placed_parts(
    pipeline: Pipeline, as_of: Tick, versions: Mapping[str, int], platform: Platform, parts: Iterator[RowPiece]
) -> Iterator[_Placed]:
    key = ", ".join(identifier(name) for name in ("tick", *pipeline.entity_table.key))
    for part in parts:
        read = _read(pipeline, part, as_of, versions, platform)
        with engine() as db:
            db.register("parts", parts_of_rows(pipeline, part.ticks, read.versions, platform, keys=part.keys))
            db.register("labels", read.labels.table)
            db.register("failed", read.labels.failed)
            outcomes = f"SELECT {key} FROM labels UNION ALL SELECT {key} FROM failed"
            placed = db.sql(
                f"SELECT p.*, o.tick IS NOT NULL AS _has_outcome FROM parts p LEFT JOIN ({outcomes}) o USING ({key}) "
                f"ORDER BY {key}"
            ).to_arrow_table()
        assert placed.num_rows == read.table.num_rows, "a row has more than one label"
        with_outcome = placed["_has_outcome"]
        windows = []
        for name in WINDOWS:
            mine = pc.and_(with_outcome, pc.fill_null(pc.equal(placed[PART], name), False))
            kept = mine.to_numpy()
            place = np.cumsum(kept) - 1
            failed = {int(place[row]): why for row, why in read.failed.items() if kept[row]}
            windows.append(_joined(pipeline, name, _Read(read.table.filter(mine), failed, read.labels, read.versions)))
        unplaced = placed.filter(pc.and_(with_outcome, placed[PART].is_null())).select([PART, VALUE])
        yield _Placed(tuple(windows), unplaced, placed.num_rows)


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
