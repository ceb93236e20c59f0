"""Collect the service's log into the lake, each row exactly once, despite kills."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.files import locked, parts
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.lake_columns import RowsRefused
from mlprod_tasks.scoring.log_row import KINDS, ROW_COLUMNS, log_schema, row_columns
from mlprod_tasks.scoring.prediction_log import log_folder, log_name
from mlprod_tasks.scoring.review_queue import ask_for
from mlprod_tasks.scoring.set_aside import LOG_FILE, NEEDED, places, read_or_set_aside, set_aside_rows, unreadable_rows

log = logging.getLogger(__name__)
# Collected files are kept this long: without a working lock, a slow process may write back an older partition.
KEPT = timedelta(hours=1)
# Older versions of the lake's table are kept this long: a reader lists its files at the start and is done in minutes.
READ_WITHIN = timedelta(hours=2)
TIDIED_EVERY = timedelta(hours=1)
ABANDONED = timedelta(days=1)  # a file still unfinished after this time: its writer was killed
LOG_TYPES = frozenset((*KINDS.values(), *(kind for _, kind in ROW_COLUMNS)))
# What rows are to blame for; anything else, such as a full disk or a ledger that is away, fails the collection.
OF_THE_ROWS = (ValueError, TypeError, OverflowError, pa.ArrowException)


@dataclass(frozen=True)
class Collected:
    """What a collection added to the lake.

    `rows`, `files`: the new ones; `ticks`: those of the new rows. `reviews`: rows newly in the review queue. `removed`:
    collected files that were deleted. `broken`: files that were set aside: unreadable ones, and those with single bad rows of
    others. `refused`: files with rows that the lake does not take, such as a column of another type, which stay where they are;
    `why`: the reason for each.
    """

    pipeline: str
    rows: int = 0
    files: int = 0
    ticks: tuple[str, ...] = ()
    reviews: int = 0
    removed: int = 0
    broken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def causes(self) -> dict[str, int]:
        """Why files wait, and how many; small enough to pass between tasks."""
        return dict(Counter(self.why))

    @property
    def sentence(self) -> str:
        of = f" of {' to '.join(dict.fromkeys((self.ticks[0], self.ticks[-1])))}" if self.ticks else ""
        further = (
            f"; {self.reviews:,} rows for people to decide" if self.reviews else "",
            f"; {len(self.broken):,} broken files set aside" if self.broken else "",
            f"; {len(self.refused):,} files wait: the lake does not take their rows" if self.refused else "",
        )
        return f"{self.pipeline}: {self.rows:,} rows from {self.files:,} files{of} collected{''.join(further)}"


@dataclass(frozen=True)
class _File:
    """One file of the log, with its columns and ticks."""

    path: Path
    schema: pa.Schema
    ticks: frozenset[TickName]

    @property
    def name(self) -> str:
        return self.path.stem


def collect(pipeline: Pipeline, platform: Platform, *, tidy: bool = False) -> Collected:
    """Add everything that the service has logged to the lake, each row exactly once.

    A tick's partition is rewritten with the rows of new files; a column names the file of each row. The write is atomic: a
    killed collection loses and duplicates nothing. A file is deleted an hour after it was written, and only if all its rows
    were in the lake before this run. One collection per use case runs at a time; another waits for it.

    An unreadable file is renamed with '.broken' at the end; single bad rows are written to such a file, and the rest of their
    file is collected. A file that the lake does not take, such as one with a column of another type, waits. The other files are
    still collected. Rows for people to decide enter the review queue first.

    Cost: each tick with new rows is loaded whole, one at a time. A tick with a million rows of 68 columns takes 2.1 GB and
    16 s, even to add a few rows; five million about 10 GB. Each run leaves the older version of that partition (460 MB) on
    disk. tidy: also delete versions older than two hours, at most once an hour.
    """
    folder = log_folder(pipeline, platform)
    if platform.shared.many_machines:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        return Collected(pipeline.name)
    with _exclusive(folder), platform.shared.mirrored(log_name(pipeline), folder):
        collected = _collect(pipeline, folder, platform)
        if tidy and platform.lake.exists(names.requests(pipeline)):
            platform.lake.forget(names.requests(pipeline), READ_WITHIN, every=TIDIED_EVERY)
    log.info("%s", collected.sentence)
    return collected


def _collect(pipeline: Pipeline, folder: Path, platform: Platform) -> Collected:
    broken: list[str] = []
    present = _log_files(folder, row_columns(pipeline)["tick"], broken)
    files, refused = _split_by_types(pipeline, present, platform)
    collected = _collected_files(pipeline, {tick for file in files for tick in file.ticks}, platform)
    new = {file.name: file for file in files if any(file.name not in collected[tick] for tick in file.ticks)}
    rows, ticks, reviews, unfinished = Counter[str](), [], 0, set[str]()
    for tick in sorted({tick for file in new.values() for tick in file.ticks}):
        lacking = [file for file in new.values() if tick in file.ticks and file.name not in collected[tick]]
        if not lacking:
            continue
        log.info("%s: collecting %d files of %s", pipeline.name, len(lacking), tick)
        rows_of_tick = _read(lacking, tick, broken)
        read = _files_of(rows_of_tick)
        # Before the lake: if killed in between, the rows are collected again and no review is lost.
        rows_of_tick, asked = _queue_reviews(pipeline, tick, rows_of_tick, folder, platform, broken)
        reviews += asked
        # A file that could not be read now waits; one of which only bad rows were left is done.
        unfinished |= {file.name for file in lacking} - (read - _files_of(rows_of_tick))
        added = _add_or_refuse(pipeline, tick, rows_of_tick, platform, refused)
        rows.update(added)
        ticks += [str(tick)] if added else []
    for file in (file for file in present if file.name in refused):
        log.error("%s: %s waits: %s", pipeline.name, file.path, refused[file.name])
        if file.name not in new:
            for tick in file.ticks:
                reviews += _queue_reviews(pipeline, tick, _read([file], tick, broken), folder, platform, broken)[1]
    removed = _remove([file.path for file in files if file.name not in unfinished], KEPT, platform)
    _remove((*parts(folder), *folder.glob(".*.parquet")), ABANDONED, platform)  # the latter come from services of release 0.4
    why = dict(sorted(refused.items()))
    counts = (rows.total(), len(rows), tuple(ticks), reviews, removed)
    return Collected(pipeline.name, *counts, tuple(dict.fromkeys(broken)), tuple(why), tuple(why.values()))


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system frees it when the process ends, in whatever way."""
    # The folder itself is locked: a lock file would belong to the first user, and no other could open it.
    with ExitStack() as locks:
        try:
            locks.enter_context(locked(folder, waiting=f"another process collects {folder}: waiting for it"))
        except OSError as error:  # a network file system without locks: see KEPT
            log.warning("%s cannot be locked, collecting anyway: %s", folder, error)
        yield


