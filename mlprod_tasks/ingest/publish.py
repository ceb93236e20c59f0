"""Write the rows that passed the audit to the lake."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from sqlalchemy import func, select

from mlprod_tasks.declaration import Pipeline, Table, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.ingest.arrivals import Arrivals, KeysRepeated, arrivals
from mlprod_tasks.ingest.convert import lake_type
from mlprod_tasks.ingest.convert_rows import in_declared_types
from mlprod_tasks.ingest.extract import shared_name
from mlprod_tasks.ingest.partitions import partitions
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.digest import of_file
from mlprod_tasks.platform.ledger import Audit, Publication, Scoring
from mlprod_tasks.platform.tick_columns import tick_array, tick_type

log = logging.getLogger(__name__)
MOST_TOLD = 5  # ticks in a message


class AuditMissing(LookupError):
    """A tick has no passing audit of exactly the rows to publish."""


class TicksEmpty(AuditMissing):
    """Ticks of a range are empty and refused; the others are published."""


@dataclass(frozen=True)
class Published:
    """The number of rows, and the Delta version that has them. changed: False if a reference table stayed the same."""

    pipeline: str
    table: str
    ticks: str
    rows: int
    version: int
    changed: bool = True


def publish(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Published:
    """Replace the lake's rows of `ticks` by the audited ones, or a whole reference table if it changed.

    Keys are unique over the table: a row that stands in another tick too, because its time moved at the source, is removed
    there. A row that the source no longer has leaves the lake. Both are counted in the ledger, as are rows that arrive after
    their tick was published.

    It publishes all ticks of the range or none, but for ticks that are refused because they are empty: those stay as they are
    in the lake. A tick that may be empty becomes empty. Safe to run again, also after it was killed: the rows are the same.

    Raises: AuditMissing if a tick has no passing audit, or the audited file has changed; TicksEmpty, after the others are
    published, if some of `ticks` are left out; KeysRepeated.
    """
    declared = pipeline.table(table)
    wanted = partitions(declared, ticks)
    verdicts = _verdicts(pipeline, declared, wanted, platform)
    empty = _left_out(pipeline, declared, ticks, verdicts)
    rows = _audited_rows(pipeline, declared, [verdict for tick, verdict in verdicts.items() if tick not in empty], platform)
    name = names.raw(pipeline, table)
    change = None
    if declared.time is None:
        version, changed = _replace_reference(name, rows, ticks, platform)
        counts = {wanted.last: rows.num_rows}
    else:
        replaced = [tick for tick in wanted.names if tick not in empty]
        change, version = _revise(pipeline, declared, wanted, replaced, rows, platform, f"publish {table} {ticks}")
        changed = True
        counts = dict.fromkeys((*replaced, *change.also), 0)
        counts |= {entry["values"]: entry["counts"] for entry in change.rows["tick"].value_counts().to_pylist()}
    _record(pipeline, table, counts, version, change, platform)
    log.info("%s %s: %s rows, version %s", name, wanted, f"{rows.num_rows:,}", version)
    _tell_left_out(pipeline, declared, ticks, empty)
    return Published(pipeline.name, table, str(ticks), rows.num_rows, version, changed)


def _revise(
    pipeline: Pipeline,
    table: Table,
    ticks: TickRange,
    replaced: Collection[TickName],
    rows: pa.Table,
    platform: Platform,
    note: str,
) -> tuple[Arrivals, int]:
    """Write the rows, together with what other ticks keep. Returns what changed, and the Delta version."""
    empty = set(ticks.names) - set(replaced)
    now = platform.clock.now()
    between = (Publication.tick >= ticks.first) & (Publication.tick <= ticks.last)
    known = platform.ledger.all(Publication, between, pipeline=pipeline.name, table_name=table.name)
    published = {one.tick for one in known}
    changes: list[Arrivals] = []
    # A row of a snapshot is one of its tick alone. The moment comes first: by its bounds, no other tick's file is opened.
    unique = replace(table, key=(AS_OF, *table.key)) if table.snapshots else table

    def revise(before: DeltaTable | None) -> tuple[pa.Table, tuple[TickName, ...]]:
        usable_from = _usable_from(pipeline, table, platform)
        changes.append(arrivals(unique, replaced, rows, platform.lake, before, published, now, usable_from))
        return changes[-1].rows, changes[-1].also

    try:
        written = platform.lake.revise_ticks(names.raw(pipeline, table.name), ticks, revise, note, empty)
    except KeysRepeated as error:
        raise KeysRepeated(f"pipeline {pipeline.name!r}, tick {ticks}: {error}") from None
    change = changes[-1]
    for what, counts in (
        ("arrived after their tick was published", change.late_now),
        ("left their tick because their time moved", change.moved),
        ("are gone at the source", change.gone),
    ):
        if counts:
            listed = ", ".join(f"{n:,} of {tick}" for tick, n in sorted(counts.items())[:MOST_TOLD])
            log.warning("%s.%s: %s rows %s: %s", pipeline.name, table.name, f"{counts.total():,}", what, listed)
    return change, written.version


def _usable_from(pipeline: Pipeline, table: Table, platform: Platform) -> datetime:
    """The start of the first tick that can see rows that arrive now: the one after all that are published or scored."""
    published = select(func.max(Publication.tick)).where(
        Publication.pipeline == pipeline.name, Publication.table_name == table.name
    )
    with platform.ledger.session() as session:
        newest = [
            session.scalar(query)
            for query in (published, select(func.max(Scoring.tick)).where(Scoring.pipeline == pipeline.name))
        ]
    last = max((tick for tick in newest if tick is not None), default=pipeline.schedule.first)
    return pipeline.schedule.moment(pipeline.schedule.shift(last, 1))


def _record(
    pipeline: Pipeline, table: str, counts: Mapping[TickName, int], version: int, change: Arrivals | None, platform: Platform
) -> None:
    late, moved, gone = (
        (change.late, change.moved, change.gone) if change else (Counter[TickName](), Counter[TickName](), Counter[TickName]())
    )
    at, where = platform.clock.now(), {"pipeline": pipeline.name, "table_name": table}
    between = (Publication.tick >= min(counts)) & (Publication.tick <= max(counts))
    before = {one.tick: one for one in platform.ledger.all(Publication, between, **where)}
    platform.ledger.put(
        *[
            Publication(
                **where,
                tick=tick,
                rows=count,
                delta_version=version,
                at=at,
                first_at=(before[tick].first_at or before[tick].at) if tick in before else at,
                rows_late=late[tick],
                rows_moved=moved[tick] + (before[tick].rows_moved if tick in before else 0),
                rows_gone=gone[tick] + (before[tick].rows_gone if tick in before else 0),
            )
            for tick, count in counts.items()
        ]
    )


def _verdicts(pipeline: Pipeline, table: Table, ticks: TickRange, platform: Platform) -> dict[TickName, Audit]:
    """The latest verdict on each tick. Raises: AuditMissing."""
    where = {"pipeline": pipeline.name, "table_name": table.name}
    found = {a.tick: a for a in platform.ledger.all(Audit, Audit.tick >= ticks.first, Audit.tick <= ticks.last, **where)}
    return {tick: _check_audited(pipeline, table, tick, found.get(tick)) for tick in ticks.names}


def _left_out(pipeline: Pipeline, table: Table, ticks: TickRange, verdicts: Mapping[TickName, Audit]) -> set[TickName]:
    """The ticks that were refused because they are empty.

    Raises: AuditMissing for other refused ticks, or if none of `ticks` passed.
    """
    empty = {tick for tick, verdict in verdicts.items() if not verdict.passed and not verdict.rows_read}
    if not any(verdict.passed for tick, verdict in verdicts.items() if tick >= ticks.first):
        empty = set()
    for tick, verdict in verdicts.items():
        if not verdict.passed and tick not in empty:
            raise _refused(pipeline, table, tick, verdict)
    return empty


def _tell_left_out(pipeline: Pipeline, table: Table, ticks: TickRange, empty: set[TickName]) -> None:
    """Log the empty ticks. Raises: TicksEmpty if some are of `ticks`; those of earlier ticks were told at their time."""
    if not empty:
        return
    told = (
        f"pipeline {pipeline.name!r}, table {table.name!r}: {format_count(len(empty), 'tick')} of the range {ticks} have no "
        f"rows and are left out: first {min(empty)}, last {max(empty)}; the others are published. Deliver the rows and ingest "
        "these ticks again; if they are rightly empty, declare `may_be_empty`"
    )
    if any(tick >= ticks.first for tick in empty):
        raise TicksEmpty(told)
    log.warning("%s", told)


def _audited_rows(pipeline: Pipeline, table: Table, verdicts: Sequence[Audit], platform: Platform) -> pa.Table:
    """The accepted rows of the ticks, each from the file of its tick's latest audit."""
    files: defaultdict[tuple[str, str], list[TickName]] = defaultdict(list)
    for audit in verdicts:
        files[audit.staging, audit.staging_sha256].append(audit.tick)
    parts = [_rows(pipeline, table, name, digest, of_file, platform) for (name, digest), of_file in files.items()]
    return pa.concat_tables(parts).combine_chunks()


