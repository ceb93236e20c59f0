"""Read a table's rows of some ticks from the source into a staging file, before the audit."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Database, Pipeline, Schedule, Table, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.ingest.convert import as_text, convert, lake_type
from mlprod_tasks.ingest.convert_rows import convert_rows
from mlprod_tasks.ingest.days import with_start_of_day
from mlprod_tasks.ingest.partitions import boundaries, partitions, places
from mlprod_tasks.ingest.row_keys import with_row_key
from mlprod_tasks.ingest.timeless import refuse_timeless_rows
from mlprod_tasks.ingest.unread import UNREAD
from mlprod_tasks.platform import Platform, sources
from mlprod_tasks.platform.digest import of_file
from mlprod_tasks.platform.files import replacing
from mlprod_tasks.platform.pseudonym_key import PseudonymKeyChanged, PseudonymKeyWeak, pseudonym_key
from mlprod_tasks.platform.settings import SettingMissing, Settings
from mlprod_tasks.platform.tick_columns import tick_array, tick_type

log = logging.getLogger(__name__)
MOMENT = pa.timestamp("us", "UTC")
STAGING = "staging"
COPIED_DAYS = 1
STAGED_DAYS = 14  # how long a staged file is kept, to look into a refused batch or to publish again


@dataclass(frozen=True)
class Extracted:
    """The result of an extraction: `rows` of `ticks` in the file `path`.

    as_text: columns with a value that is not of the declared type. undeclared: columns of the source that are not declared.
    notes: what people should know about the source, such as rows that belong to no tick.
    """

    pipeline: str
    table: str
    ticks: str
    path: Path
    sha256: str
    rows: int
    as_text: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def extract(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Extracted:
    """Read the partitions of `ticks` into one staging file.

    A column is staged in its declared type if every value converts without loss, else as text, so that the audit
    can refuse it and show the values. Personal columns are hashed or left out before anything is written to disk.
    The same source rows give the same file. Staged files of the table that are older than STAGED_DAYS are deleted.

    Rows of a database that belong to no tick go to quarantine here.

    Raises: SourceUnreachable, SourceMissing, TimesUnreadable; SettingMissing, PseudonymKeyWeak or PseudonymKeyChanged if a
    column must be hashed and there is no key for it.
    """
    declared, settings = pipeline.table(table), platform.settings
    if any(column.personal == "hash" for column in declared.columns):
        _check_key(pipeline, table, platform)
    wanted, at_source = partitions(declared, ticks), declared.at_source
    try:
        looked = [sources.look(at_source, settings, tick) for tick in (wanted.names if declared.is_by_tick else [None])]
        timeless = refuse_timeless_rows(pipeline, at_source, platform)
        unkeyed = declared.without_row_key
        chunks = [_convert_chunk(chunk, unkeyed, settings) for chunk in _read(declared, wanted, settings)]
        rows = _sort_rows(with_row_key(_concatenate(chunks, unkeyed, pipeline.schedule), declared), declared)
        newest = _newest(at_source, wanted, rows, settings)
    except (sources.SourceMissing, sources.SourceUnreachable, sources.TimesUnreadable) as error:
        raise type(error)(f"pipeline {pipeline.name!r}, tick {ticks}: {error}") from error
    source = looked[-1]
    notes = {"newest": newest, "undeclared": source.undeclared, "without_tick": timeless.rows}
    path = staging(settings, pipeline, table, ticks)
    write_staged(rows.replace_schema_metadata({"mlprod": json.dumps(notes)}), path, platform)
    delete_old(path.parent, platform)
    texts = tuple(c.name for c in declared.lake_columns if rows.schema.field(c.name).type != lake_type(c))
    log.info("%s.%s %s: %s rows from %s", pipeline.name, table, ticks, f"{rows.num_rows:,}", source.address)
    if source.undeclared:
        log.warning("%s has undeclared columns, which are ignored: %s", source.address, ", ".join(source.undeclared))
    told = (*filter(None, [timeless.note]), *(note for one in looked for note in one.notes))
    for note in told:
        log.warning("%s.%s: %s", pipeline.name, table, note)
    return Extracted(pipeline.name, table, str(ticks), path, of_file(path), rows.num_rows, texts, source.undeclared, told)


def _check_key(pipeline: Pipeline, table: str, platform: Platform) -> None:
    try:
        pseudonym_key(platform, note=True)
    except (SettingMissing, PseudonymKeyWeak, PseudonymKeyChanged) as error:
        raise type(error)(
            f"pipeline {pipeline.name!r}, table {table!r}: a personal column must be hashed, but {error}"
        ) from None


def staging(settings: Settings, pipeline: Pipeline, table: str, ticks: TickRange) -> Path:
    """The staging file of a table's ticks."""
    return settings.staging / pipeline.name / table / f"{ticks}.parquet"


def shared_name(path: Path, platform: Platform) -> str:
    """The name among the shared files of a file in the staging folder."""
    return f"{STAGING}/{path.relative_to(platform.settings.staging)}"


