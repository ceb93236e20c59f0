"""BigQuery: addresses, names and errors.

    bigquery://PROJECT/DATASET?credentials_file=/path/key.json&location=EU

Without a file of credentials, Google's default ones are used. Whatever begins with `adbc.` is an option of the driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.sql.compiler import GenericTypeCompiler

from mlprod_tasks.platform.warehouses.adbc_dialect import AdbcDialect, AdbcPreparer, quoted_text
from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms

OPTION = "adbc.bigquery.sql."
GIVEN = {"credentials_file": f"{OPTION}auth_credentials", "location": f"{OPTION}location"}
REASONS = ("notFound", "accessDenied", "authError", "backendError", "billingNotEnabled", "quotaExceeded", "rateLimitExceeded")
PLACE = re.compile(r"at \[\d+:\d+\]")  # ends what is said about the text of a query, before any row is read


class BigQueryPreparer(AdbcPreparer):
    """Quotes with backticks."""

    def __init__(self, dialect: Any, **_: Any) -> None:
        super().__init__(dialect, initial_quote="`", final_quote="`")


class BigQueryTypes(GenericTypeCompiler):
    """Writes the type of texts."""

    def visit_TEXT(self, type_: Any, **_: Any) -> str:
        return "STRING"


class BigQuery(AdbcDialect):
    """BigQuery through ADBC. A table without a schema lies in the dataset of the connection."""

    name = "bigquery"
    supports_statement_cache = True
    preparer = BigQueryPreparer  # type: ignore[assignment]
    type_compiler_cls = BigQueryTypes
    given: ClassVar[Mapping[str, str]] = GIVEN
    forms: ClassVar[SqlForms] = SqlForms(
        naive="DATETIME '{}'",
        aware="TIMESTAMP '{}+00:00'",
        as_text="TO_JSON_STRING({name})",
        as_moment="TIMESTAMP_SECONDS({name})",
    )

    @classmethod
    def import_dbapi(cls) -> Any:
        from adbc_driver_bigquery import dbapi

        return dbapi

    def create_connect_args(self, url: URL) -> Any:
        query = self.given_by(url)
        if not url.host or not url.database:
            raise ArgumentError("a BigQuery address has a project and a dataset, bigquery://PROJECT/DATASET")
        self.default_schema_name = url.database
        options = {f"{OPTION}project_id": url.host, f"{OPTION}dataset_id": url.database}
        if "credentials_file" in query:
            options[f"{OPTION}auth_type"] = f"{OPTION}auth_type.json_credential_file"
        return [], {"db_kwargs": options | self.options(query), "autocommit": True}

    def is_missing(self, error: DBAPIError) -> bool:
        return "Not found: Table" in str(error.orig)

    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        return list(connection.execute(text(f"SELECT table_name FROM {self._view('TABLES', schema)} ORDER BY 1")).scalars())

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> Any:
        asked = (
            f"SELECT column_name FROM {self._view('KEY_COLUMN_USAGE', schema)} WHERE table_name = {quoted_text(table_name)} "
            "AND ENDS_WITH(constraint_name, '.pk$') ORDER BY ordinal_position"
        )
        return {"name": None, "constrained_columns": list(connection.exec_driver_sql(asked).scalars())}

    def _view(self, name: str, schema: str | None) -> str:
        return f"{self.identifier_preparer.quote_schema(str(schema or self.default_schema_name))}.INFORMATION_SCHEMA.{name}"


def reason(message: str) -> str:
    """Why BigQuery refused, without values of rows: they stand in messages about values, such as a text that is no number."""
    line = message.splitlines()[0]
    known = [one for one in REASONS if line.endswith(one)]
    if known or PLACE.search(line) or "invalidQuery" not in line:
        return line
    return "invalidQuery: a value cannot be read as the query asks, see the job in BigQuery"


dialect = BigQuery
