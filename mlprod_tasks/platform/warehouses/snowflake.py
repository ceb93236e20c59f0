"""Snowflake: addresses, names and errors.

    snowflake://USER:PASSWORD@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&role=NAME

`private_key_file=/path/key.p8` takes a key in place of the password, `token=...` a programmatic access token. `host`, `port`
and `protocol` lead to a proxy. Whatever begins with `adbc.` is an option of the driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError

from mlprod_tasks.platform.warehouses.adbc_dialect import AdbcDialect, quoted_text
from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms

OPTION = "adbc.snowflake.sql."
CLIENT = f"{OPTION}client_option."
GIVEN = {
    "account": f"{OPTION}account", "database": f"{OPTION}db", "schema": f"{OPTION}schema", "warehouse": f"{OPTION}warehouse",
    "role": f"{OPTION}role", "region": f"{OPTION}region", "host": f"{OPTION}uri.host", "port": f"{OPTION}uri.port",
    "protocol": f"{OPTION}uri.protocol", "private_key_file": f"{CLIENT}jwt_private_key", "token": f"{CLIENT}auth_token",
}  # fmt: skip
# Moments beyond the year 2262 do not fit into nanoseconds. A warehouse that is away is not waited for five minutes.
ALWAYS = {
    f"{CLIENT}max_timestamp_precision": "microseconds",
    f"{CLIENT}disable_telemetry": "true",
    f"{CLIENT}login_timeout": "30s",
}
NO_TABLE = "42S02"
AIRFLOWS = ("account", "database", "warehouse", "role", "region", "private_key_file")


class Snowflake(AdbcDialect):
    """Snowflake through ADBC. A name in lower case means one that was made without quotes: the server has it in upper case."""

    name = "snowflake"
    supports_statement_cache = True
    given: ClassVar[Mapping[str, str]] = GIVEN
    forms: ClassVar[SqlForms] = SqlForms(
        naive="TO_TIMESTAMP_NTZ('{}')",
        aware="TO_TIMESTAMP_TZ('{}+00:00')",
        as_text="TO_JSON({name})",
        as_moment="TO_TIMESTAMP_TZ({name})",
    )

    @classmethod
    def import_dbapi(cls) -> Any:
        from adbc_driver_snowflake import dbapi

        return dbapi

    def create_connect_args(self, url: URL) -> Any:
        query = self.given_by(url)
        parts = [part for part in (url.database or "").split("/") if part]
        path = dict(zip(("schema",) if "database" in query else ("database", "schema"), parts, strict=False))
        given = {"account": url.host or "", **path, **query}
        options = {**ALWAYS, "username": url.username or "", "password": str(url.password or "")}
        if "private_key_file" in given:
            options[f"{OPTION}auth_type"] = "auth_jwt"
        elif "token" in given:
            options[f"{OPTION}auth_type"] = "auth_pat"
        return [], {"db_kwargs": options | self.options(given), "autocommit": True}

    def normalize_name(self, name: str) -> str:
        return name.lower() if name == name.upper() else f'"{name}"' if name == name.lower() else name

    def denormalize_name(self, name: str) -> str:
        return name.upper() if name == name.lower() else name

    def is_missing(self, error: DBAPIError) -> bool:
        return str(getattr(error.orig, "sqlstate", "")) == NO_TABLE

    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        of_schema = quoted_text(self.denormalize_name(schema)) if schema else "CURRENT_SCHEMA()"
        asked = f"SELECT table_name FROM information_schema.tables WHERE table_schema = {of_schema} ORDER BY 1"
        return [self.normalize_name(name) for name in connection.execute(text(asked.replace(":", r"\:"))).scalars()]

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> Any:
        quote = self.identifier_preparer.quote
        found = connection.exec_driver_sql(f"SHOW PRIMARY KEYS IN TABLE {quote(table_name)}").mappings()
        columns = sorted((int(row["key_sequence"]), row["column_name"]) for row in found)
        return {"name": None, "constrained_columns": [self.normalize_name(name) for _, name in columns]}


def with_extra_fields(url: URL, extra: Mapping[str, Any]) -> URL:
    """The address of an Airflow connection, whose account, warehouse and more are among its extra fields."""
    return url.update_query_dict({name: str(extra[name]) for name in AIRFLOWS if extra.get(name)})


dialect = Snowflake
