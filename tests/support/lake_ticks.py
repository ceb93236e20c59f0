"""Ticks of a small table `t` in a lake."""

from datetime import date, timedelta
from datetime import time as time_of_day

import duckdb
import pyarrow as pa

from mlprod_tasks.declaration import Schedule, TickRange
from mlprod_tasks.platform.lake import Lake, listed

SCHEDULE = Schedule(time_of_day(4), "UTC", date(2013, 1, 1))
FIRST = date(2013, 6, 1)


def ticks(first: int = 0, last: int | None = None) -> TickRange:
    return SCHEDULE.range(FIRST + timedelta(days=first), FIRST + timedelta(days=first if last is None else last))


def rows(days: list[int], value: int = 0, per_tick: int = 3, **more: pa.Array) -> pa.Table:
    """`per_tick` rows of each tick, by days since the first."""
    column = [FIRST + timedelta(days=day) for day in days for _ in range(per_tick)]
    return pa.table(
        {
            "id": pa.array(range(len(column)), pa.int64()),
            "value": pa.array([value] * len(column), pa.int64()),
            "tick": pa.array(column, pa.date32()),
            **more,
        }
    )


def read(lake: Lake, query: str, version: int | None = None, columns: str = "union_by_name=false") -> list[tuple]:
    """Run SQL over table `t` as the steps read it: DuckDB over the live files."""
    files = listed(lake.files("t", version=version))
    relation = f"read_parquet({files}, hive_partitioning=true, hive_types={{'tick': DATE}}, {columns})"
    return duckdb.sql(query.replace("FROM t", f"FROM {relation}")).fetchall()