def write_staged(rows: pa.Table, path: Path, platform: Platform) -> None:
    """Write a staging file atomically, and show it to other machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        pq.write_table(rows, part, compression="zstd")
    platform.shared.share(shared_name(path, platform), path)


def delete_old(folder: Path, platform: Platform) -> None:
    """Delete old staged files and files of killed writers; extracting again restores them.

    Copies of what is kept elsewhere are deleted after a day.
    """
    days = COPIED_DAYS if platform.shared.many_machines else STAGED_DAYS
    platform.shared.forget_old(shared_name(folder, platform), timedelta(days=STAGED_DAYS))
    oldest = time.time() - days * 86_400  # the machine's clock, which also dates the files
    for file in folder.iterdir():
        try:
            if file.stat().st_mtime < oldest:
                file.unlink()
        except FileNotFoundError:
            continue  # another extraction deleted it first


@dataclass(frozen=True)
class _Chunk:
    """Rows as the source has them, and the tick of each; None for a reference table."""

    rows: pa.RecordBatch
    ticks: pa.Array | None


def _read(table: Table, ticks: TickRange, settings: Settings) -> Iterator[_Chunk]:
    if table.snapshots:
        for tick in ticks:
            for rows in sources.read(table.at_source, settings, None, None, tick.name if table.is_by_tick else None):
                moment = pa.repeat(pa.scalar(tick.start, MOMENT), rows.num_rows)
                yield _Chunk(rows.append_column(AS_OF, moment), tick_array([tick.name] * rows.num_rows, ticks.schedule))
        return
    if table.time is None:
        for rows in sources.read(table, settings, None, None):
            yield _Chunk(rows, None)
        return
    if table.is_by_tick:
        # The file's name gives the tick of its rows. The audit refuses rows whose time lies outside that tick.
        for tick in ticks:
            for found in sources.read(table.at_source, settings, None, None, tick.name):
                rows = with_start_of_day(found, table, ticks.schedule)
                yield _Chunk(rows, tick_array([tick.name] * rows.num_rows, ticks.schedule))
        return
    edges, names = boundaries(table, ticks), tick_array(ticks.names, ticks.schedule)
    # A day begins in the pipeline's zone, which the source knows nothing of: read a day more on both sides.
    more = timedelta(days=1 if table.dated_by else 0)
    for found in sources.read(table.at_source, settings, edges[0] - more, edges[-1] + more):
        rows = with_start_of_day(found, table, ticks.schedule)
        times = convert(rows[table.time], "timestamp", table.source.zone).values
        positions = places(times, edges)
        inside = (positions >= 0) & (positions < len(names))
        if isinstance(table.source, Database):
            inside &= times.is_valid().to_numpy(zero_copy_only=False)  # the others are counted by refuse_timeless_rows
        if inside.any():
            yield _Chunk(rows.filter(pa.array(inside)), names.take(pa.array(positions[inside])))


def _convert_chunk(chunk: _Chunk, table: Table, settings: Settings) -> pa.Table:
    rows = convert_rows(chunk.rows, table, settings)
    return rows if chunk.ticks is None else rows.append_column("tick", chunk.ticks)


def _concatenate(chunks: list[pa.Table], table: Table, schedule: Schedule) -> pa.Table:
    """Make one table of all chunks; a column that is text in one of them becomes text in all."""
    fields = [pa.field(column.name, lake_type(column)) for column in table.lake_columns]
    if table.time is not None:
        fields.append(pa.field("tick", tick_type(schedule)))
    if any(UNREAD in chunk.column_names for chunk in chunks):
        fields.append(pa.field(UNREAD, pa.string()))
        chunks = [c if UNREAD in c.column_names else c.append_column(UNREAD, pa.nulls(len(c), pa.string())) for c in chunks]
    empty = pa.schema(fields).empty_table()
    texts = {f.name for f in fields for chunk in chunks if chunk.schema.field(f.name).type != f.type}
    schema = pa.schema([pa.field(f.name, pa.string()) if f.name in texts else f for f in fields])
    parts = [pa.table([as_text(c[n].combine_chunks()) if n in texts else c[n] for n in schema.names], schema) for c in chunks]
    return pa.concat_tables([empty.cast(schema), *parts]).combine_chunks()


def _sort_rows(rows: pa.Table, table: Table) -> pa.Table:
    """Sort by tick, key and then all other columns, so that the order of the source's rows does not matter."""
    first = [*(["tick"] if table.time is not None else []), *table.key]
    return rows.sort_by([(name, "ascending") for name in [*first, *(n for n in rows.column_names if n not in first)]])


def _newest(table: Table, ticks: TickRange, rows: pa.Table, settings: Settings) -> str | None:
    """The newest time in the source, read only if a partition is too small, to tell a late source from an empty day."""
    if table.time is None:
        return None
    counts: dict[TickName, int] = dict.fromkeys(ticks.names, 0)
    counts |= {entry["values"]: entry["counts"] for entry in rows["tick"].value_counts().to_pylist()}
    return sources.newest(table, settings) if min(counts.values()) < table.min_rows else None
