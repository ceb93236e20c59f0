"""The content of the online store: one group of entries per stored feature, and one for the keys of a population.

Stored features are look-ups, as-of values and windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlprod_tasks.declaration import AsOf, Count, Lookup, Pipeline, Population, Trailing
from mlprod_tasks.declaration.feature import EVER, names_of
from mlprod_tasks.declaration.serving import Serving

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HEADER = b"header"
_pack = msgspec.msgpack.Encoder().encode


class GroupState(msgspec.Struct, frozen=True):
    """The state of one group in a generation. Times in microseconds since 1970.

    complete_to: the group holds everything known before this time. exact_from: requests from this time on get exact features.
    version: the Delta version of the table that was read.
    """

    name: str
    table: str
    version: int
    complete_to: int
    exact_from: int
    keys: int
    bytes: int


class Header(msgspec.Struct, frozen=True):
    """The header of a generation.

    tick: the store is as of its start; filled_at: when it was made; groups: states by id.
    """

    tick: str
    filled_at: str
    groups: dict[str, GroupState]


@dataclass(frozen=True)
class EntryGroup:
    """The entries of one declared feature: one per key, found by the values of `mine` in the request.

    id: a digest of the part of the declaration that entries depend on, so entries of a changed declaration are never read.
    """

    id: bytes
    name: str
    feature: Lookup | AsOf | Trailing
    mine: tuple[str, ...]
    theirs: tuple[str, ...]
    names: tuple[str, ...] = field(default=())

    @property
    def manifest(self) -> bytes:
        """The key of the group's manifest: the digests of all its entries."""
        return self.id + b"m"

    def key(self, values: Sequence[Any]) -> bytes:
        """The key of an entry.

        values: in the order of `mine`, as `plain` gives them; none may be null.
        """
        return self.id + _pack(values)

    def key_of(self, row: Mapping[str, Any]) -> bytes | None:
        """The key of a row's entry; None if a value is null, which matches nothing."""
        values = [row[name] for name in self.mine]
        return None if None in values else self.id + _pack(values)


def plan(pipeline: Pipeline) -> tuple[EntryGroup, ...]:
    """The groups of a use case, in the order of declaration; that of its population comes last."""
    stored = (feature for feature in pipeline.features if isinstance(feature, Lookup | AsOf | Trailing))
    groups = tuple(_group(pipeline, feature) for feature in stored)
    return groups if pipeline.population is None else (*groups, population_group(pipeline, pipeline.population))


def population_group(pipeline: Pipeline, population: Population) -> EntryGroup:
    """The group whose only value is how many rows show that a key is in the population at a moment: 0 if it is not.

    These are the rows that became known before the moment, and not longer ago than `within`: a window. Its name cannot be that
    of a declared feature.
    """
    name = f"population {population.name}"
    window = EVER if population.within is None else population.within
    shown = Trailing(name, population.seen_in, {one: one for one in population.by}, (window,), (Count(where=population.where),))
    return replace(_group(pipeline, shown), names=(name,))


def serving_of(pipeline: Pipeline) -> Serving:
    """The declared serving policy, or the default one; its lengths of time are known."""
    return (pipeline.serving or Serving()).of(pipeline.schedule)


def micros(moment: datetime) -> int:
    """Microseconds since 1970. Raises: ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - EPOCH) // MICROSECOND


def _group(pipeline: Pipeline, feature: Lookup | AsOf | Trailing) -> EntryGroup:
    table = pipeline.table(feature.table)
    pairs = sorted((feature.by if isinstance(feature, Trailing) else feature.on).items())
    names = names_of(feature)
    columns = [(column.name, column.kind, column.known_at, column.personal) for column in table.columns]
    rests_on = (feature, table.name, table.key, table.time, table.known_after, table.ticks_ahead, columns)
    schedule = pipeline.schedule if table.ticks_ahead else None
    return EntryGroup(
        hashlib.sha256(repr((rests_on, schedule)).encode()).digest()[:8],
        feature.name if isinstance(feature, Trailing) else f"{feature.table} ({names[0]})",
        feature,
        tuple(mine for mine, _ in pairs),
        tuple(theirs for _, theirs in pairs),
        names,
    )
