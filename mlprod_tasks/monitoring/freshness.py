"""How old the newest row of each table is at a tick."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, Table, Tick
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.platform.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HOUR = timedelta(hours=1)


def freshness(con: DuckDBPyConnection, pipeline: Pipeline, tick: Tick, platform: Platform) -> Iterator[Reading]:
    """The age of the newest row of each table at the tick, in hours.

    It is counted from when the row of the tick's own partition became known. For a table that plans ahead: to the moment up to
    which it should plan. A reference table has no time, so it has no reading. Only the tick's own partition is read, so it does
    not matter which other partitions exist yet.
    """
    for table in pipeline.tables:
        if table.time is not None:
            yield _reading(con, pipeline, table, tick, platform)


def _reading(con: DuckDBPyConnection, pipeline: Pipeline, table: Table, tick: Tick, platform: Platform) -> Reading:
    name = names.raw(pipeline, table.name)
    files = platform.lake.files_if_any(name, pipeline.schedule.range(tick.name))
    rows, newest = 0, None
    if files:
        # Microseconds since 1970 in UTC, so that the session's time zone does not matter.
        query = f"SELECT count(*), epoch_us(max({quoted(table.time or '')})) FROM read_parquet({listed(files)})"
        ((rows, newest),) = con.execute(query).fetchall()
    if (
        newest is None
        and table.may_be_empty_on(pipeline.schedule.day_of(tick.name))
        and _is_published(pipeline, table, tick, platform)
    ):
        why = f"{table.name} has no rows at the tick, as its declaration allows"
        return Reading("freshness", None, 0, table.name, why=why)
    if newest is None:
        why = f"no row of {table.name} is published for the tick"
        return Reading("freshness", None, 0, table.name, why=why, missing=True)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=newest)
    due = pipeline.schedule.moment(pipeline.schedule.shift(tick.name, table.ticks_ahead))
    hours = (due - moment - table.known_after) / HOUR
    detail = f"its newest row is from {moment:%Y-%m-%d %H:%M} UTC"
    return Reading("freshness", hours, int(rows), table.name, detail=detail)


def _is_published(pipeline: Pipeline, table: Table, tick: Tick, platform: Platform) -> bool:
    return platform.ledger.get(Publication, pipeline.name, table.name, tick.name) is not None
