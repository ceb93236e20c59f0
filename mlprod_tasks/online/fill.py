"""Fill the online store from the lake: build the next generation and write only what changed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.online.build_entries import Horizon, written
from mlprod_tasks.online.plan import HEADER, EntryGroup, GroupState, Header, micros, plan, serving_of
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.ledger import Publication

log = logging.getLogger(__name__)
ATTEMPTS = 10
MEGABYTE = 1_000_000


class FillLost(RuntimeError):
    """Other fills were faster at each attempt; this one has written nothing."""


@dataclass(frozen=True)
class Filled:
    """The result of a fill, and its cost.

    written, removed: numbers of entries. bytes: bytes sent. groups: the state of every group by its name. missing: by table,
    the ticks between the first and the last one read that have no partition; features are computed without them.
    """

    pipeline: str
    tick: str
    generation: int
    entries: int
    written: int
    removed: int
    bytes: int
    seconds: float
    groups: dict[str, GroupState]
    missing: dict[str, tuple[str, ...]]

    @property
    def sentence(self) -> str:
        gaps = "".join(f"; {table} has no partition of {', '.join(ticks)}" for table, ticks in self.missing.items())
        return (
            f"{self.pipeline}: generation {self.generation} at {self.tick}: {self.entries:,} entries, {self.written:,} written "
            f"and {self.removed:,} removed, {self.bytes / MEGABYTE:.1f} MB in {self.seconds:.1f} s{gaps}"
        )


@dataclass(frozen=True)
class _Next:
    """The changes that turn a generation into the next one."""

    tick: TickName
    put: list[tuple[bytes, bytes]]
    removed: list[bytes]
    written: int
    groups: dict[str, GroupState]
    missing: dict[str, tuple[str, ...]]


class _Changes:
    """Collects the changes of the next generation, by comparing digests."""

    def __init__(self, known: Mapping[str, Mapping[bytes, bytes]]) -> None:
        self._known = known
        self.put: list[tuple[bytes, bytes]] = []
        self.removed: list[bytes] = []
        self.written = 0  # entries

    def add(self, group: EntryGroup, entries: Iterable[tuple[bytes, bytes]]) -> tuple[int, int]:
        """Compare a group's entries with the store. Returns their number and their bytes."""
        before = self._known.get(group.id.hex(), {})
        digests: dict[bytes, bytes] = {}
        size = 0
        for key, value in entries:
            digests[key] = hashlib.blake2b(value, digest_size=16).digest()
            size += len(value)
            if before.get(key) != digests[key]:
                self.put.append((key, value))
                self.written += 1
        self.removed += [key for key in before if key not in digests]
        if digests != before or group.id.hex() not in self._known:
            self.put.append((group.manifest, msgspec.msgpack.encode(digests)))
        return len(digests), size

    def drop(self, ids: Iterable[str]) -> None:
        """Remove groups that are no longer declared."""
        for id_ in ids:
            self.removed += [*self._known[id_], bytes.fromhex(id_) + b"m"]


def fill_online(pipeline: Pipeline, tick: Tick | None, platform: Platform, *, back: bool = False) -> Filled:
    """Fill the online store from the published tables, as of the start of `tick` (None: the newest one).

    Afterwards it answers requests for times from `look_back` before it. A store that is at a later tick stays there, so ticks
    may be filled in any order, unless `back` is set. Running it twice changes nothing; a killed fill leaves the previous
    generation.

    Raises: TableMissing if a table was never ingested; StoreUnavailable; FillLost.
    """
    began = time.monotonic()
    following, generation = _replace(pipeline, tick, platform, back)
    filled = Filled(
        pipeline.name,
        str(following.tick),
        generation,
        sum(state.keys for state in following.groups.values()),
        following.written,
        len(following.removed),
        sum(len(value) for _, value in following.put),
        time.monotonic() - began,
        {state.name: state for state in following.groups.values()},
        following.missing,
    )
    log.info("%s", filled.sentence)
    return filled


def _log_retry(state: RetryCallState) -> None:
    log.info("%s: another fill was faster; computing the changes again", state.args[0].name)


