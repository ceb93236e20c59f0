"""The lake's columns that hold names of ticks: dates, or texts of ticks within a day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Schedule
from mlprod_tasks.declaration.rhythm import TickName

if TYPE_CHECKING:
    import pyarrow as pa


def tick_type(schedule: Schedule) -> pa.DataType:
    """The type of the lake's column `tick`: a date, or a text for ticks within a day."""
    import pyarrow as pa  # imported here: a request needs the SQL type alone

    return pa.string() if schedule.is_within_day else pa.date32()


def tick_array(names: Iterable[TickName], schedule: Schedule) -> pa.Array:
    """Names of ticks in the type of the lake's column."""
    import pyarrow as pa

    return pa.array(list(names), tick_type(schedule))


def sql_type(schedule: Schedule) -> str:
    """That type in DuckDB."""
    return "VARCHAR" if schedule.is_within_day else "DATE"
