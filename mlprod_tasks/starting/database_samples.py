"""Read the beginning of the tables of a database, with the keys that it declares itself."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlalchemy import Engine, MetaData, Table, column, inspect, literal_column, select
from sqlalchemy import table as sql_table
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeEngine

from mlprod_tasks.platform.arrow_values import as_arrow
from mlprod_tasks.platform.database import open_database, reason
from mlprod_tasks.platform.settings import DATABASES, WAREHOUSES, missing_driver
from mlprod_tasks.platform.warehouses import adbc_dialect, find_types
from mlprod_tasks.platform.warehouses.adbc_dialect import AdbcDialect
from mlprod_tasks.starting.samples import SAMPLED_ROWS, CannotStart, Sample, name_of


def from_database(url: str, connection: str, only: tuple[str, ...] = ()) -> list[Sample]:
    """Read the beginning of each table, or of some. Raises: CannotStart."""
    if (kind := url.partition(":")[0]) not in (*DATABASES, *WAREHOUSES):
        raise CannotStart(
            "a database is given as sqlite:///PATH, postgresql://user@host/database or mysql://user@host/database, a warehouse "
            f"as a URL of {', '.join(WAREHOUSES)}"
        )
    if (driver := missing_driver(kind)) is not None:
        raise CannotStart(f"the driver of {kind} is not installed here: pip install 'mlprod[{driver}]'")
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
    keys, references = inspect(engine).get_pk_constraint(name), inspect(engine).get_foreign_keys(name)
    found = (_rows_of_warehouse if engine.dialect.name in WAREHOUSES else _rows)(engine, name)
    return Sample(
        name_of(name),
        f"table {name}",
        f'ml.Database("{connection}", "{name}"',
        found.slice(0, SAMPLED_ROWS),
        found.num_rows <= SAMPLED_ROWS,
        key=tuple(keys["constrained_columns"] or ()),
        references={
            one["constrained_columns"][0]: (name_of(one["referred_table"]), one["referred_columns"][0])
            for one in references
            if len(one["constrained_columns"]) == 1
        },
    )


def _rows(engine: Engine, name: str) -> pa.Table:
    table = Table(name, MetaData(), autoload_with=engine, resolve_fks=False)
    with engine.connect() as opened:
        found = opened.execute(select(table).limit(SAMPLED_ROWS + 1)).fetchmany(SAMPLED_ROWS + 1)
    columns = list(zip(*found, strict=True)) or [()] * len(table.columns)
    return pa.table({column.name: _array(column.type, values) for column, values in zip(table.columns, columns, strict=True)})


def _rows_of_warehouse(engine: Engine, name: str) -> pa.Table:
    """The columns whose types have a meaning here."""
    table = sql_table(name, schema=engine.dialect.default_schema_name if isinstance(engine.dialect, AdbcDialect) else None)
    types: dict[str, Any] = {one: kind for one, kind in (find_types.table_types(engine, table) or {}).items() if kind.is_read}
    chosen: Any = [kind.selected(column(one)).label(one) for one, kind in types.items()]
    query, most = select(*chosen).select_from(table), SAMPLED_ROWS + 1
    if not isinstance(engine.dialect, AdbcDialect):
        with engine.connect() as opened:
            found = list(zip(*opened.execute(query.limit(most)).all(), strict=True)) or [()] * len(types)
        arrays = (as_arrow(kind.plain(values)) for kind, values in zip(types.values(), found, strict=True))
        return pa.table(
            dict(zip(types, (one.cast(pa.string()) if pa.types.is_null(one.type) else one for one in arrays), strict=True))
        )
    # From batches alone: what an empty table announces may have other units than rows.
    if batches := [*adbc_dialect.batches(engine, query.limit(literal_column(f"{most}")))]:
        return pa.Table.from_batches(batches)
    return pa.schema([(one, kind.arrow) for one, kind in types.items()]).empty_table()


def _array(kind: TypeEngine[Any], values: Any) -> pa.Array:
    if isinstance(kind, TINYINT) and kind.display_width == 1 and {0, 1} >= set(values) - {None} != set():
        return pa.array([None if value is None else bool(value) for value in values])  # how MariaDB keeps a boolean
    array = as_arrow(values)
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array
