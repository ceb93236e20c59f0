"""Compute trailing features of a large tick before its rows, where they read more events than one process is to hold.

Three rounds, each of pieces of work that run where the settings say: what rows ask for, and events, are written by a hash of
their key; then the events of some keys at a time are aggregated for what asks for these keys. What a process holds is bounded
by MLPROD_EVENT_ROWS, and each event is read twice, however many pieces a tick has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial, reduce
from operator import attrgetter, or_
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, TickRange, Trailing
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features import partial_sums, trailing
from mlprod_tasks.features import rows as scored
from mlprod_tasks.features.build import features_for, looked_back
from mlprod_tasks.features.event_parts import CHUNKS_A_PART, EventPart, buckets_for, event_parts
from mlprod_tasks.features.events import partitions_of, read_events
from mlprod_tasks.features.key_ranges import KeyRange
from mlprod_tasks.features.keys import KeyCodes, key_codes
from mlprod_tasks.features.known import MICROSECOND
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.features.staged_values import ASK, BUCKET, PIECE, EventGroup, PartDone, StagedGroup
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.exchange import Exchange, FolderExchange
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.row_files import schema_of
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.threads import threads_here

# Of a file that is read in parts: no smaller than what is worth a read, no larger than what is worth skipping.
GROUP_ROWS = (4_096, 100_000)
Chunk = tuple[TickRange, tuple[int, int]]  # ticks, and which share of their rows

log = logging.getLogger(__name__)


def stage_events(
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    versions: Mapping[str, int],
    only: Sequence[str] | None,
    ranges: Sequence[KeyRange],
    folder: Exchange,
) -> tuple[StagedGroup, ...]:
    """Compute the trailing features of the rows of `ticks`, those of `ranges`, that read more than MLPROD_EVENT_ROWS events.

    The values are those of `build`, bit for bit. only: as of `build`. folder: for files, of those who
    compute and of those who read the values later.

    Raises: TableMissing; NotComputed.
    """
    snapshot = Snapshot(pipeline, platform, versions)
    groups = _groups(pipeline, ticks, platform, snapshot, only, folder)
    if not groups:
        return ()
    compute, what = compute_of(platform.settings), f"of {pipeline.name}, {ticks.first}"
    pieces = list(enumerate(ranges))
    list(compute.map(partial(write_asks, pipeline, ticks, platform, versions, groups), pieces, f"what rows ask for {what}"))
    chunks = [(group, list(enumerate(_chunks(snapshot, group, platform)))) for group in groups]
    each = [(group.number, number, chunk) for group, its in chunks for number, chunk in its]
    counted = compute.map(partial(write_events, pipeline, platform, versions, groups), each, f"events {what}")
    counts = {group.number: np.array([next(counted) for _ in its], np.int64) for group, its in chunks}
    parts = {group.number: _parts(group, counts[group.number], platform) for group in groups}
    work = [
        (group.number, n, part, len(chunks[group.number][1])) for group in groups for n, part in enumerate(parts[group.number])
    ]
    work.sort(key=lambda one: -one[2].events)  # the largest first, so that none is waited for alone at the end
    done = list(compute.map(partial(aggregate_parts, groups, len(ranges)), work, f"parts of events {what}"))
    by_group = {group.number: [one for (of, *_), one in zip(work, done, strict=True) if of == group.number] for group in groups}
    staged = tuple(_staged(group, parts[group.number], by_group[group.number]) for group in groups)
    for group, its in chunks:
        folder.delete(group.events_file(number) for number, _ in its)
    return staged


def reads_too_many_events(
    pipeline: Pipeline, ticks: TickRange, platform: Platform, versions: Mapping[str, int] | None = None
) -> bool:
    """Whether trailing features of `ticks` read more than MLPROD_EVENT_ROWS events of a table and key. Raises: TableMissing."""
    snapshot, schedule = Snapshot(pipeline, platform, versions), pipeline.schedule
    tables = {feature.table for feature in pipeline.features if isinstance(feature, Trailing)}
    # All events up to the tick are an upper bound that costs a look into the log.
    known = schedule.range(schedule.first, ticks.last)
    if all(snapshot.rows(name, known) <= platform.settings.event_rows for name in tables):
        return False
    return bool(_groups(pipeline, ticks, platform, snapshot, None, FolderExchange(Path())))


def _staged(group: EventGroup, parts: list[EventPart], done: list[PartDone]) -> StagedGroup:
    sums, others = ([n for n, one in enumerate(parts) if kept(one)] for kept in (attrgetter("sums"), attrgetter("others")))
    return StagedGroup(group, schema_of(group.folder, group.events_file(0)), tuple(sums), tuple(others), tuple(done))


def _groups(
    pipeline: Pipeline, ticks: TickRange, platform: Platform, snapshot: Snapshot, only: Sequence[str] | None, folder: Exchange
) -> list[EventGroup]:
    """The trailing features by their table and key, that read too many events."""
    by_key: dict[tuple[str, tuple[tuple[str, str], ...]], list[Trailing]] = {}
    for feature in features_for(pipeline, only):
        if isinstance(feature, Trailing):
            by_key.setdefault((feature.table, tuple(sorted(feature.by.items()))), []).append(feature)
    if not by_key or (asked := _asked(pipeline, ticks, platform, snapshot)) is None:
        return []
    groups: list[EventGroup] = []
    for (name, _), features in by_key.items():
        table = pipeline.table(name)
        start, end, read = looked_back(pipeline, *asked, trailing.longest(features))
        read = partitions_of(snapshot, table, features, read)
        events = snapshot.rows(name, read)
        if events > (most := platform.settings.event_rows):
            late = snapshot.hides_late(name, read)
            groups.append(
                EventGroup(
                    len(groups), table, tuple(features), start, end, read, late, asked, buckets_for(events, most), folder
                )
            )
    return groups


def _asked(pipeline: Pipeline, ticks: TickRange, platform: Platform, snapshot: Snapshot) -> tuple[int, int] | None:
    """The moments of the first and the last row (microseconds); None without rows."""
    query = scored.query(pipeline, [])
    with engine(lake=platform.lake) as connection:
        found = snapshot.read(
            connection,
            lambda rows: f"SELECT min(epoch_us(predict_at)) AS a, max(epoch_us(predict_at)) AS b FROM ({query(rows)})",
            pipeline.entity_name,
            ticks,
            scored=True,
        ).to_pylist()[0]
    return None if found["a"] is None else (found["a"], found["b"])


def write_asks(
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    versions: Mapping[str, int],
    groups: Sequence[EventGroup],
    pieces: Iterator[tuple[int, KeyRange]],
) -> Iterator[int]:
    """Write what the rows of each piece ask of each group, and yield the number of rows. Work of `Compute.map`."""
    snapshot = Snapshot(pipeline, platform, versions)
    query = scored.query(pipeline, [feature for group in groups for feature in group.features])
    with engine(lake=platform.lake) as connection:
        for number, keys in pieces:
            rows = snapshot.read(connection, keys.of(query), pipeline.entity_name, ticks, scored=True)
            connection.register("asking", rows)
            for group in groups:
                by = ", ".join(map(identifier, group.by))
                asks = connection.sql(
                    f"SELECT CAST({number} AS BIGINT) AS {PIECE}, row_number() OVER () - 1 AS {ASK}, "
                    f"{_bucket(group.by, group.buckets)} AS {BUCKET}, * "
                    f"FROM (SELECT DISTINCT {by}, tick, predict_at FROM asking) ORDER BY {BUCKET}"
                ).to_arrow_table()
                _write(asks, group.folder, group.asks_file(number), group.buckets)
            connection.unregister("asking")
            yield rows.num_rows


def _bucket(columns: Sequence[str], buckets: int) -> str:
    return f"CAST(hash({', '.join(map(identifier, columns))}) % {buckets} AS BIGINT)"


def _chunks(snapshot: Snapshot, group: EventGroup, platform: Platform) -> list[Chunk]:
    """Ticks of events that are read and written at once; a tick alone that has too many, in shares."""
    most = max(1, platform.settings.event_rows // CHUNKS_A_PART)
    schedule, whole = group.ticks.schedule, (0, 1)
    chunks: list[Chunk] = []
    held: list[TickName] = []
    rows = 0
    for tick, count in sorted(snapshot.rows_per_tick(group.table.name, group.ticks).items()):
        if held and rows + count > most:
            chunks.append((TickRange(schedule, held[0], held[-1]), whole))
            held, rows = [], 0
        held.append(tick)
        rows += count
        if count > most:  # alone, since no other fits beside it
            chunks += [(TickRange(schedule, tick, tick), (share, -(-count // most))) for share in range(-(-count // most))]
            held, rows = [], 0
    if held:
        chunks.append((TickRange(schedule, held[0], held[-1]), whole))
    return chunks


def write_events(
    pipeline: Pipeline,
    platform: Platform,
    versions: Mapping[str, int],
    groups: Sequence[EventGroup],
    chunks: Iterator[tuple[int, int, Chunk]],
) -> Iterator[list[int]]:
    """Write the events of each chunk by the bucket of their key, and yield how many each has. Work of `Compute.map`.

    Events without a key are left out: no row has theirs.
    """
    snapshot = Snapshot(pipeline, platform, versions)
    with engine(lake=platform.lake) as connection:
        for of, number, (ticks, share) in chunks:
            group = groups[of]
            events = read_events(
                snapshot, group.table, group.features, group.start, group.end, ticks, connection, ties=True, share=share
            )
            if group.hides_late and "usable" not in events.column_names:
                events = events.append_column("usable", pa.nulls(events.num_rows, pa.int64()))
            events = _with_bucket(group, events, connection)
            _write(events, group.folder, group.events_file(number), group.buckets)
            yield np.bincount(events[BUCKET].to_numpy(), minlength=group.buckets).tolist()
            del events


def _with_bucket(group: EventGroup, events: pa.Table, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The events with a key, in the order of their buckets: those of the same key among the rows."""
    types, keys = schema_of(group.folder, group.asks_file(0)), {}
    for mine, theirs in sorted(group.features[0].by.items()):
        column = events[f"key_{theirs}"]
        keys[mine] = column if column.type == types.field(mine).type else column.cast(types.field(mine).type)
    # Threads give the rows of a large table back in any order.
    connection.register("event_keys", pa.table({**keys, "_row": np.arange(events.num_rows)}))
    known = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in keys)
    bucket = connection.sql(
        f"SELECT CASE WHEN {known} THEN {_bucket(list(keys), group.buckets)} ELSE -1 END AS {BUCKET} "
        "FROM event_keys ORDER BY _row"
    ).to_arrow_table()[BUCKET]
    connection.unregister("event_keys")
    numbers = bucket.to_numpy()
    order = np.argsort(numbers, kind="stable")[np.count_nonzero(numbers < 0) :]
    return events.append_column(BUCKET, bucket).take(pa.array(order))


