"""SQL Server: how its types are read, and what its errors say without values of rows. SQLAlchemy's dialect writes its SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, cast, func, literal_column, select, text
from sqlalchemy.dialects.mssql import DATETIME2, NVARCHAR
from sqlalchemy.exc import DBAPIError

from mlprod_tasks.platform.warehouses.named_type import NamedType, TypeRules
from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms

IN_UTC: Any = DATETIME2(6)  # type: ignore[no-untyped-call]
RULES = TypeRules(
    forms=SqlForms(
        naive="CAST('{}' AS DATETIME2(6))",
        aware="CAST('{}+00:00' AS DATETIMEOFFSET(6))",
        day="'{}'",
        as_text="CAST({name} AS NVARCHAR(MAX))",
        as_moment="DATEADD(SECOND, {name}, CAST('1970-01-01' AS DATETIME2))",
    ),
    read=frozenset({
        "bit", "tinyint", "smallint", "int", "bigint", "decimal", "numeric", "money", "smallmoney", "float", "real", "char",
        "varchar", "nchar", "nvarchar", "text", "ntext", "uniqueidentifier", "xml", "time", "binary", "varbinary",
    }),
    naive=frozenset({"datetime", "datetime2", "smalldatetime"}),
    aware=frozenset({"datetimeoffset"}),
    dates=frozenset({"date"}),
    selected={
        "datetimeoffset": lambda column: cast(func.switchoffset(column, literal_column("'+00:00'")), IN_UTC),
        "uniqueidentifier": lambda column: func.lower(cast(column, NVARCHAR(36))),
        "xml": lambda column: cast(column, NVARCHAR()),
        "char": func.rtrim,  # which are padded
        "nchar": func.rtrim,
    },
    in_utc=True,
    any_year=False,
)  # fmt: skip
COLUMNS = """
SELECT name, system_type_name, error_number, error_message FROM sys.dm_exec_describe_first_result_set(:asked, NULL, 0)
WHERE is_hidden = 0 OR error_number IS NOT NULL ORDER BY column_ordinal
"""
NO_TABLE = 208
# Numbers of errors whose messages name servers, rights, databases, tables, columns, syntax, locks or resources, but no values.
WITHOUT_VALUES = {102, 105, 156, 170, 207, 208, 229, 230, 262, 319, 701, 911, 916, 1033, 1205, 1222, 4060, 4064, 18452, 18456}
OF_THE_DRIVER = range(20_000, 30_000)  # no connection, or a lost one


def table_types(engine: Engine, table: Any) -> dict[str, NamedType] | None:
    """The types of a table's or view's columns, in their order; None if there is no such table. Raises: DBAPIError."""
    try:
        return query_types(engine, table)
    except DBAPIError as error:
        if isinstance(error.orig, Undescribed) and error.orig.args[0] == NO_TABLE:
            return None
        raise


def query_types(engine: Engine, source: Any) -> dict[str, NamedType]:
    """The types of what a selectable returns, which the server describes without running it. Raises: DBAPIError."""
    everything: Any = select(literal_column("*"))
    asked = str(everything.select_from(source).compile(engine))
    if asked.upper().startswith("SELECT * \nFROM (WITH"):
        raise DBAPIError(
            asked, None, Undescribed(319, "no query is read that begins with WITH: SQL Server takes none inside of another")
        )
    with engine.connect() as connection:
        found = connection.execute(text(COLUMNS), {"asked": asked}).all()
    for _, _, number, message in found:
        if number is not None:
            raise DBAPIError(asked, None, Undescribed(number, message))
    return {name: NamedType(kind, kind.partition("(")[0], RULES) for name, kind, _, _ in found}


class Undescribed(Exception):
    """The server cannot tell the columns of a query: the number of its error, and its message."""


def reason(error: BaseException) -> str:
    """Why the server refused, in one line and without values of its rows. error: of the driver, or Undescribed."""
    number, message = error.args if len(error.args) == 2 else (*error.args, "")[:2] if error.args else (0, "")
    while isinstance(number, tuple):  # the driver wraps its own in another
        number, message = number
    told = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    if isinstance(number, int) and (number in WITHOUT_VALUES or number in OF_THE_DRIVER):
        return f"{number}: {' '.join(told.split())}"
    return f"{type(error).__name__} with number {number}" if number else type(error).__name__
