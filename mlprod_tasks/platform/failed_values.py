"""What a value that cannot be computed means for the query that computes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from mlprod_tasks.platform.sql import identifier

# What DuckDB raises for a value: a failed cast, a number out of range, an integer division by zero.
VALUE_FAILED = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)
# Of `A AND B`, A would not be computed where statistics of the files, or a request's only row, tell that B is false: whether it
# fails for a row would depend on the other rows.
ALL_PARTS = "SET disabled_optimizers = 'statistics_propagation'"
# A part that two values share would be computed once, outside of both TRY, and fail the query.
NOT_SHARED = "SET disabled_optimizers = 'common_subexpressions,statistics_propagation'"
REMEDY = "Make it null there, as try_cast does for a cast or nullif(x, 0) for a divisor"


def tried(value: str, name: str, tries: str) -> str:
    """SQL of two columns: the struct `tries`, null where `value` cannot be computed, and the value itself, null there too.

    A value that is null has a struct.
    """
    return f"TRY(struct_pack(v := {value})) AS {tries}, struct_extract({tries}, 'v') AS {identifier(name)}"


@contextmanager
def trying_each(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> Iterator[None]:
    """Run a query that tries each value by itself, to its end.

    Raises: `error`, if the query has a function that TRY refuses, such as error() or random().
    """
    connection.execute(NOT_SHARED)  # it stays so: other threads may run such a query too
    try:
        yield
    except duckdb.BinderException:
        raise error from None