def _parts(group: EventGroup, counts: np.ndarray, platform: Platform) -> list[EventPart]:
    most = platform.settings.event_rows
    sums, others = (bool(partial_sums.only(group.features, sums=kind)) for kind in (True, False))
    parts = event_parts(counts, most, sums=sums, others=others, asked=group.asked, look_back=trailing.longest(group.features))
    log.info("%s by %s: %d events in %d parts", group.table.name, ", ".join(group.by), int(counts.sum()), len(parts))
    for part in parts:
        if part.others and part.events > most and len(part.buckets) == 1:
            _warn(group, part, counts, platform)
    return parts


def _warn(group: EventGroup, part: EventPart, counts: np.ndarray, platform: Platform) -> None:
    """Tell of a key that is too heavy to hold, with aggregates that need all of its events at once."""
    theirs = [f"key_{name}" for _, name in sorted(group.features[0].by.items())]
    names, columns = [group.events_file(chunk) for chunk in range(len(counts))], [*theirs, BUCKET]
    reading = group.folder.reading(*names, where=_in(part.buckets), columns=columns)
    with reading as files, engine(lake=platform.lake) as connection:
        *key, events = connection.execute(
            f"SELECT {', '.join(map(identifier, theirs))}, count(*) AS n FROM read_parquet({listed(map(str, files))}) "
            f"WHERE {BUCKET} = {part.buckets[0]} GROUP BY ALL ORDER BY n DESC LIMIT 1"
        ).fetchall()[0]
    named = sorted({one.called for feature in partial_sums.only(group.features, sums=False) for one in feature.aggregates})
    log.warning(
        "table %r: %d rows in the window have %s, more than MLPROD_EVENT_ROWS, and %s need all of them at once: one process "
        "holds them. Shorter windows or counts, means and sums alone would be split",
        group.table.name, events, ", ".join(f"{name[4:]} {value!r}" for name, value in zip(theirs, key, strict=True)),
        ", ".join(named),
    )  # fmt: skip