def _check_audited(pipeline: Pipeline, table: Table, tick: TickName, verdict: Audit | None) -> Audit:
    """Return the verdict. Raises: AuditMissing if there is none."""
    if verdict is None:
        at = f"pipeline {pipeline.name!r}, table {table.name!r}, tick {tick}"
        raise AuditMissing(f"{at}: this tick is not audited, so nothing is published; run audit first")
    return verdict


def _refused(pipeline: Pipeline, table: Table, tick: TickName, verdict: Audit) -> AuditMissing:
    why = next((f"{f['sentence']}; found {f['observed']}" for f in verdict.failures if f["refuses"] == "batch"), "")
    return AuditMissing(
        f"pipeline {pipeline.name!r}, table {table.name!r}, tick {tick}: the audit refused the batch, so no tick of the range "
        f"is published: {why}. Correct the source, then run extract and audit again"
    )


def _rows(pipeline: Pipeline, table: Table, name: str, audited: str, ticks: list[TickName], platform: Platform) -> pa.Table:
    path = platform.settings.staging / name
    if not path.exists() or of_file(path) != audited:
        platform.shared.fetch(shared_name(path, platform), path)
    if not path.exists() or of_file(path) != audited:
        raise AuditMissing(
            f"pipeline {pipeline.name!r}, table {table.name!r}, ticks {ticks[0]} to {ticks[-1]}: the staged file {path} "
            f"{'changed after the audit' if path.exists() else 'is gone'}; run extract and audit again"
        )
    rows = pq.read_table(path)
    fields = [pa.field(column.name, lake_type(column)) for column in table.lake_columns]
    if table.time is not None:
        rows = rows.filter(pc.is_in(rows["tick"], tick_array(ticks, pipeline.schedule)))
        fields.append(pa.field("tick", tick_type(pipeline.schedule)))
    # A column may be text because of another tick's rows. It is converted back: in the ticks that passed, every value fits.
    rows = in_declared_types(rows.select([field.name for field in fields]), table)
    return rows.cast(pa.schema(fields)).replace_schema_metadata(None)


def _replace_reference(name: str, rows: pa.Table, ticks: TickRange, platform: Platform) -> tuple[int, bool]:
    """Write the table unless the lake has the same rows, so that a new version means a change."""
    if platform.lake.holds(name, rows):
        return platform.lake.version(name), False
    return platform.lake.replace(name, rows, note=f"publish {ticks}").version, True
