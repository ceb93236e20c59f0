"""Find the rows of a database table whose time is missing or cannot be read: no query by time finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, false, func, literal_column, not_, or_, select, type_coerce
from sqlalchemy.types import String

from mlprod_tasks.platform.mysql_types import MysqlType
from mlprod_tasks.platform.postgres_types import PostgresType
from mlprod_tasks.platform.warehouses.arrow_type import ArrowType
from mlprod_tasks.platform.warehouses.named_type import NamedType
from mlprod_tasks.platform.warehouses.warehouse_type import WarehouseType

# The form whose text sorts by time and is a valid moment; others are looked at one by one.
SIMPLE = r"^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])([ T]([01]\d|2[0-3]):[0-5]\d:[0-5]\d)?$"
ColumnType = PostgresType | MysqlType | ArrowType | NamedType


@dataclass(frozen=True)
class TimesToRead:
    """The number of rows without a time, and the times that are not in the simple form, as the driver returns them."""

    missing: int
    unusual: list[Any]


@dataclass(frozen=True)
class TimeConditions:
    """Conditions on rows. absent: no time, or one outside Python's years. unusual: a time that is not in the simple form."""

    absent: Any
    unusual: Any


def conditions(source: Any, name: str, kind: ColumnType | None) -> TimeConditions:
    """The conditions on column `name` of a table. kind: its type; None for SQLite."""
    when = source.c[name]
    absent = when.is_(None)
    if kind is None:
        simple: Any = func.coalesce(_simple_in_sqlite(when), literal_column("0"))
        return TimeConditions(absent, and_(when.is_not(None), not_(simple)))
    if kind.is_moment:
        return TimeConditions(or_(absent, kind.no_moment(when)), false())
    assert not isinstance(kind, WarehouseType)  # whose texts are no times
    simple = type_coerce(when, String).regexp_match(literal_column(f"'{kind.pattern(SIMPLE)}'"))
    return TimeConditions(absent, and_(when.is_not(None), not_(simple)))


def times_to_read(engine: Engine, source: Any, name: str, kind: ColumnType | None) -> TimesToRead:
    """Query a table for what no range of times holds. source: the table. kind: the type of its column `name`."""
    which = conditions(source, name, kind)
    with engine.connect().execution_options(stream_results=True) as connection:
        missing = int(connection.execute(select(func.count()).select_from(source).where(which.absent)).scalar_one())
        if kind is not None and kind.is_moment:
            return TimesToRead(missing, [])
        return TimesToRead(missing, list(connection.execute(select(source.c[name]).where(which.unusual)).scalars()))


def count_rows(engine: Engine, source: Any) -> int:
    """The number of rows of a table."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(source)).scalar_one())


def _simple_in_sqlite(when: Any) -> Any:
    # Adding no days makes SQLite write a moment as it should be: 30 February becomes 1 March, 24:00 the next day.
    text: Any = type_coerce(when, String)
    nothing: Any = literal_column("'+0 days'")
    space = func.replace(text, literal_column("'T'"), literal_column("' '"))
    return and_(
        func.typeof(when) == literal_column("'text'"),
        or_(func.datetime(text, nothing) == space, func.date(text, nothing) == text),
        text >= literal_column("'0001'"),
    )
