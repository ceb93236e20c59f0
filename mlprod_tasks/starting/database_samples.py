"""Read the beginning of the tables of a database, with the keys that it declares itself."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlalchemy import Engine, MetaData, Table, inspect, select
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeEngine

from mlprod_tasks.platform.arrow_values import as_arrow
from mlprod_tasks.platform.database import open_database, reason
from mlprod_tasks.platform.settings import DATABASES
from mlprod_tasks.starting.samples import SAMPLED_ROWS, CannotStart, Sample, name_of


def from_database(url: str, connection: str, only: tuple[str, ...] = ()) -> list[Sample]:
    """Read the beginning of each table, or of some. Raises: CannotStart."""
    if url.partition(":")[0] not in DATABASES:
        raise CannotStart(
            "a database is given as sqlite:///PATH, postgresql://user@host/database or mysql://user@host/database"
        )
    try:
        engine = open_database(url)
        names = inspect(engine).get_table_names()
        missing = [name for name in only if name not in names]
        if missing:
            raise CannotStart(f"the database has no table {', '.join(map(repr, missing))}; it has {', '.join(names) or 'none'}")
        if not names:
            raise CannotStart("the database has no tables: give the path of one that has")
        return [_table(engine, name, connection) for name in (only or names)]
    except SQLAlchemyError as error:
        raise CannotStart(f"the database does not answer: {reason(error)}") from None


def _table(engine: Engine, name: str, connection: str) -> Sample:
    table = Table(name, MetaData(), autoload_with=engine, resolve_fks=False)
    keys, references = inspect(engine).get_pk_constraint(name), inspect(engine).get_foreign_keys(name)
    with engine.connect() as opened:
        found = opened.execute(select(table).limit(SAMPLED_ROWS + 1)).fetchmany(SAMPLED_ROWS + 1)
    columns = list(zip(*found[:SAMPLED_ROWS], strict=True)) or [()] * len(table.columns)
    rows = pa.table({column.name: _array(column.type, values) for column, values in zip(table.columns, columns, strict=True)})
    return Sample(
        name_of(name),
        f"table {name}",
        f'ml.Database("{connection}", "{name}"',
        rows,
        len(found) <= SAMPLED_ROWS,
        key=tuple(keys["constrained_columns"] or ()),
        references={
            one["constrained_columns"][0]: (name_of(one["referred_table"]), one["referred_columns"][0])
            for one in references
            if len(one["constrained_columns"]) == 1
        },
    )


def _array(kind: TypeEngine[Any], values: Any) -> pa.Array:
    if isinstance(kind, TINYINT) and kind.display_width == 1 and {0, 1} >= set(values) - {None} != set():
        return pa.array([None if value is None else bool(value) for value in values])  # how MariaDB keeps a boolean
    array = as_arrow(values)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array