@retry(retry=retry_if_exception_type(FillLost), stop=stop_after_attempt(ATTEMPTS), before_sleep=_log_retry, reraise=True)
def _replace(pipeline: Pipeline, tick: Tick | None, platform: Platform, back: bool) -> tuple[_Next, int]:
    """Compute the next generation and write it, unless it equals the current one.

    Returns it with its number.
    """
    lost = FillLost(
        f"{pipeline.name}: another fill of the online store was faster in each of {ATTEMPTS} attempts: run only one at a time"
    )
    store = platform.online_store
    stored = store.read(pipeline.name, [HEADER])
    base = None if stored is None else stored.generation
    header = None if stored is None or stored.values[0] is None else msgspec.msgpack.decode(stored.values[0], type=Header)
    known = {} if header is None else _manifests(pipeline, header, base, platform)
    if known is None:
        raise lost
    following = _next_generation(pipeline, plan(pipeline), tick, header, known, platform, back)
    changed = following.put or following.removed or header is None or header.groups != following.groups
    if base is not None and not changed:
        return following, base
    next_header = Header(str(following.tick), platform.clock.now().isoformat(), following.groups)
    put = [*following.put, (HEADER, msgspec.msgpack.encode(next_header))]
    generation = store.replace(pipeline.name, base, put, following.removed)
    if generation is None:
        raise lost
    return following, generation


def _manifests(
    pipeline: Pipeline, header: Header, base: int | None, platform: Platform
) -> dict[str, dict[bytes, bytes]] | None:
    """By group id, the digest of every entry of generation `base`.

    Returns None if it is no longer the current one.
    """
    ids = list(header.groups)
    stored = platform.online_store.read(pipeline.name, [bytes.fromhex(one) + b"m" for one in ids])
    if stored is None or stored.generation != base:
        return None
    decode = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
    return {one: decode(value) if value else {} for one, value in zip(ids, stored.values, strict=True)}


def _next_generation(
    pipeline: Pipeline,
    groups: Sequence[EntryGroup],
    tick: Tick | None,
    header: Header | None,
    known: Mapping[str, Mapping[bytes, bytes]],
    platform: Platform,
    back: bool,
) -> _Next:
    # Read before the tables are opened: then everything that counts as complete is in the tables.
    published = _published(pipeline, groups, platform)
    as_of = tick.name if tick is not None else max((max(days) for days in published.values() if days), default=None)
    if as_of is None:
        raise TableMissing(f"{pipeline.name}: no tick of {', '.join(published)} is in the lake: ingest one first")
    if header is not None and not back:
        as_of = max(as_of, tick_named(header.tick))
    snapshot = Snapshot(pipeline, platform)
    look_back = serving_of(pipeline).look_back
    assert look_back is not None
    horizon = Horizon(as_of, micros(pipeline.schedule.moment(as_of)), look_back)
    changes, states = _Changes(known), dict[str, GroupState]()
    with engine(spill=platform.settings.home / "spill", lake=platform.lake) as connection:
        connection.execute("SET preserve_insertion_order = true")
        for group, entries in written(snapshot, groups, horizon, connection):
            keys, size = changes.add(group, entries)
            table = group.feature.table
            states[group.id.hex()] = GroupState(
                group.name,
                table,
                snapshot.versions[table],
                _complete_to(pipeline, table, published[table], as_of),
                horizon.exact_from,
                keys,
                size,
            )
    changes.drop(set(known) - set(states))
    missing = {
        table: _missing_ticks(pipeline, days, horizon.first(snapshot, groups), as_of) for table, days in published.items()
    }
    missing = {table: ticks for table, ticks in missing.items() if ticks}
    return _Next(as_of, changes.put, changes.removed, changes.written, states, missing)


def _published(pipeline: Pipeline, groups: Sequence[EntryGroup], platform: Platform) -> dict[str, set[TickName]]:
    """The published ticks of each table that is read, with or without rows."""
    days: dict[str, set[TickName]] = {}
    for group in groups:
        table = pipeline.table(group.feature.table)
        if table.name not in days:
            of_table = platform.ledger.all(Publication, pipeline=pipeline.name, table_name=table.name)
            days[table.name] = {row.tick for row in of_table}
            if table.time is not None:
                days[table.name] |= platform.lake.ticks(names.raw(pipeline, table.name))
    return days


def _complete_to(pipeline: Pipeline, name: str, published: Iterable[TickName], as_of: TickName) -> int:
    """The time up to which the table is complete: everything known before it has been read.

    The partition of tick t holds what became known before t starts; for a table planned ahead (ticks_ahead), what becomes known
    during t. A reference table is read as a whole: it is as of the last tick at which it was ingested.
    """
    table = pipeline.table(name)
    newest = max((day for day in published if day <= as_of), default=None)
    if newest is None:
        return micros(pipeline.schedule.moment(as_of if table.time is None else pipeline.schedule.first))
    return micros(pipeline.schedule.moment(pipeline.schedule.shift(newest, 1 if table.ticks_ahead else 0)))


def _missing_ticks(pipeline: Pipeline, published: set[TickName], first: TickName, as_of: TickName) -> tuple[str, ...]:
    """The ticks without a partition between the first and the last one that have one."""
    present = sorted(day for day in published if first <= day <= as_of)
    if not present:
        return ()
    return tuple(str(day) for day in pipeline.schedule.names(present[0], present[-1]) if day not in published)
