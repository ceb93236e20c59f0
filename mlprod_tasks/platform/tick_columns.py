"""Columns that hold names of ticks: dates in the lake, or texts of ticks within a day; texts in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from sqlalchemy import Dialect, String, TypeDecorator

from mlprod_tasks.declaration import Schedule
from mlprod_tasks.declaration.rhythm import TickName, tick_named

LONGEST_NAME = 17  # 2013-11-03T0500Z


class TickText(TypeDecorator[TickName]):
    """The name of a tick as text, which sorts as ticks do."""

    impl = String(LONGEST_NAME)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> TickName | None:
        return None if value is None else tick_named(value)


def tick_type(schedule: Schedule) -> pa.DataType:
    """The type of the lake's column `tick`: a date, or a text for ticks within a day."""
    return pa.string() if schedule.every == "hour" else pa.date32()


def tick_array(names: Iterable[TickName], schedule: Schedule) -> pa.Array:
    """Names of ticks in the type of the lake's column."""
    return pa.array(list(names), tick_type(schedule))


def sql_type(schedule: Schedule) -> str:
    """That type in DuckDB."""
    return "VARCHAR" if schedule.every == "hour" else "DATE"
