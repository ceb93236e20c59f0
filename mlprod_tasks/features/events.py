"""Read the events that trailing features aggregate, where a condition that fails for an event fails alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Table, TickRange, Trailing
from mlprod_tasks.declaration.aggregate_groups import value_of
from mlprod_tasks.features import trailing
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform.failed_values import REMEDY, VALUE_FAILED, trying_each
from mlprod_tasks.platform.sql import identifier

log = logging.getLogger(__name__)


def read_events(
    snapshot: Snapshot,
    table: Table,
    features: Sequence[Trailing],
    start: int,
    end: int,
    ticks: TickRange,
    connection: duckdb.DuckDBPyConnection,
    *,
    ties: bool = False,
    share: tuple[int, int] = (0, 1),
    kept: Callable[[str], str] | None = None,
) -> pa.Table:
    """The events of `trailing.query`, known in [start, end) (microseconds since 1970), from the partitions of `ticks`.

    share: (i, n) reads the i-th of n shares of them, by a hash of the table's key; together they are all. kept: turns SQL of
    the table's rows into that of the rows to read; None reads all.

    A condition that cannot be computed for an event (a failed cast, an overflow, a division by zero) is null for it alone, so
    that the event does not count, in batch as on request and in training; a warning says for how many. It is not the fault of
    a row that is scored, and one such event would else send all rows of its key to the fallback.
    """
    query = partial(trailing.query, table, features, start, end, snapshot.hides_late(table.name, ticks), ties=ties)
    try:
        return snapshot.read(connection, _share(query(), table, *share, kept), table.name, ticks)
    except VALUE_FAILED as error:
        with trying_each(connection, error):
            tried = snapshot.read(connection, _share(query(alone=True), table, *share, kept), table.name, ticks)
    return _computed(table, features, tried)


def _share(
    query: Callable[[str], str], table: Table, number: int, shares: int, kept: Callable[[str], str] | None
) -> Callable[[str], str]:
    if kept is not None:
        return _share(lambda relation: query(kept(relation)), table, number, shares, None)
    if shares == 1:
        return query
    key = ", ".join(map(identifier, table.key))
    return lambda relation: query(f"(SELECT * FROM {relation} WHERE hash({key}) % {shares} = {number})")


def partitions_of(snapshot: Snapshot, table: Table, features: Sequence[Trailing], ticks: TickRange) -> TickRange:
    """The ticks to read for what became known in `ticks`: none before the table's first one.

    A value of an old row may have become known just now: then all partitions are read.
    """
    oldest = snapshot.oldest(table.name)
    if oldest is None:
        return TickRange(ticks.schedule, ticks.last, ticks.last)
    first = oldest if trailing.reads_late(table, features) else max(oldest, ticks.first)
    return TickRange(ticks.schedule, min(first, ticks.last), ticks.last)


def _computed(table: Table, features: Sequence[Trailing], tried: pa.Table) -> pa.Table:
    """Take the values out of their structs, and warn of those that have none because they failed."""
    for i, value in enumerate(trailing.values_of(features)):
        column = tried[f"value_{i}"]
        if column.null_count:
            aggregates = (a for feature in features for a in feature.aggregates)
            failing = next(a for a in aggregates if value_of(a) == value)
            log.warning(
                "table %r: %s cannot be computed for %d of %d rows in the window (a failed cast, an overflow, a division by "
                "zero), which do not count for it. %s",
                table.name, failing, column.null_count, len(column), REMEDY,
            )  # fmt: skip
        tried = tried.set_column(tried.column_names.index(f"value_{i}"), f"value_{i}", pc.struct_field(column, "v"))
    return tried