def aggregate_parts(
    groups: Sequence[EventGroup], pieces: int, parts: Iterator[tuple[int, int, EventPart, int]]
) -> Iterator[PartDone]:
    """Aggregate the events of each part for what asks for its keys. Work of `Compute.map`.

    parts: with the number of their group and their own, and the number of the group's chunks.
    """
    with ThreadPoolExecutor(threads_here()) as pool:
        for of, number, part, chunks in parts:
            group, began = groups[of], time.process_time()
            rows = _asks(group, pieces, part)
            names = [group.events_file(chunk) for chunk in (range(chunks) if part.chunks is None else part.chunks)]
            asked = rows.table.select([PIECE, ASK])
            read = 0
            if part.sums:
                features = partial_sums.only(group.features, sums=True)
                events = _events(group, features, names, part)
                read = events.num_rows
                sums = partial_sums.partial_sums(group.table, features, events, rows, _joined(rows, events), pool)
                _write_values(
                    asked,
                    dict(zip(sums.column_names, sums.columns, strict=True)),
                    group.folder,
                    group.sums_file(number),
                    pieces,
                )
                del events, sums
            if part.others:
                features = partial_sums.only(group.features, sums=False)
                events = _events(group, features, names, part)
                read = events.num_rows
                others = dict(trailing.compute(group.table, features, events, rows, _joined(rows, events), pool))
                _write_values(asked, others, group.folder, group.others_file(number), pieces)
                del events, others
            yield PartDone(read, time.process_time() - began)


