"""What the aggregates of a trailing feature add up from each event, grouped by when it becomes known. Loads no library."""

from __future__ import annotations

from dataclasses import dataclass

from mlprod_tasks.declaration.aggregate import (
    Aggregate,
    Count,
    MeanGap,
    Ordered,
    Rate,
    SinceFirst,
    SinceLast,
    Sum,
    Summed,
)
from mlprod_tasks.declaration.feature import Trailing
from mlprod_tasks.declaration.reads import late_columns, taken_from
from mlprod_tasks.declaration.table import Table


@dataclass(frozen=True)
class AggregateGroup:
    """The aggregates of a feature that are sums, whose values become known at the same time."""

    late: tuple[str, ...]  # the columns with this time, in addition to the row's known_at
    aggregates: tuple[Summed, ...]

    @property
    def measures(self) -> tuple[Summed, ...]:
        """All aggregates but counts of all rows: they need a value from each event."""
        return tuple(aggregate for aggregate in self.aggregates if value_of(aggregate))


def groups_of(table: Table, feature: Trailing) -> list[AggregateGroup]:
    """The aggregates of a feature that are sums, grouped by the time at which their values become known."""
    groups: dict[tuple[str, ...], list[Summed]] = {}
    for aggregate in feature.aggregates:
        if isinstance(aggregate, Summed):
            groups.setdefault(known_with(table, aggregate), []).append(aggregate)
    return [AggregateGroup(late, tuple(aggregates)) for late, aggregates in groups.items()]


def series_of(table: Table, feature: Trailing) -> dict[tuple[tuple[str, ...], str], list[Ordered]]:
    """The other aggregates of a feature, by the time at which their values become known and the SQL of the value."""
    series: dict[tuple[tuple[str, ...], str], list[Ordered]] = {}
    for aggregate in feature.aggregates:
        if isinstance(aggregate, Ordered):
            series.setdefault((known_with(table, aggregate), value_of(aggregate)), []).append(aggregate)
    return series


def known_with(table: Table, aggregate: Aggregate) -> tuple[str, ...]:
    """The columns whose times an aggregate's values become known with, in addition to the row's known_at."""
    return late_columns(table, taken_from(aggregate))


def is_sum(aggregate: Aggregate) -> bool:
    """Whether an aggregate is the sum of its events' values, and not their mean."""
    return isinstance(aggregate, Sum | Count)


def value_of(aggregate: Aggregate) -> str:
    """SQL of the value that an event adds: a column, or 1 and 0 for a condition; null if the event does not count.

    It is '' if all events count and add no value.
    """
    match aggregate:
        case Count():
            return _one_or_zero(aggregate.where) if aggregate.where else ""
        case SinceFirst() | SinceLast() | MeanGap() if not aggregate.where:
            return ""
        case SinceFirst() | SinceLast() | MeanGap():
            value = "1"
        case Rate():
            value = _one_or_zero(aggregate.sql)
        case _:
            value = f'"{aggregate.column}"'
    return f"CASE WHEN ({aggregate.where}) THEN {value} END" if aggregate.where else value


def _one_or_zero(condition: str) -> str:
    return f"CAST(CAST(({condition}) AS BOOLEAN) AS TINYINT)"