def _log_files(folder: Path, ticks: pa.DataType, broken: list[str]) -> list[_File]:
    """List the files of the log. ticks: the type of their names.

    Broken ones are set aside and their names added to `broken`.
    """
    files = (read_or_set_aside(path, lambda file, path=path: _log_file(path, file, ticks), broken) for path in _paths(folder))  # type: ignore[misc]
    return [file for file in files if file is not None]


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.parquet"))


def _log_file(path: Path, file: pq.ParquetFile, tick_type: pa.DataType) -> _File:
    schema = file.schema_arrow
    if lacking := [name for name in NEEDED if name not in schema.names]:
        raise pa.ArrowInvalid(f"it has no column {', '.join(lacking)}, so it is not a log of this service")
    ticks = file.read(columns=["tick"])["tick"]
    if ticks.type != tick_type or ticks.null_count:
        raise pa.ArrowInvalid("its rows have no ticks, so it is not a log of this service")
    names = frozenset(ticks.unique().to_pylist())
    try:
        return _File(path, schema, frozenset(tick_named(str(name)) for name in names))
    except ValueError as error:
        raise pa.ArrowInvalid(f"its rows have ticks that are none, so it is not a log of this service: {error}") from error


def _split_by_types(pipeline: Pipeline, files: Sequence[_File], platform: Platform) -> tuple[list[_File], dict[str, str]]:
    """Return the files whose columns have the lake's types, and for each other one why it waits."""
    try:
        schema = platform.lake.table(names.requests(pipeline)).schema()
        types = {field.name: field.type for field in pa.schema(schema.to_arrow())}
    except TableMissing:
        types = {field.name: field.type for field in log_schema(pipeline)}
    fitting, refused = [], {}
    for file in files:
        other = next((field for field in file.schema if not _fits(field, types)), None)
        if other is None:
            types |= {field.name: field.type for field in file.schema}
            fitting.append(file)
        elif other.name in types:
            refused[file.name] = (
                f"its column {other.name!r} is {other.type}, but {types[other.name]} in {names.requests(pipeline)!r}: "
                "declare it under a new name, or move the lake table away and collect again"
            )
        else:
            refused[file.name] = (
                f"its column {other.name!r} is {other.type}, which no column of this log is: the service did not write the "
                "file. Move it out of the folder"
            )
    return fitting, refused


def _fits(field: pa.Field, types: Mapping[str, pa.DataType]) -> bool:
    known = types.get(field.name)
    return field.type in LOG_TYPES if known is None else field.type == known


def _collected_files(pipeline: Pipeline, ticks: Iterable[TickName], platform: Platform) -> dict[TickName, set[str]]:
    """Return, by tick, the names of the files whose rows are in the lake."""
    files: dict[TickName, set[str]] = {tick: set() for tick in ticks}
    table = _lake_rows(pipeline, list(files), platform, ["tick", LOG_FILE])
    if table is not None:
        for row in table.group_by(["tick", LOG_FILE]).aggregate([]).to_pylist():
            files[row["tick"]].add(row[LOG_FILE])
    return files


