"""SQL of the time at which a row or a value becomes known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from mlprod_tasks.declaration import AtTick, Pipeline, Table
from mlprod_tasks.platform.lake import USABLE
from mlprod_tasks.platform.sql import identifier

MICROSECOND = timedelta(microseconds=1)
TYPES = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "text": "VARCHAR",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
    "date": "DATE",
}
# The relation with every tick (`tick`) and its start; the caller must register it before running the SQL.
CALENDAR = "calendar"
# Begins with _, as no declared column may: the calendar is joined to tables of any columns.
STARTS = "_starts_at"
KNOWN_AT = "_known_at"  # when a row became known
# Tells rows for which a value cannot be computed.
FAILED = "_failed"


def known_at(table: Table) -> str:
    """SQL of the time at which a row of `table` became known.

    A table planned ahead (ticks_ahead), or of snapshots, needs `calendar` joined on `tick`: its rows are known when their tick
    starts.
    """
    if table.snapshots:  # what a tick reads was there before it started
        return f"({CALENDAR}.{STARTS} - INTERVAL 1 MICROSECOND)"
    if table.ticks_ahead:
        return f"{CALENDAR}.{STARTS}"
    assert table.time is not None, f"{table.name} is a reference table"
    after = f" + {interval(table.known_after)}" if table.known_after else ""
    return f"{identifier(table.time)}{after}"


def counts_from(late: Iterable[str], of: str = "") -> str:
    """SQL of the time at which a value that reads late columns becomes known.

    It is null if the value is not known yet.

    late: the `known_at` columns of these columns. of: the alias of the relation, with its dot.
    """
    columns = [f"{of}{identifier(name)}" for name in sorted(set(late))]
    if not columns:
        return f"{of}{KNOWN_AT}"
    all_known = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    return f"CASE WHEN {all_known} THEN greatest({of}{KNOWN_AT}, {', '.join(columns)}) END"


def usable_at(moment: str, of: str = "") -> str:
    """SQL of whether a row of a table that hides late rows may be used at a moment: it came in time, or arrived before.

    of: the alias of the relation, with its dot.
    """
    return f"({of}{USABLE} IS NULL OR {of}{USABLE} <= {moment})"


def predict_at(pipeline: Pipeline) -> str:
    """SQL of the time at which a row of the entity is scored.

    The query must join `calendar` on `tick`.
    """
    if isinstance(pipeline.predict_at, AtTick):
        return f"{CALENDAR}.{STARTS}"
    time = pipeline.entity_table.time
    assert time is not None
    return f"{identifier(time)} - {interval(pipeline.predict_at.lead)}"


def interval(length: timedelta) -> str:
    """SQL of a duration, in hours or smaller units.

    With a time zone, an SQL 'day' may have 23 or 25 hours.
    """
    microseconds = length // MICROSECOND
    for unit, size in (("HOUR", 3_600_000_000), ("MINUTE", 60_000_000), ("SECOND", 1_000_000)):
        if microseconds % size == 0:
            return f"INTERVAL '{microseconds // size}' {unit}"
    return f"INTERVAL '{microseconds}' MICROSECOND"