def _joined(rows: ScoredRows, events: pa.Table) -> Callable[[str, str], KeyCodes]:
    return cache(lambda mine, theirs: key_codes(rows.table[mine], events[f"key_{theirs}"]))


def _asks(group: EventGroup, pieces: int, part: EventPart) -> ScoredRows:
    """What all pieces ask for of the part's keys."""
    filters = _in(part.buckets)
    if part.asked is not None:
        first, after = (pa.scalar(moment, pa.timestamp("us", "UTC")) for moment in part.asked)
        filters &= (pc.field("predict_at") >= first) & (pc.field("predict_at") < after)
    with group.folder.reading(*(group.asks_file(piece) for piece in range(pieces)), where=filters) as files:
        table = pq.read_table(files, filters=filters).combine_chunks()
    at = table["predict_at"].cast(pa.int64()).to_numpy()
    order = np.argsort(at, kind="stable")
    return ScoredRows(table, at[order], order)


def _events(group: EventGroup, features: Sequence[Trailing], names: Sequence[str], part: EventPart) -> pa.Table:
    """The part's events, with the columns that some of the group's features read, as `trailing.query` names them for these."""
    columns = group.columns_for(features)
    schema = schema_of(group.folder, names[0])
    ties = [name for name in schema.names if name.startswith("tie_")] if trailing.stable_if_needed(features) else []
    kept = [name for name in schema.names if name.startswith("key_") or name == "usable"]
    filters = _in(part.buckets)
    if part.asked is not None:
        first, after = part.asked[0] - trailing.longest(features) // MICROSECOND, part.asked[1]
        filters &= reduce(or_, ((pc.field(at) >= first) & (pc.field(at) < after) for at in columns if at.startswith("at_")))
    with group.folder.reading(*names, where=filters, columns=[*columns, *kept, *ties, BUCKET]) as files:
        table = pq.read_table(files, columns=[*columns, *kept, *ties], filters=filters)
    if ties:  # events of the same moment may come from several files
        table = table.sort_by([(name, "ascending") for name in ties])
    return pa.table({columns.get(name, name): table[name] for name in [*columns, *kept]})


def _in(buckets: Sequence[int]) -> pc.Expression:
    # Not `isin`: by these, what has none of them is not read.
    return reduce(or_, (pc.field(BUCKET) == bucket for bucket in buckets))


def _write(table: pa.Table, folder: Exchange, name: str, cuts: int) -> None:
    """Write rows in an order by which they are read in about so many parts."""
    smallest, largest = GROUP_ROWS
    with folder.writing(name) as being_made:
        pq.write_table(table, being_made, row_group_size=min(largest, max(smallest, table.num_rows // cuts)))


def _write_values(asked: pa.Table, columns: Mapping[str, pa.Array], folder: Exchange, name: str, pieces: int) -> None:
    table = pa.table({name: asked[name] for name in asked.column_names} | dict(columns))
    _write(table.sort_by([(PIECE, "ascending")]), folder, name, pieces)
