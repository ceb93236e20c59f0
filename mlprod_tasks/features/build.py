"""Compute the features of rows, each only from what was known before the row's predict_at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

import duckdb
import pyarrow as pa

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline, Table, Tick, TickRange, Trailing
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.reads import words_in
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features import finished, joined_rows, joins, trailing
from mlprod_tasks.features import rows as scored
from mlprod_tasks.features.events import partitions_of, read_events
from mlprod_tasks.features.key_ranges import KeyRange, RowPiece, check_rows, row_pieces
from mlprod_tasks.features.keys import KeyCodes, key_codes
from mlprod_tasks.features.known import MICROSECOND
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.features.staged_values import StagedPiece
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.exchange import Exchange
from mlprod_tasks.platform.compute.open_exchange import exchange_into
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.files import replacing_folder
from mlprod_tasks.platform.threads import threads_here

CHUNK_ROWS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FeatureSet:
    """The features of rows sorted by (tick, key), and the Delta versions that were read.

    Columns: the entity's key, its time, `tick`, `predict_at`, then every feature in the order of declaration.
    failed: for each row with an expression that cannot be computed (a cast that fails, an overflow, a division by zero), its
    position and the first such feature, which is null there.
    """

    table: pa.Table
    versions: dict[str, int]
    failed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureFiles:
    """A feature set in Parquet files, in the order of ticks.

    failed: rows that were left out, because an expression cannot be computed for them.
    """

    files: tuple[Path, ...]
    rows: int
    failed: int
    versions: dict[str, int]


def build(
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    *,
    versions: Mapping[str, int] | None = None,
    only: Sequence[str] | None = None,
    until: Tick | None = None,
    chunk_rows: int = CHUNK_ROWS,
    examples: bool = False,
    keys: KeyRange | None = None,
    staged: StagedPiece | None = None,
) -> FeatureSet:
    """Compute the features of every row of `ticks`.

    The result for a row is the same bit for bit whichever other rows are computed, and when replayed from the same `versions`.
    only: names of the features to compute; nothing else is read. until: use only what was known when that tick was scored.
    chunk_rows: bounds the memory; the result does not depend on it. examples: see `Snapshot`. keys: compute only rows of these.
    staged: for such rows, values that `stage_events` has computed already.

    Raises: TableMissing if a table that a feature reads is not in the lake.
    """
    snapshot = Snapshot(pipeline, platform, versions, until, examples=examples)
    wanted = _wanted(pipeline, only)
    features = _needed(pipeline, wanted)
    with engine(lake=platform.lake) as connection, ThreadPoolExecutor(threads_here()) as pool:
        connection.execute("SET preserve_insertion_order = true")
        parts: list[pa.Table] = []
        failed: dict[int, str] = {}
        rows = 0
        for chunk in _chunks(snapshot.rows_to_score(ticks), ticks, chunk_rows):
            connection.register("known", _known(snapshot, features, chunk, connection, pool, keys, staged))
            part, failed_here = finished.table(pipeline, wanted, connection)
            failed |= {rows + row: name for row, name in failed_here.items()}
            rows += part.num_rows
            parts.append(part)
    return FeatureSet(pa.concat_tables(parts), snapshot.versions, failed)


def write(
    pipeline: Pipeline,
    ticks: TickRange,
    folder: Path,
    platform: Platform,
    *,
    versions: Mapping[str, int] | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> FeatureFiles:
    """Write the features of every row of `ticks` to Parquet files in `folder`.

    The whole folder is replaced. Chunks of ticks, and pieces of a tick of more than MLPROD_SCORE_ROWS rows, are computed where
    the settings say: here, or on a Spark cluster.

    Same rows, columns and order as `build`, without the rows that `build` names as failed; memory does not grow with the number
    of rows.

    Raises: TableMissing; RowsLost.
    """
    versions = pinned(pipeline, platform, versions)
    counts = Snapshot(pipeline, platform, versions).rows_to_score(ticks)
    pieces = list(row_pieces(pipeline, _chunks(counts, ticks, chunk_rows), counts, platform, versions))
    with replacing_folder(folder) as being_made:
        being_made.mkdir()
        numbered = list(enumerate(pieces))
        with exchange_into(platform.settings, being_made, "features") as files:
            work = partial(_write_chunks, pipeline, platform, versions, files)
            written = list(compute_of(platform.settings).map(work, numbered, f"features of {pipeline.name}, {ticks}"))
        check_rows(pipeline, pieces, [rows for rows, _ in written], counts)
    rows, failed = (sum(both) for both in zip(*written, strict=True))
    return FeatureFiles(tuple(sorted(folder.glob("*.parquet"))), rows - failed, failed, versions)


def pinned(
    pipeline: Pipeline,
    platform: Platform,
    versions: Mapping[str, int] | None = None,
    only: Sequence[str] | None = None,
) -> dict[str, int]:
    """The versions of all tables that features are computed from: those given, and the current ones of others.

    only: as of `build`. Raises: TableMissing.
    """
    snapshot = Snapshot(pipeline, platform, versions)
    features = features_for(pipeline, only)
    tables = [pipeline.population.seen_in if pipeline.population is not None else pipeline.entity_name]
    tables += [feature.table for feature in features if isinstance(feature, Lookup | AsOf | Trailing)]
    return {**(versions or {}), **{table: snapshot.version(table) for table in tables}}


def _write_chunks(
    pipeline: Pipeline,
    platform: Platform,
    versions: Mapping[str, int],
    files: Exchange,
    pieces: Iterator[tuple[int, RowPiece]],
) -> Iterator[tuple[int, int]]:
    """Write each piece to a file of its number, and yield its rows and how many of them were left out as failed."""
    snapshot = Snapshot(pipeline, platform, versions)
    with engine(lake=platform.lake) as connection, ThreadPoolExecutor(threads_here()) as pool, ThreadPoolExecutor(1) as writer:
        connection.execute("SET preserve_insertion_order = true")
        written: Future[tuple[int, int]] | None = None
        for number, piece in pieces:
            known = _known(snapshot, pipeline.features, piece.ticks, connection, pool, piece.keys)
            if written is not None:
                yield written.result()
            written = writer.submit(_copy, pipeline, known, files, f"part-{number:05d}.parquet", connection.cursor())
            del known
        if written is not None:
            yield written.result()


def _copy(
    pipeline: Pipeline, known: pa.Table, files: Exchange, name: str, connection: duckdb.DuckDBPyConnection
) -> tuple[int, int]:
    # Two attempts at a chunk may run at once, on two machines.
    with connection, files.writing(name) as being_made:
        connection.register("known", known)
        rows = int(known.num_rows)
        return rows, rows - finished.copy(pipeline, pipeline.feature_names, being_made, connection)


def _chunks(counts: Mapping[TickName, int], ticks: TickRange, chunk_rows: int) -> Iterator[TickRange]:
    """Split the range into chunks of whole ticks with about `chunk_rows` rows. counts: the rows of each tick.

    There is at least one chunk.
    """
    first, rows = ticks.first, 0
    for day in ticks.names:
        if rows and rows + counts.get(day, 0) > chunk_rows:
            yield TickRange(ticks.schedule, first, ticks.schedule.shift(day, -1))
            first, rows = day, 0
        rows += counts.get(day, 0)
    yield TickRange(ticks.schedule, first, ticks.last)


def _known(
    snapshot: Snapshot,
    features: Sequence[Feature],
    ticks: TickRange,
    connection: duckdb.DuckDBPyConnection,
    pool: Executor,
    keys: KeyRange | None = None,
    staged: StagedPiece | None = None,
) -> pa.Table:
    """The scored rows, those of `keys` if given, with all joined features; only expressions are missing."""
    pipeline, entity = snapshot.pipeline, snapshot.pipeline.entity_table
    wanted = scored.query(pipeline, features)
    read_rows = snapshot.read(connection, keys.of(wanted) if keys else wanted, entity.name, ticks, scored=True)
    rows = scored.scored_rows(read_rows, entity.key)
    columns = {name: rows.table[name] for name in rows.table.column_names}
    for feature in features:
        if isinstance(feature, Lookup):
            reference = joined_rows.looked_up(snapshot, feature, rows, connection)
            columns |= joins.lookup(pipeline.table(feature.table), feature, reference, rows)
        elif isinstance(feature, AsOf):
            events = joined_rows.observed(snapshot, feature, rows, *_span(pipeline, rows, feature.max_age), connection)
            columns |= joins.as_of(pipeline.table(feature.table), feature, events, rows)
    if staged is not None:
        columns |= staged.columns(rows, connection)
        features = [feature for feature in features if feature not in staged.features]
    for table in pipeline.tables:
        windows = [feature for feature in features if isinstance(feature, Trailing) and feature.table == table.name]
        if windows:
            columns |= _trailing(snapshot, table, windows, rows, connection, pool)
    return pa.table(columns)


def _trailing(
    snapshot: Snapshot,
    table: Table,
    features: Sequence[Trailing],
    rows: ScoredRows,
    connection: duckdb.DuckDBPyConnection,
    pool: Executor,
) -> dict[str, pa.Array]:
    start, end, read = _span(snapshot.pipeline, rows, trailing.longest(features))
    read = partitions_of(snapshot, table, features, read)
    events = read_events(snapshot, table, features, start, end, read, connection)

    @cache
    def key(mine: str, theirs: str) -> KeyCodes:
        return key_codes(rows.table[mine], events[f"key_{theirs}"])

    return dict(trailing.compute(table, features, events, rows, key, pool))


def _span(pipeline: Pipeline, rows: ScoredRows, back: timedelta) -> tuple[int, int, TickRange]:
    """The times [start, end) in microseconds that rows look back on, with their ticks."""
    return looked_back(pipeline, int(rows.at[0]), int(rows.at[-1]), back) if rows.count else looked_back(pipeline, 0, 0)


def looked_back(pipeline: Pipeline, first: int, last: int, back: timedelta = timedelta()) -> tuple[int, int, TickRange]:
    """The times [start, end) in microseconds that rows scored from `first` to `last` look back on, with their ticks."""
    start, end = first - back // MICROSECOND, last
    # A row known in [start(t - 1), start(t)) is in partition t; one that is known ahead, from start(t) on, too.
    schedule = pipeline.schedule
    oldest, newest = schedule.name_at(EPOCH + start * MICROSECOND), schedule.next_after(EPOCH + end * MICROSECOND)
    return start, end, TickRange(schedule, oldest, newest)


def _wanted(pipeline: Pipeline, only: Sequence[str] | None) -> tuple[str, ...]:
    if only is None:
        return pipeline.feature_names
    unknown = set(only) - set(pipeline.feature_names)
    if unknown:
        raise ValueError(f"only names {sorted(unknown)}, which are not features of pipeline {pipeline.name!r}")
    return tuple(name for name in pipeline.feature_names if name in set(only))


def features_for(pipeline: Pipeline, only: Sequence[str] | None) -> list[Feature]:
    """The declared features that are computed for those of `only`, None for all."""
    return _needed(pipeline, _wanted(pipeline, only))


def _needed(pipeline: Pipeline, wanted: Sequence[str]) -> list[Feature]:
    """The features to compute for the wanted ones: these, and what their expressions read."""
    needed = set(wanted)
    for feature in reversed(pipeline.features):  # an expression reads only expressions that are declared before it
        if isinstance(feature, Expression) and feature.name in needed:
            needed |= words_in(feature.sql)
    return [feature for feature in pipeline.features if needed & set(names_of(feature))]
