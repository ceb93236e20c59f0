"""The ledger's columns that hold names of ticks: texts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, String, TypeDecorator

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