def _lake_rows(
    pipeline: Pipeline, ticks: Sequence[TickName], platform: Platform, columns: list[str] | None = None
) -> pa.Table | None:
    if not ticks:
        return None
    try:
        return platform.lake.rows(names.requests(pipeline), ticks, columns)
    except TableMissing:
        return None


def _read(files: Sequence[_File], tick: TickName, broken: list[str]) -> pa.Table:
    """Read the rows of a tick from files, each with its file's name. Columns that a file lacks are null."""
    kinds = dict(ROW_COLUMNS) | {field.name: field.type for file in files for field in file.schema}
    schema = pa.schema(list(kinds.items()))
    try:
        rows = _scan([file.path for file in files], schema, tick)
    except (pa.ArrowException, OSError):
        # A file is damaged inside, or gone: find it.
        sound = [
            file.path for file in files if read_or_set_aside(file.path, lambda one: one.read().num_rows, broken) is not None
        ]
        rows = _scan(sound, schema, tick)
    stems = rows[LOG_FILE].combine_chunks().dictionary_encode() if rows.num_rows else None
    if stems is None:
        return rows
    file_names = pa.array([Path(name).stem for name in stems.dictionary.to_pylist()], pa.string())
    return rows.set_column(rows.schema.get_field_index(LOG_FILE), LOG_FILE, file_names.take(stems.indices))


def _scan(paths: Sequence[Path], schema: pa.Schema, tick: TickName) -> pa.Table:
    if not paths:
        return schema.append(pa.field(LOG_FILE, pa.string())).empty_table()
    rows = ds.dataset([str(path) for path in paths], schema=schema, format="parquet")
    of_tick = ds.field("tick") == pa.scalar(tick, schema.field("tick").type)
    return rows.to_table(columns=[*schema.names, "__filename"], filter=of_tick).rename_columns([*schema.names, LOG_FILE])


def _files_of(rows: pa.Table) -> set[str]:
    return set(rows[LOG_FILE].unique().to_pylist())


def _queue_reviews(
    pipeline: Pipeline, tick: TickName, rows: pa.Table, folder: Path, platform: Platform, broken: list[str]
) -> tuple[pa.Table, int]:
    """Add rows for people to the review queue; return the rows without bad ones, and how many are new in the queue.

    Bad are rows that cannot be read and those that the queue does not take. They are set aside.
    """
    rows = set_aside_rows(rows, unreadable_rows(rows), folder, tick, broken)
    if any(rows.schema.field(name).type != kind for name, kind in row_columns(pipeline).items()):
        return rows, 0
    not_taken: list[tuple[str, int]] = []
    asked = ask_for(pipeline, rows.filter(pc.fill_null(rows["review"], False)), platform, not_taken)
    return set_aside_rows(rows, places(rows, set(not_taken)), folder, tick, broken), asked


def _add_or_refuse(
    pipeline: Pipeline, tick: TickName, rows: pa.Table, platform: Platform, refused: dict[str, str]
) -> Mapping[str, int]:
    """Add the rows of every file that the lake takes; return how many by file, and add the others to `refused`."""
    try:
        return _add(pipeline, tick, rows, platform)
    except OF_THE_ROWS as error:
        files = rows[LOG_FILE].unique()
        if len(files) == 1:
            # Other messages than the lake's own may quote values.
            why = str(error) if isinstance(error, RowsRefused) else f"its rows cannot be written: {type(error).__name__}"
            refused[files[0].as_py()] = why
            return {}
    added: dict[str, int] = {}
    half = len(files) // 2
    for some in (files[:half], files[half:]):  # halves: the partition is read and written once for each part
        part = rows.filter(pc.is_in(rows[LOG_FILE], value_set=some))
        added |= _add_or_refuse(pipeline, tick, part, platform, refused)
    return added


def _add(pipeline: Pipeline, tick: TickName, rows: pa.Table, platform: Platform) -> Mapping[str, int]:
    """Add to a tick's partition the rows of files it does not have; return how many by file."""
    present = _lake_rows(pipeline, [tick], platform)
    if present is not None:
        rows = rows.filter(pc.invert(pc.is_in(rows[LOG_FILE], value_set=present[LOG_FILE].unique())))
    if not rows.num_rows:
        return {}
    counts = rows.group_by(LOG_FILE).aggregate([([], "count_all")]).to_pylist()
    whole = rows if present is None else pa.concat_tables([present, rows], promote_options="default")
    one_tick = TickRange(pipeline.schedule, tick, tick)
    platform.lake.replace_ticks(names.requests(pipeline), one_tick, whole, note="collected")
    return {row[LOG_FILE]: row["count_all"] for row in counts}


def _remove(paths: Iterable[Path], after: timedelta, platform: Platform) -> int:
    removed, now = 0, platform.clock.now()
    for path in paths:
        try:
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) < now - after:
                path.unlink()
                removed += 1
        except OSError as error:
            log.warning("%s cannot be deleted, the next collection tries again: %s", path, error)
    return removed
