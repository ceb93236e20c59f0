"""What of a declaration lies in the online store: a group of entries for each look-up, as-of and trailing feature."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlprod_tasks.declaration import AsOf, Lookup, Pipeline, Trailing
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.serving import Serving

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HEADER = b"header"
_pack = msgspec.msgpack.Encoder().encode


class GroupState(msgspec.Struct, frozen=True):
    """How far one group of a generation goes. Moments in microseconds since 1970.

    Everything known before `complete_to` was there when it was filled; any moment from `exact_from` on is answered. `version`
    is the Delta version of the table that was read.
    """

    name: str
    table: str
    version: int
    complete_to: int
    exact_from: int
    keys: int
    bytes: int


class Header(msgspec.Struct, frozen=True):
    """What a generation is: the tick at whose start it stands, when it was made, the state of each group."""

    tick: str
    filled_at: str
    groups: dict[str, GroupState]


@dataclass(frozen=True)
class EntryGroup:
    """The entries of one declared feature: one for each key, found by the values of `mine` in the request.

    `id` is a digest of the declaration that an entry depends on: what was filled for another one is never read.
    """

    id: bytes
    name: str
    feature: Lookup | AsOf | Trailing
    mine: tuple[str, ...]
    theirs: tuple[str, ...]
    names: tuple[str, ...] = field(default=())

    @property
    def manifest(self) -> bytes:
        """The key under which the digests of all entries lie."""
        return self.id + b"m"

    def key(self, values: Sequence[Any]) -> bytes:
        """The key of an entry. values: in the order of `mine`, as `plain` writes them; none of them null."""
        return self.id + _pack(values)

    def key_of(self, row: Mapping[str, Any]) -> bytes | None:
        """The key of a row's entry; None where a null makes that it matches nothing."""
        values = [row[name] for name in self.mine]
        return None if None in values else self.id + _pack(values)


def plan(pipeline: Pipeline) -> tuple[EntryGroup, ...]:
    """The groups of a use case, in the order of declaration."""
    return tuple(_group(pipeline, feature) for feature in pipeline.features if isinstance(feature, Lookup | AsOf | Trailing))


def serving_of(pipeline: Pipeline) -> Serving:
    """The declared policy; the usual one where none is declared."""
    return pipeline.serving or Serving()


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
