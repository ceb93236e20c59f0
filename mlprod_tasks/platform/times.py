"""Count the rows of a database table whose time is missing or cannot be read: no query by time finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, func, literal_column, not_, or_, select, type_coerce
from sqlalchemy.types import Date, DateTime, String

# The form whose text sorts by time and is a valid moment; others are looked at one by one.
SIMPLE = r"^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])([ T]([01]\d|2[0-3]):[0-5]\d:[0-5]\d)?$"


@dataclass(frozen=True)
class TimesToRead:
    """The rows without a time, and the times that are not written in the simple form, as the driver returns them."""

    missing: int
    unusual: list[Any]


def times_to_read(engine: Engine, source: Any, name: str, kind: Any) -> TimesToRead:
    """Query a table for what no range of times holds. source: the table. kind: the reflected type of its column `name`.

    Infinite moments of PostgreSQL count as missing.
    """
    when = source.c[name]
    absent = when.is_(None)
    unusual: Any = None
    if engine.dialect.name == "sqlite":
        unusual = not_(func.coalesce(_simple_in_sqlite(when), literal_column("0")))
    elif isinstance(kind, Date | DateTime):
        absent = or_(absent, when == literal_column("'infinity'"), when == literal_column("'-infinity'"))
    else:
        unusual = not_(type_coerce(when, String).regexp_match(literal_column(f"'{SIMPLE}'")))
    with engine.connect().execution_options(stream_results=True) as connection:
        missing = connection.execute(select(func.count()).select_from(source).where(absent)).scalar_one()
        if unusual is None:
            return TimesToRead(missing, [])
        return TimesToRead(missing, list(connection.execute(select(when).where(and_(when.is_not(None), unusual))).scalars()))


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
