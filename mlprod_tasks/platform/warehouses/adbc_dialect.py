"""What the dialects of warehouses that are read through ADBC have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
from sqlalchemy import URL, Connection, Engine, Select
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.sql.compiler import IdentifierPreparer

from mlprod_tasks.platform.settings import WAREHOUSES
from mlprod_tasks.platform.warehouses.arrow_type import ArrowType, arrow_types
from mlprod_tasks.platform.warehouses.no_rows import no_rows
from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms

STOPPED = "the warehouse stopped in the middle: see its log of queries"


class AdbcPreparer(IdentifierPreparer):
    """Quotes every name, since each warehouse has reserved words of its own. A schema may be written `database.schema`."""

    def quote(self, ident: str, force: Any = None) -> str:
        return self.quote_identifier(self.dialect.denormalize_name(ident))

    def quote_schema(self, schema: str, force: Any = None) -> str:
        return ".".join(self.quote(part) for part in schema.split("."))


class AdbcDialect(DefaultDialect):
    """A warehouse, whose SQL has no parameters: a driver may not take any, and texts of a declaration are quoted.

    forms: how it writes moments. given: names in its addresses, each with the option of the driver that it sets. A warehouse's
    `is_missing` tells whether an error says that there is no such table.
    """

    supports_statement_cache = True
    supports_native_boolean = True
    driver = "adbc"
    default_paramstyle = "qmark"
    preparer = AdbcPreparer
    forms: ClassVar[SqlForms]
    given: ClassVar[Mapping[str, str]]

    def initialize(self, connection: Connection) -> None:
        """Ask nothing of a new connection."""

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.execute(statement, parameters or None)

    def normalize_name(self, name: str) -> str:
        """A name of the warehouse as it is written in a declaration."""
        return name

    def denormalize_name(self, name: str) -> str:
        """A name in a declaration as the warehouse has it."""
        return name

    def given_by(self, url: URL) -> dict[str, str]:
        """What an address says after its question mark. Raises: ArgumentError for a name that it does not have."""
        query = {name: str(value) for name, value in url.query.items()}
        unknown = sorted(name for name in query if name not in self.given and not name.startswith("adbc."))
        if unknown:
            known = ", ".join(self.given)
            raise ArgumentError(f"a {WAREHOUSES[self.name]} address has no {', '.join(unknown)}; it has {known} and adbc.*")
        return query

    def options(self, given: Mapping[str, str]) -> dict[str, str]:
        """The options of the driver that names of an address set."""
        return {self.given.get(name, name): value for name, value in given.items() if value}

    def get_foreign_keys(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> list[Any]:
        return []  # declared, if at all, without being enforced


def quoted_text(text: str) -> str:
    """A text as Snowflake and BigQuery write it, where a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def table_types(engine: Engine, table: Any) -> dict[str, ArrowType] | None:
    """The types of a table's or view's columns, in their order; None if there is no such table. Raises: DBAPIError."""
    try:
        return query_types(engine, table)
    except DBAPIError as error:
        if engine.dialect.is_missing(error):  # type: ignore[attr-defined]
            return None
        raise


def query_types(engine: Engine, source: Any) -> dict[str, ArrowType]:
    """The types of what a selectable returns, which is run without rows. Raises: DBAPIError."""
    dialect: Any = engine.dialect
    with _reader(engine, no_rows(source)) as (reader, _):
        types = arrow_types(reader.schema, dialect.forms)
    return {dialect.normalize_name(name): kind for name, kind in types.items()}


def batches(engine: Engine, query: Select) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query as they come. Raises: DBAPIError, also if fewer rows come than the warehouse announced."""
    names = [column.name for column in query.selected_columns]
    with _reader(engine, query) as (reader, announced):
        kinds = [*arrow_types(reader.schema, engine.dialect.forms).values()]  # type: ignore[attr-defined]
        for batch in whole(reader, announced):
            columns = [kind.plain(array) for kind, array in zip(kinds, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names=names)


def whole(found: Iterable[pa.RecordBatch], announced: int) -> Iterator[pa.RecordBatch]:
    """The batches. A driver's stream that breaks off may end without an error: the rows are counted.

    announced: how many rows there are; -1 if it is not known. Raises: OSError if there were others.
    """
    rows = 0
    for batch in found:
        rows += batch.num_rows
        yield batch
    if 0 <= announced != rows:
        raise OSError(f"{rows:,} of {announced:,} rows came")


@contextmanager
def _reader(engine: Engine, query: Select) -> Iterator[tuple[pa.RecordBatchReader, int]]:
    """The rows of a query as Arrow batches, and how many the warehouse announces; -1 if it does not."""
    dialect: Any = engine.dialect
    statement = str(query.compile(engine))
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(statement)
            yield cursor.fetch_record_batch(), cursor.rowcount  # type: ignore[attr-defined]
        except dialect.loaded_dbapi.Error as error:
            raise DBAPIError(statement, None, error) from None
        except (OSError, pa.ArrowException):
            # A query that fails after its first rows ends the stream with bare text, values included.
            raise DBAPIError(statement, None, OSError(STOPPED)) from None
        finally:
            cursor.close()
