"""The types of the columns of a warehouse's tables and queries; what finds them is imported where there is such a warehouse."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from mlprod_tasks.platform.warehouses import adbc_dialect
from mlprod_tasks.platform.warehouses.arrow_type import ArrowType
from mlprod_tasks.platform.warehouses.named_type import NamedType

Types = dict[str, ArrowType] | dict[str, NamedType]


def table_types(engine: Engine, table: Any) -> Types | None:
    """The types of a table's or view's columns, in their order; None if there is no such table. Raises: DBAPIError."""
    found: Types | None = _finder(engine.dialect.name).table_types(engine, table)
    return found


def query_types(engine: Engine, source: Any) -> Types:
    """The types of what a selectable returns, which is run without rows. Raises: DBAPIError."""
    found: Types = _finder(engine.dialect.name).query_types(engine, source)
    return found


def _finder(warehouse: str) -> Any:
    match warehouse:
        case "redshift":
            from mlprod_tasks.platform.warehouses import redshift

            return redshift
        case "mssql":
            from mlprod_tasks.platform.warehouses import sql_server

            return sql_server
    return adbc_dialect
