"""Read Arrow batches from PostgreSQL, about ten times faster than Python rows."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from sqlalchemy import Engine, Select
from sqlalchemy.exc import DBAPIError

from mlprod_tasks.platform.postgres_types import as_plain, session_settings


def batches(engine: Engine, query: Select) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query as they come. Raises: DBAPIError."""
    from adbc_driver_manager.dbapi import Error
    from adbc_driver_postgresql import dbapi

    written = str(query.compile(engine, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    statement = None
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            statement = written
            cursor.execute(session_settings())
            cursor.fetchall()
            cursor.execute(written)
            for batch in cursor.fetch_record_batch():
                yield pa.RecordBatch.from_arrays([as_plain(array) for array in batch.columns], names=batch.schema.names)
    except Error as error:
        raise DBAPIError(statement, None, error) from None
    except (OSError, pa.ArrowException):
        # A query that fails after its first rows ends the stream with the server's message as bare text, values included.
        raise DBAPIError(statement, None, OSError("the database stopped in the middle: see its log")) from None
