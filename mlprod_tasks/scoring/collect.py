"""Collect the service's log into the lake: every answered row exactly once, even if collections are killed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import names as places
from mlprod_tasks.platform.files import locked, parts
from mlprod_tasks.platform.lake import RowsRefused, TableMissing
from mlprod_tasks.scoring.log_row import ROW_COLUMNS, log_schema
from mlprod_tasks.scoring.prediction_log import log_folder
from mlprod_tasks.scoring.review_queue import ask_for

log = logging.getLogger(__name__)
T = TypeVar("T")
LOG_FILE = "log_file"
BROKEN = ".broken"
# Collected files are deleted after this time: without a working lock, a slow process may write back an older partition.
KEPT = timedelta(hours=1)
# Older versions of the lake's table are deleted after this time: a reader lists files at its start and is done in minutes.
READ_WITHIN = timedelta(hours=2)
TIDIED_EVERY = timedelta(hours=1)
ABANDONED = timedelta(days=1)  # a file that is still being written after that: its writer was killed
NEEDED = ("request_id", "row", "tick", "predict_at", "at")


@dataclass(frozen=True)
class Collected:
    """What a collection brought into the lake.

    `rows`, `files`: those that were not there before; `ticks`: those that got them. `reviews`: rows that people are now asked
    about. `removed`: collected files that were deleted. `broken`: files that cannot be read, set aside. `refused`: files
    with a column of another type than the lake's, which wait where they are.
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
        """Why files wait, and how many: small enough to travel between tasks."""
        return dict(Counter(self.why))

    @property
    def sentence(self) -> str:
        of = f" of {' to '.join(dict.fromkeys((self.ticks[0], self.ticks[-1])))}" if self.ticks else ""
        further = (
            f"; {self.reviews:,} for people to decide" if self.reviews else "",
            f"; {len(self.broken):,} broken files set aside" if self.broken else "",
            f"; {len(self.refused):,} files wait, a column of theirs has another type than in the lake" if self.refused else "",
        )
        return f"{self.pipeline}: {self.rows:,} rows from {self.files:,} files{of} collected{''.join(further)}"


@dataclass(frozen=True)
class _File:
    """One file of the log: its columns, and its ticks."""

    path: Path
    schema: pa.Schema
    ticks: frozenset[date]

    @property
    def name(self) -> str:
        return self.path.stem


def collect(pipeline: Pipeline, platform: Platform, *, tidy: bool = False) -> Collected:
    """Bring everything that the service has logged into the lake, each row exactly once.

    A tick's partition is written again with the rows of files that it does not have yet; a column says which file a row came
    from. The write is atomic: a collection killed at any moment loses and duplicates nothing. A file is deleted an hour after
    it was written, and only if all of its rows were in the lake before this began. One collection of a use case runs at a time;
    another waits for it.

    What cannot be read is set aside under its name and '.broken'; a file with a column of another type than the lake's waits.
    Neither keeps others back. Rows that are left to people come into the review queue first.

    Needs the memory of the ticks that got rows, one at a time: of one with a million rows of 68 columns 2.1 GB and 16 s, also
    to add a few rows, and so for five million about 10 GB. Every time it leaves that partition (460 MB) behind in its older
    version. tidy: also delete what the table held more than two hours ago, at most once an hour.
    """
    folder = log_folder(pipeline, platform)
    if not folder.is_dir():
        return Collected(pipeline.name)
    with _alone(folder):
        done = _collect(pipeline, folder, platform)
        if tidy and platform.lake.exists(places.requests(pipeline)):
            platform.lake.forget(places.requests(pipeline), READ_WITHIN, every=TIDIED_EVERY)
    log.info("%s", done.sentence)
    return done


