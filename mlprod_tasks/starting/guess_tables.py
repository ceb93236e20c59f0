"""Guess what a table's columns are: its key, its time, what is personal, which columns are filled in later."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration.checks.tables import OF_TABLES, RESERVED
from mlprod_tasks.declaration.table import Kind
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.profiling.column_profile import MOMENTS, ColumnProfile, ProfiledColumn, profile_columns
from mlprod_tasks.starting.guess_personal import personal
from mlprod_tasks.starting.guess_types import TypeGuess, guess_types
from mlprod_tasks.starting.samples import Sample, name_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_OF_KEY, MOST_TRIED = 4, 9
IS_ID = re.compile(r"(^|_)(id|key|uuid|guid|number|no|nr|nummer|code|num)$|^(id|key)(_|$)")
IS_TIME = re.compile(r"(^|_)(at|time|timestamp|datetime|date|day|week|month|ts|hour|datum|when|period)(_|$)")
IS_FIRST = re.compile(
    r"created|ordered|placed|sent|opened|start|begin|sched|book|request|signup|registered|transaction|event|observed"
)
MOSTLY = 0.99


@dataclass(frozen=True)
class ColumnGuess:
    """A column. name: in the declaration; source: in the source. known_at: the time that says when a value became known."""

    name: str
    source: str
    type: TypeGuess
    profile: ColumnProfile
    personal: str = ""
    known_at: str = ""

    @property
    def kind(self) -> Kind:
        return self.type.kind

    @property
    def is_id(self) -> bool:
        return bool(IS_ID.search(self.name))

    @property
    def has_nulls(self) -> bool:
        return self.profile.nulls > 0


@dataclass(frozen=True)
class TableGuess:
    """A table. key_why, time_why: how sure each is. time: '' if it has none. problem: why it cannot be declared."""

    sample: Sample
    columns: tuple[ColumnGuess, ...]
    key: tuple[str, ...] = ()
    key_why: str = ""
    time: str = ""
    time_why: str = ""
    dropped: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.sample.name

    @property
    def rows(self) -> int:
        return int(self.sample.rows.num_rows)

    @property
    def is_log(self) -> bool:
        """Whether these are events without a key, whose rows may get one that is made of them: none is filled in later."""
        return not self.key and bool(self.time) and not any(column.known_at for column in self.columns)

    @property
    def can_be_declared(self) -> bool:
        """Whether its rows can be told apart."""
        return bool(self.key) or self.is_log

    def column(self, name: str) -> ColumnGuess:
        return next(column for column in self.columns if column.name == name)

    def has(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def data(self) -> pa.Table:
        """The rows in the guessed types, under the names of the declaration."""
        return pa.table({column.name: column.type.values for column in self.columns})


def guess_table(sample: Sample, connection: DuckDBPyConnection) -> TableGuess:
    """Look at one table. It is registered with the engine under its name."""
    names = _names(sample.rows.column_names, sample.name)
    types = guess_types(sample.rows, names, separator=sample.separator, is_csv=sample.is_csv)
    unread = tuple((column, guess.why) for column, guess in types.items() if guess.why.endswith("left out"))
    kept = {column: guess for column, guess in types.items() if column not in dict(unread)}
    data = pa.table({names[column]: guess.values for column, guess in kept.items()})
    connection.register(sample.name, data)
    profiles = profile_columns(
        connection, quoted(sample.name), [ProfiledColumn(names[column], guess.kind) for column, guess in kept.items()]
    )
    columns = tuple(
        ColumnGuess(names[source], source, guess, profile, personal(names[source], _some(guess.values)))
        for (source, guess), profile in zip(kept.items(), profiles, strict=True)
    )
    twice = tuple((column, "the header has this name more than once, or none") for column in sample.left_out)
    table = TableGuess(sample, columns, dropped=(*twice, *unread))
    table = _with_time(table)
    table = _with_key(table, connection)
    return replace(table, columns=tuple(_late(column, table) for column in table.columns))


def _names(sources: list[str], table: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for source in sources:
        name = name_of(source)
        name = f"{table}_{name}"[:60] if name in {*RESERVED, *OF_TABLES} else name
        taken, number = set(names.values()), 2
        while name in taken:
            name, number = f"{name.rstrip('0123456789')}{number}", number + 1
        names[source] = name
    return names


def _some(values: pa.Array) -> list[Any]:
    return list(values.slice(0, 20_000).drop_null().slice(0, 2_000).to_pylist())


def _with_time(table: TableGuess) -> TableGuess:
    """Choose the time at which a row comes into being: the earliest one, by values and by name, that is never missing.

    A row without a time belongs to no tick, so every extraction would find it again, and refuse it.
    """
    times = [column for column in table.columns if column.kind in MOMENTS and not column.has_nulls and table.rows]
    times = [column for column in times if not re.search(r"birth|dob|geburt", column.name)]
    if not times:
        return table
    if len(times) == 1:
        return replace(table, time=times[0].name, time_why="the only time that every row has")

    def rank(column: ColumnGuess) -> tuple[Any, ...]:
        earlier = sum(_share(table, column, other) >= MOSTLY for other in times)
        named = bool(IS_FIRST.search(column.name)), bool(IS_TIME.search(column.name))
        return -earlier, tuple(not one for one in named), column.kind == "date", table.columns.index(column)

    chosen, *others = sorted(times, key=rank)
    first = all(_share(table, chosen, other) >= MOSTLY for other in others)
    sure = "it is before all others" if first else f"its name; it may as well be {others[0].name}"
    return replace(table, time=chosen.name, time_why=sure)


def _share(table: TableGuess, first: ColumnGuess, second: ColumnGuess) -> float:
    """The share of rows in which the first time is not after the second."""
    one, other = (column.type.values.cast(pa.timestamp("us", "UTC")) for column in (first, second))
    return float(pc.mean(pc.less_equal(one, other).cast(pa.int8())).as_py() or 0.0)


def _with_key(table: TableGuess, connection: DuckDBPyConnection) -> TableGuess:
    """The smallest set of columns that identifies a row, by names first; tried for uniqueness."""
    if table.sample.key:
        by_source = {column.source: column.name for column in table.columns}
        return replace(table, key=tuple(by_source[one] for one in table.sample.key), key_why="the database says so")
    candidates = sorted(
        (column for column in table.columns if not column.has_nulls and column.kind != "float" and column.profile.distinct > 1),
        key=lambda column: _like_a_key(column, table),
    )
    among = "" if table.sample.whole else f" among the first {table.rows:,} rows"
    for size in range(1, MOST_OF_KEY + 1):
        tried = candidates if size == 1 else candidates[:MOST_TRIED]
        for chosen in combinations(tried, size):
            if prod(column.profile.distinct * 1.1 + 1 for column in chosen) < table.rows:
                continue
            if _is_unique(table, chosen, connection):
                names = tuple(column.name for column in table.columns if column in chosen)
                return replace(table, key=names, key_why=f"unique{among}")
    return table


def _like_a_key(column: ColumnGuess, table: TableGuess) -> tuple[Any, ...]:
    singular = table.name.removesuffix("s")
    named = column.name in ("id", f"{singular}_id", f"{table.name}_id", f"{singular}_no", f"{singular}_number", singular)
    return not named, not column.is_id, column.kind in MOMENTS and column.name != table.time, -column.profile.distinct


def _is_unique(table: TableGuess, columns: tuple[ColumnGuess, ...], connection: DuckDBPyConnection) -> bool:
    names = ", ".join(quoted(column.name) for column in columns)
    query = f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM {quoted(table.name)})"
    return bool(connection.execute(query).fetchall()[0][0] == table.rows)


def _late(column: ColumnGuess, table: TableGuess) -> ColumnGuess:
    """A column that is missing exactly where a later time is: it becomes known at that time."""
    if not table.time or not column.has_nulls or column.kind in MOMENTS:
        return column
    missing = column.type.values.is_null()
    for time in table.columns:
        same = time.kind == "timestamp" and time.has_nulls and pc.all(pc.equal(missing, time.type.values.is_null())).as_py()
        if same and _is_after(table, time):
            return replace(column, known_at=time.name)
    return column


def _is_after(table: TableGuess, time: ColumnGuess) -> bool:
    start = table.column(table.time).type.values.cast(pa.timestamp("us", "UTC"))
    after = pc.less_equal(start, time.type.values.cast(pa.timestamp("us", "UTC")))
    return float(pc.mean(after.cast(pa.int8())).as_py() or 0.0) >= MOSTLY


def later_time(table: TableGuess) -> str:
    """A time that most rows have, after the row's own: that at which an outcome is likely known; '' if there is none."""
    times = [column for column in table.columns if column.kind == "timestamp" and column.name != table.time]
    found = [column for column in times if column.profile.null_share < 0.5 and _is_after(table, column)]
    return max(found, key=lambda column: _share(table, table.column(table.time), column), default=None).name if found else ""  # type: ignore[union-attr]
