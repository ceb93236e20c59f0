"""Profile the columns of a relation of the engine: missing and different values, range, distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.table import Kind
from mlprod_tasks.platform.sql import identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BINS, MOST_WHOLE = 24, 60
MOST_NAMED = 6  # of the most frequent values
FEW = 12  # different whole numbers that are shown one by one
ALL = 0.97  # of the values are different: counts of different values are off by about two per cent
TAIL = 0.01  # of a number's values, at either end, share the outermost bars
NUMBERS, MOMENTS = ("int", "float"), ("timestamp", "date")


@dataclass(frozen=True)
class ProfiledColumn:
    """A column to profile. secret: its values are personal, so none of them may be shown."""

    name: str
    kind: Kind
    doc: str = ""
    secret: bool = False


@dataclass(frozen=True)
class ColumnProfile:
    """The values of one column.

    distinct: how many different ones there are, about. least, most, mean: of numbers; least and most also of moments. top: the
    most frequent values with their number of rows, where there are few, or texts. bins: numbers of rows between `edges`, the
    outermost with all that lies beyond. All of them are empty where the values are secret.
    """

    column: ProfiledColumn
    rows: int
    nulls: int
    distinct: int
    least: Any = None
    most: Any = None
    mean: float | None = None
    top: tuple[tuple[str, int], ...] = ()
    bins: tuple[int, ...] = ()
    edges: tuple[Any, Any] | None = None

    @property
    def all_different(self) -> bool:
        """Whether (about) every value occurs once, as in a key."""
        known = self.rows - self.nulls
        return known > 1 and self.distinct > ALL * known

    @property
    def null_share(self) -> float:
        return self.nulls / self.rows if self.rows else 0.0


def profile_columns(
    connection: DuckDBPyConnection, relation: str, columns: Sequence[ProfiledColumn]
) -> tuple[ColumnProfile, ...]:
    """Profile columns of a relation, in few scans of it."""
    if not columns:
        return ()
    measures = ", ".join(_measures(column) for column in columns)
    found = connection.execute(f"SELECT count(*), {measures} FROM {relation}").fetchall()[0]
    rows, rest = int(found[0]), list(found[1:])
    return tuple(_profile(connection, relation, column, rows, rest[4 * i : 4 * i + 4]) for i, column in enumerate(columns))


def _measures(column: ProfiledColumn) -> str:
    """What is not null, how many are different, the ends, or the inner ends with the mean."""
    name = identifier(column.name)
    counted = f"count({name}), approx_count_distinct({name})"
    if column.secret or column.kind in ("text", "bool"):
        return f"{counted}, NULL, NULL"
    if column.kind in MOMENTS:
        return f"{counted}, {seconds(f'min({name})')}, {seconds(f'max({name})')}"
    finite = f"CASE WHEN isfinite({name}::DOUBLE) THEN {name}::DOUBLE END"
    inner = f"approx_quantile({finite}, [{TAIL}, {1 - TAIL}])"
    return f"{counted}, {{'least': min({finite}), 'most': max({finite}), 'mean': avg({finite})}}, {inner}"


def _profile(
    connection: DuckDBPyConnection, relation: str, column: ProfiledColumn, rows: int, found: Sequence[Any]
) -> ColumnProfile:
    known, distinct, first, second = found
    plain = ColumnProfile(column, rows, rows - int(known), min(int(distinct), int(known)))
    if column.secret or not known:
        return plain
    if column.kind in ("text", "bool"):
        return plain if plain.all_different else _with_top(connection, relation, plain)
    if column.kind in MOMENTS:
        bins = _bins(connection, relation, column, first, second)
        least, most = (_moment(value, column.kind) for value in (first, second))
        return replace(plain, least=least, most=most, bins=bins, edges=(least, most))
    shown = replace(plain, least=first["least"], most=first["most"], mean=first["mean"])
    if column.kind == "int" and distinct <= FEW:
        return _with_top(connection, relation, shown)
    if first["least"] is None:
        return shown
    low, high = second
    if column.kind == "int" and high - low < MOST_WHOLE:  # a bar for each number, so that none stands for two
        counted = _bins(connection, relation, column, low - 0.5, high + 0.5, int(high - low) + 1)
        return replace(shown, bins=counted, edges=(low, high))
    return replace(shown, bins=_bins(connection, relation, column, low, high), edges=(low, high))


def _with_top(connection: DuckDBPyConnection, relation: str, profile: ColumnProfile) -> ColumnProfile:
    name = identifier(profile.column.name)
    query = (
        f"SELECT CAST({name} AS VARCHAR), count(*) AS n FROM {relation} WHERE {name} IS NOT NULL GROUP BY {name} "
        f"ORDER BY n DESC, 1 LIMIT {MOST_NAMED}"
    )
    return replace(profile, top=tuple((str(value), int(n)) for value, n in connection.execute(query).fetchall()))


def _bins(
    connection: DuckDBPyConnection, relation: str, column: ProfiledColumn, low: float, high: float, bins: int = BINS
) -> tuple[int, ...]:
    """The number of rows in each of `bins` equal parts of [low, high]; what lies beyond is in the outermost."""
    name = identifier(column.name)
    value = seconds(name) if column.kind in MOMENTS else f"{name}::DOUBLE"
    width = (high - low) / bins or 1.0
    part = f"CAST(least(greatest(floor(({value} - {low!r}) / {width!r}), 0), {bins - 1}) AS INT)"
    counts = [0] * bins
    for i, n in connection.execute(f"SELECT {part}, count(*) FROM {relation} WHERE isfinite({value}) GROUP BY 1").fetchall():
        counts[i] = int(n)
    return tuple(counts)


def seconds(moment: str) -> str:
    """SQL for a moment as seconds since 1970. The engine needs another library to give moments with a zone to Python."""
    return f"epoch(({moment})::TIMESTAMPTZ)"


def moment(since_1970: float) -> datetime:
    return datetime.fromtimestamp(since_1970, UTC)


def _moment(since_1970: float, kind: Kind) -> datetime | date:
    return moment(since_1970) if kind == "timestamp" else moment(since_1970).date()