def _collect(pipeline: Pipeline, folder: Path, platform: Platform) -> Collected:
    broken: list[str] = []
    found = _present(folder, broken)
    files, refused = _fitting(pipeline, found, platform)
    collected = _collected_files(pipeline, {tick for file in files for tick in file.ticks}, platform)
    new = [file for file in files if any(file.name not in collected[tick] for tick in file.ticks)]
    rows, ticks, reviews = Counter[str](), [], 0
    for tick in sorted({tick for file in new for tick in file.ticks}):
        lacking = [file for file in new if tick in file.ticks and file.name not in collected[tick]]
        if not lacking:
            continue
        log.info("%s: collecting %d files of %s", pipeline.name, len(lacking), tick)
        made = _read(lacking, tick, broken)
        # Before the lake: if killed in between, the rows are collected again, and no review is lost.
        reviews += _ask(pipeline, made, platform)
        try:
            added = _add(pipeline, tick, made, platform)
        except RowsRefused as error:
            refused |= {file.name: str(error) for file in lacking}
            continue
        rows.update(added)
        ticks += [str(tick)] if added else []
    reviews += _ask_of_waiting([file for file in found if file.name in refused], refused, pipeline, platform, broken)
    known = {file.name for file in new}
    removed = _remove([file.path for file in files if file.name not in known], KEPT, platform)
    _remove((*parts(folder), *folder.glob(".*.parquet")), ABANDONED, platform)  # the latter are of services of release 0.4
    waiting = dict(sorted(refused.items()))
    return Collected(
        pipeline.name,
        rows.total(),
        len(rows),
        tuple(ticks),
        reviews,
        removed,
        tuple(broken),
        tuple(waiting),
        tuple(waiting.values()),
    )


def _ask_of_waiting(
    files: Sequence[_File], refused: Mapping[str, str], pipeline: Pipeline, platform: Platform, broken: list[str]
) -> int:
    """Put the reviews of files that have to wait into the queue; how many are new."""
    reviews = 0
    for file in files:
        log.error("%s: %s waits: %s", pipeline.name, file.path, refused[file.name])
        reviews += sum(_ask(pipeline, _read([file], tick, broken), platform) for tick in file.ticks)
    return reviews


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with the process that holds it, however that ends."""
    # Of the folder itself: a lock's own file would belong to whoever came first, and nobody else could open it.
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder, waiting=f"another process collects {folder}: waiting for it"))
        except OSError as error:  # a network file system without locks: what KEPT is for
            log.warning("%s cannot be locked, collecting all the same: %s", folder, error)
        yield


def _present(folder: Path, broken: list[str]) -> list[_File]:
    """The files of the log. One that is broken is set aside, and its name added to `broken`."""
    made = (_opened(path, lambda file, path=path: _described(path, file), broken) for path in _paths(folder))  # type: ignore[misc]
    return [file for file in made if file is not None]


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.parquet"))


def _described(path: Path, file: pq.ParquetFile) -> _File:
    schema = file.schema_arrow
    if lacking := [name for name in NEEDED if name not in schema.names]:
        raise pa.ArrowInvalid(f"it has no column {', '.join(lacking)}, so it is no log of this service")
    ticks = file.read(columns=["tick"])["tick"]
    if not pa.types.is_date32(ticks.type) or ticks.null_count:
        raise pa.ArrowInvalid("its rows have no ticks, so it is no log of this service")
    return _File(path, schema, frozenset(ticks.unique().to_pylist()))


def _opened(path: Path, read: Callable[[pq.ParquetFile], T], broken: list[str]) -> T | None:
    """What `read` makes of a file. None where it is broken, and so set aside, or where it cannot be reached now."""
    try:
        # Opened by Arrow itself: its threads may hold the last reference to a stream of Python's, and a process that ends just
        # then is aborted.
        with pq.ParquetFile(path) as file:
            return read(file)
    except (pa.ArrowException, OSError) as error:
        # Arrow, too, tells of spoilt contents by an OSError: one that has no number, like the one of what is no file at all.
        if isinstance(error, OSError) and (error.errno is not None or not path.is_file()):
            log.warning("%s cannot be read now, the next collection tries again: %s", path, error)
            return None
        aside = path.with_name(path.name + BROKEN)
        log.error("%s is broken, and set aside as %s: %s", path, aside.name, error)
        path.rename(aside)
        broken.append(aside.name)
        return None


def _fitting(pipeline: Pipeline, files: Sequence[_File], platform: Platform) -> tuple[list[_File], dict[str, str]]:
    """The files whose columns have the lake's types, and why each other one has to wait."""
    try:
        there = platform.lake.table(places.requests(pipeline)).schema()
        types = {field.name: field.type for field in pa.schema(there.to_arrow())}
    except TableMissing:
        types = {field.name: field.type for field in log_schema(pipeline)}
    fitting, refused = [], {}
    for file in files:
        other = next((field for field in file.schema if types.get(field.name, field.type) != field.type), None)
        if other is None:
            types |= {field.name: field.type for field in file.schema}
            fitting.append(file)
        else:
            refused[file.name] = (
                f"column {other.name!r} is {other.type} in it, but {types[other.name]} in {places.requests(pipeline)!r}: "
                "declare it under a new name, or move the lake table away and collect again"
            )
    return fitting, refused


