"""Redshift: PostgreSQL's protocol and driver, without the parts of PostgreSQL that Redshift lacks.

Its types are told by the numbers of a result's columns, so that views without a binding and external tables have them too.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import extensions
from sqlalchemy import Connection, Engine, Select, Text, cast, func, text
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.exc import DBAPIError

from mlprod_tasks.platform.warehouses.named_type import NamedType, TypeRules
from mlprod_tasks.platform.warehouses.no_rows import no_rows
from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms

NUMBERED = {
    16: "boolean", 19: "name", 20: "bigint", 21: "smallint", 23: "integer", 25: "text", 26: "oid", 700: "real",
    701: "double precision", 1042: "character", 1043: "character varying", 1082: "date", 1083: "time", 1114: "timestamp",
    1184: "timestamptz", 1266: "timetz", 1700: "numeric", 3000: "geometry", 3001: "geography", 4000: "super", 6551: "varbyte",
}  # fmt: skip
NO_TABLE = "42P01"
TABLES = """
SELECT table_name FROM information_schema.tables WHERE table_schema = COALESCE(:of_schema, CURRENT_SCHEMA()) ORDER BY table_name
"""
KEY = """
SELECT c.column_name FROM information_schema.table_constraints t JOIN information_schema.key_column_usage c
ON c.constraint_name = t.constraint_name AND c.table_schema = t.table_schema AND c.table_name = t.table_name
WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_name = :of_table AND t.table_schema = COALESCE(:of_schema, CURRENT_SCHEMA())
ORDER BY c.ordinal_position
"""
RULES = TypeRules(
    forms=SqlForms(
        naive="CAST('{}' AS TIMESTAMP)",
        aware="CAST('{}+00:00' AS TIMESTAMPTZ)",
        as_text="FROM_VARBYTE({name}, 'utf-8')",
        as_moment="TIMESTAMP 'epoch' + {name} * INTERVAL '1 second'",
    ),
    read=frozenset({
        "boolean", "name", "bigint", "smallint", "integer", "text", "oid", "real", "double precision", "character",
        "character varying", "time", "timetz", "numeric", "super",
    }),
    naive=frozenset({"timestamp"}),
    aware=frozenset({"timestamptz"}),
    dates=frozenset({"date"}),
    # The one is padded; of the other, Arrow would lose the time zone.
    selected={"character": func.rtrim, "timetz": lambda column: cast(column, Text())},
)  # fmt: skip


class Redshift(PGDialect_psycopg2):
    """Redshift through psycopg2, which is there anyway: its own driver does not install beside the other packages."""

    name = "redshift"
    supports_statement_cache = True

    def initialize(self, connection: Connection) -> None:
        """Ask nothing: Redshift is PostgreSQL 8.0.2, and lacks the settings and types that a PostgreSQL is asked for."""
        self.server_version_info = (8, 0, 2)
        self._backslash_escapes = False

    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        return list(connection.execute(text(TABLES), {"of_schema": schema}).scalars())

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> Any:
        found = connection.execute(text(KEY), {"of_table": table_name, "of_schema": schema}).scalars()
        return {"name": None, "constrained_columns": list(found)}

    def get_foreign_keys(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> Any:
        return []  # declared, if at all, without being enforced


def for_reading(connection: Any, _: Any) -> None:
    """Let a connection of the driver read moments in UTC and all digits of floats, and write nothing."""
    connection.autocommit = True  # in a transaction, the settings would end with it
    with connection.cursor() as cursor:
        cursor.execute("SET timezone TO 'UTC'")
        cursor.execute("SET extra_float_digits TO 2")
    connection.autocommit = False
    connection.readonly = True
    for numbers, name, read in (
        ((1082,), "DAY", extensions.PYDATE),
        ((1114,), "MOMENT", extensions.PYDATETIME),
        ((1184,), "ZONED_MOMENT", extensions.PYDATETIMETZ),
    ):
        extensions.register_type(extensions.new_type(numbers, name, _or_text(read)), connection)


def _or_text(read: Any) -> Any:
    """A reader of days or moments: what Python's years do not have is given as text, so that only its row is refused."""

    def value(text: str | None, cursor: Any) -> Any:
        try:
            return text if text is not None and "infinity" in text else read(text, cursor)
        except (ValueError, OverflowError):
            return text

    return value


def table_types(engine: Engine, table: Any) -> dict[str, NamedType] | None:
    """The types of a table's or view's columns, in their order; None if there is no such table. Raises: DBAPIError."""
    try:
        return query_types(engine, table)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == NO_TABLE:
            return None
        raise


def query_types(engine: Engine, source: Any) -> dict[str, NamedType]:
    """The types of what a selectable returns, which is run without rows. Raises: DBAPIError."""
    query: Select[Any] = no_rows(source)
    with engine.connect() as connection:
        found: Any = connection.execute(query).cursor.description  # type: ignore[union-attr]
    names = ((one[0], NUMBERED.get(one[1], f"type {one[1]}")) for one in found)
    return {column: NamedType(name, name, RULES) for column, name in names}


dialect = Redshift
