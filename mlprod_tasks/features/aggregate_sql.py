"""Write an aggregate as SQL over the events of a key."""

from __future__ import annotations

from mlprod_tasks.declaration import (
    Count,
    CountDistinct,
    First,
    Last,
    MeanGap,
    Quantile,
    Rate,
    SinceFirst,
    SinceLast,
    Slope,
    Sum,
    Table,
)
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.platform.sql import identifier

MICROSECONDS_PER_HOUR, MICROSECONDS_PER_DAY = "3.6e9", "8.64e10"


def aggregated(aggregate: Aggregate, table: Table, moment: str, within: str, rate: str) -> str:
    """SQL of an aggregate in a query of events `e` joined to rows `r`, grouped by row.

    moment: SQL of the time at which a value becomes known. within: the condition of the events that count. rate: the column
    that holds the condition of a rate as 1 or 0.
    """
    only = f"FILTER (WHERE {within})"
    match aggregate:
        case Count():
            return f"count(*) {only}"
        case Rate():
            return f"avg(e.{rate}) {only}"
        case SinceFirst():
            return f"max({_hours(moment, 'r.predict_at')}) {only}"
        case SinceLast():
            return f"min({_hours(moment, 'r.predict_at')}) {only}"
        case MeanGap():
            between = _hours(f"min({moment}) {only}", f"max({moment}) {only}")
            return f"{between} / nullif(count(*) {only} - 1, 0)"
    column = f"e.{identifier(aggregate.column)}"
    match aggregate:
        case First() | Last():
            order = ", ".join([f"known := {moment}", *(f"key_{i} := e.{identifier(k)}" for i, k in enumerate(table.key))])
            pick = "min_by" if isinstance(aggregate, First) else "max_by"
            return f"{pick}({column}, struct_pack({order})) FILTER (WHERE {within} AND {column} IS NOT NULL)"
        case CountDistinct():
            return f"count(DISTINCT {column}) {only}"
    number = f"CAST({column} AS INTEGER)" if table.column(aggregate.column).kind == "bool" else column
    if isinstance(aggregate, Sum):
        return f"CAST(sum({number}) {only} AS DOUBLE)"
    match aggregate:
        case Quantile():
            return f"quantile_cont(CAST({number} AS DOUBLE), {aggregate.q}) {only}"
        case Slope():
            known = f"FILTER (WHERE {within} AND {column} IS NOT NULL)"
            days = f"CAST(date_diff('microsecond', r.predict_at, {moment}) AS DOUBLE) / {MICROSECONDS_PER_DAY}"
            return f"CASE WHEN min({moment}) {known} < max({moment}) {known} THEN regr_slope({number}, {days}) {only} END"
    name = {"Mean": "avg", "Min": "min", "Max": "max", "Std": "stddev_samp"}[type(aggregate).__name__]
    return f"{name}({number}) {only}"


def _hours(start: str, end: str) -> str:
    return f"CAST(date_diff('microsecond', {start}, {end}) AS DOUBLE) / {MICROSECONDS_PER_HOUR}"