def _collected_files(pipeline: Pipeline, ticks: Iterable[date], platform: Platform) -> dict[date, set[str]]:
    """By tick, the files whose rows the lake has."""
    held: dict[date, set[str]] = {tick: set() for tick in ticks}
    table = _of_lake(pipeline, list(held), platform, ["tick", LOG_FILE])
    if table is not None:
        for row in table.group_by(["tick", LOG_FILE]).aggregate([]).to_pylist():
            held[row["tick"]].add(row[LOG_FILE])
    return held


def _of_lake(
    pipeline: Pipeline, ticks: Sequence[date], platform: Platform, columns: list[str] | None = None
) -> pa.Table | None:
    if not ticks:
        return None
    try:
        return platform.lake.rows(places.requests(pipeline), ticks, columns)
    except TableMissing:
        return None


def _read(files: Sequence[_File], tick: date, broken: list[str]) -> pa.Table:
    """The rows of a tick in some files, each with its file's name. Columns that a file lacks are null."""
    kinds = dict(ROW_COLUMNS) | {field.name: field.type for file in files for field in file.schema}
    schema = pa.schema(list(kinds.items()))
    try:
        made = _scan([file.path for file in files], schema, tick)
    except (pa.ArrowException, OSError):
        # One of them is spoilt beyond its first lines, or gone: find it.
        sound = [file.path for file in files if _opened(file.path, lambda one: one.read().num_rows, broken) is not None]
        made = _scan(sound, schema, tick)
    stems = made[LOG_FILE].combine_chunks().dictionary_encode() if made.num_rows else None
    if stems is None:
        return made
    names = pa.array([Path(name).stem for name in stems.dictionary.to_pylist()], pa.string())
    return made.set_column(made.schema.get_field_index(LOG_FILE), LOG_FILE, names.take(stems.indices))


def _scan(paths: Sequence[Path], schema: pa.Schema, tick: date) -> pa.Table:
    if not paths:
        return schema.append(pa.field(LOG_FILE, pa.string())).empty_table()
    rows = ds.dataset([str(path) for path in paths], schema=schema, format="parquet")
    of_tick = ds.field("tick") == pa.scalar(tick, pa.date32())
    return rows.to_table(columns=[*schema.names, "__filename"], filter=of_tick).rename_columns([*schema.names, LOG_FILE])


def _ask(pipeline: Pipeline, rows: pa.Table, platform: Platform) -> int:
    if any(rows.schema.field(name).type != kind for name, kind in ROW_COLUMNS):
        return 0
    return ask_for(pipeline, rows.filter(pc.fill_null(rows["review"], False)), platform)


def _add(pipeline: Pipeline, tick: date, made: pa.Table, platform: Platform) -> Mapping[str, int]:
    """Add to a tick's partition the files that it has no rows of; how many rows each of them brought."""
    there = _of_lake(pipeline, [tick], platform)
    if there is not None:
        made = made.filter(pc.invert(pc.is_in(made[LOG_FILE], value_set=there[LOG_FILE].unique())))
    if not made.num_rows:
        return {}
    counted = made.group_by(LOG_FILE).aggregate([([], "count_all")]).to_pylist()
    whole = made if there is None else pa.concat_tables([there, made], promote_options="default")
    here = TickRange(pipeline.schedule, tick, tick)
    platform.lake.replace_ticks(places.requests(pipeline), here, whole, note="collected")
    return {row[LOG_FILE]: row["count_all"] for row in counted}


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
