"""Count rows in the bins of their columns, with one SQL statement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.sql import literal, quoted
from mlprod_tasks.statistics.bins import NULL, OTHER, Bins, CountedColumn, family, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# For a column of categories: the bins that have rows, and their counts; otherwise only sums.
Part = tuple[list[int] | None, list[float]]

LARGEST = repr(float(np.finfo(np.float64).max))


@dataclass(frozen=True)
class Counted:
    """Counts of some rows: their number, each column, and the further aggregates."""

    rows: int
    columns: Mapping[str, CountedColumn]
    further: tuple[int, ...] = ()


def count(con: DuckDBPyConnection, source: str, bins: Iterable[Bins], further: Sequence[str] = ()) -> Counted:
    """Count the rows of `source` in the bins of each column.

    further: SQL aggregates over the same rows that give whole numbers, counted in the same pass.
    """
    return merged([count_piece(con, source, tuple(bins), types(con, source), further)])


def merged(pieces: Sequence[Counted]) -> Counted:
    """The counts of all rows from those of pieces by `count_piece`; at least one.

    Whole numbers are exact. Distances are rounded: their sums differ in the last digits with the pieces and their order.
    """
    columns = {}
    for name in pieces[0].columns:
        of_pieces = [piece.columns[name] for piece in pieces]
        columns[name] = CountedColumn(
            np.sum([one.counts for one in of_pieces], axis=0, dtype=np.int64),
            sum(one.outside for one in of_pieces),
            sum(one.below for one in of_pieces),
            sum(one.above for one in of_pieces),
            rounded(sum_of(one.beyond for one in of_pieces)),
        )
    further = zip(*(piece.further for piece in pieces), strict=True)
    return Counted(sum(piece.rows for piece in pieces), columns, tuple(map(sum, further)))


def count_piece(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str], further: Sequence[str] = ()
) -> Counted:
    """As `count`, of some of the rows. kinds: the DuckDB types of all columns."""
    rows = con.execute(counting_sql(source, bins, kinds, further)).fetchall()
    counted = _build_counted(bins, {part: (at, n) for _, part, at, n in rows}, len(further))
    # Few ticks have rows outside the range, so their distance takes a second query only when needed.
    unmeasured = [one for one in bins if _lacks_distance(one, counted.columns[one.column])]
    if not unmeasured:
        return counted
    return replace(counted, columns={**counted.columns, **_with_outside(con, source, unmeasured, kinds, counted)})


def count_by_tick(
    con: DuckDBPyConnection, source: str, bins: Iterable[Bins], further: Sequence[str] = ()
) -> dict[TickName, Counted]:
    """The same for each tick of a reference, by its column `tick`.

    A reference has no value outside its own range.
    """
    rows = con.execute(counting_sql(source, tuple(bins), types(con, source), further, by_tick=True)).fetchall()
    parts: dict[TickName, dict[str, Part]] = {}
    for tick, part, at, n in rows:
        parts.setdefault(tick, {})[part] = (at, n)
    return {tick: _build_counted(tuple(bins), parts[tick], len(further)) for tick in sorted(parts)}


def types(con: DuckDBPyConnection, source: str) -> dict[str, str]:
    """The columns of a source, each with its DuckDB type."""
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def sum_of(values: Iterable[float]) -> float:
    """The sum, rounded once, so in any order the same; not finite if a value, or the sum, is not."""
    given = list(values)
    try:
        return math.fsum(given)
    except (OverflowError, ValueError):  # too large, or infinities of both signs
        return float(np.sum(given))


def rounded(total: float) -> float:
    """Nine digits: what sums of the same numbers in any order and any pieces have in common."""
    return float(f"{total:.9g}")


def counting_sql(
    source: str, bins: Sequence[Bins], kinds: Mapping[str, str], further: Sequence[str] = (), *, by_tick: bool = False
) -> str:
    """The SQL statement behind `count`.

    Returns rows of tick, part, bins and the number in each bin. Part '' is for all rows. Each column is a separate part, so
    that only one is in memory at a time. Numbers are compared in vectors; text, and numbers with few values, are grouped first,
    which is many times cheaper than comparing every row.
    """
    tick, by, group = ("tick", "tick, ", " GROUP BY tick") if by_tick else ("NULL::DATE", "", "")
    whole = f"SELECT {tick} AS tick, '' AS part, NULL::BIGINT[] AS bins, [{', '.join(['count(*)', *further])}]::DOUBLE[] AS n"
    parts = []
    for one in bins:
        n = _numbers_sql(one, kinds[one.column], source, by) if one.of_numbers else _categories_sql(one, source, by)
        parts.append(f"SELECT {tick}, {literal(one.column)}, {n}{group}")
    return "\nUNION ALL\n".join([f"{whole} FROM {source}{group}", *parts])


def _numbers_sql(bins: Bins, kind: str, source: str, by: str) -> str:
    """SQL for the counts of a number column, in the order `_build_column` reads them.

    They are: all rows, rows with a value, -infinity, up to each edge, up to the largest finite number, below low, up to high,
    and the summed distance outside [low, high]. Integers are compared as integers, which saves a conversion per row, and are
    always finite.
    """
    value, whole = number(bins.column, kind), family(kind) == "int"

    def edge(at: float) -> str:
        return str(int(np.floor(at))) if whole else f"{at!r}::DOUBLE"

    low, high = str(int(np.ceil(bins.low))) if whole else f"{bins.low!r}::DOUBLE", edge(bins.high)
    infinite, finite = ("false", "v IS NOT NULL") if whole else (f"v < -{LARGEST}", f"v <= {LARGEST}")
    conditions = [infinite, *(f"v <= {edge(at)}" for at in bins.edges), finite, f"v < {low}", f"v <= {high}"]
    # Text that is not a number still counts as a value.
    given = "v" if family(kind) != "text" else "k"
    kept = f"{value} AS v" + (f", {quoted(bins.column)} IS NOT NULL OR NULL AS k" if given == "k" else "")
    if bins.few:
        rows = f"SELECT {by}{kept}, count(*) AS n FROM {source} GROUP BY ALL"
        sums = ["sum(n)", f"sum(n) FILTER ({given} IS NOT NULL)", *(f"sum(n) FILTER ({one})" for one in conditions)]
    else:
        rows = f"SELECT {by}{kept} FROM {source}"
        sums = ["count(*)", f"count({given})", *(f"count_if({one})" for one in conditions)]
    # The distance costs nothing for grouped values; for the others a second query computes it if there are any.
    sums.append(f"fsum(n * {_distance_sql(bins, 'v')}) FILTER (abs(v::DOUBLE) <= {LARGEST})" if bins.few else "0")
    listed = ", ".join(f"coalesce({one}, 0)" for one in sums)  # the sum over no rows is null
    return f"NULL, [{listed}]::DOUBLE[] FROM ({rows})"


def _categories_sql(bins: Bins, source: str, by: str) -> str:
    """SQL for the bins of a category column that have rows, and their counts."""
    grouped = f"SELECT {by}{quoted(bins.column)}::VARCHAR AS c, count(*) AS n FROM {source} GROUP BY ALL"
    known = f"SELECT unnest([{', '.join(map(literal, bins.categories))}]::VARCHAR[]) AS c, unnest(range(2, {len(bins)})) AS i"
    bin_of = f"CASE WHEN c IS NULL THEN {NULL} ELSE coalesce(i, {OTHER}) END"
    binned = f"SELECT {by}{bin_of} AS i, sum(n) AS n FROM ({grouped}) LEFT JOIN ({known}) USING (c) GROUP BY ALL"
    return f"list(i), list(n)::DOUBLE[] FROM ({binned})"


def _lacks_distance(bins: Bins, column: CountedColumn) -> bool:
    """Whether the first query did not sum the distance outside [low, high]."""
    if bins.of_integers:
        return bool(column.counts[OTHER])
    return bins.of_numbers and not bins.few and column.outside > 0


def _with_outside(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str], counted: Counted
) -> dict[str, CountedColumn]:
    """The columns with the count and the distance of values outside [low, high].

    Infinite values do not count.
    """
    parts = []
    for one in bins:
        value = f"{number(one.column, kinds[one.column])}::DOUBLE"
        rows = f"SELECT {value} AS v, 1 AS n FROM {source}"
        if one.of_integers:  # their few values are grouped many times faster than each row is compared
            rows = f"SELECT {value} AS v, count(*) AS n FROM {source} GROUP BY ALL"
        sums = [
            f"sum(n) FILTER (v < {one.low!r}::DOUBLE)",
            f"sum(n) FILTER (v > {one.high!r}::DOUBLE)",
            f"fsum(n * {_distance_sql(one, 'v')})",
        ]
        outside = f"(v < {one.low!r}::DOUBLE OR v > {one.high!r}::DOUBLE) AND abs(v) <= {LARGEST}"
        parts.append(f"SELECT {literal(one.column)}, {', '.join(sums)} FROM ({rows}) WHERE {outside}")
    found = {name: totals for name, *totals in con.execute("\nUNION ALL\n".join(parts)).fetchall()}
    measured = {}
    for one in bins:
        below, above, beyond = (n or 0 for n in found[one.column])
        measured[one.column] = CountedColumn(
            counted.columns[one.column].counts, int(below + above), int(below), int(above), float(beyond)
        )
    return measured


def _distance_sql(bins: Bins, value: str) -> str:
    return f"greatest({bins.low!r}::DOUBLE - {value}::DOUBLE, {value}::DOUBLE - {bins.high!r}::DOUBLE, 0)"


def _build_counted(bins: Sequence[Bins], parts: Mapping[str, Part], further: int) -> Counted:
    rows, *extra = parts[""][1] if "" in parts else [0.0] * (1 + further)
    columns = {one.column: _build_column(one, parts.get(one.column), int(rows)) for one in bins}
    return Counted(int(rows), columns, tuple(int(n or 0) for n in extra))


def _build_column(bins: Bins, part: Part | None, rows: int) -> CountedColumn:
    counts, below, above, beyond = np.zeros(len(bins), np.int64), 0, 0, 0.0
    if part is not None and bins.of_numbers:  # without rows there is no part
        _, values, below_all, *cumulative, under, up_to_high, beyond = part[1]
        counts[2:] = np.diff([below_all, *cumulative])
        counts[NULL] = rows - values
        below, above = int(under - below_all), int(cumulative[-1] - up_to_high)
    elif part is not None and part[0]:
        counts[part[0]] = part[1]
    counts[OTHER] = rows - counts[NULL] - counts[2:].sum()
    return CountedColumn(counts, below + above, below, above, beyond)
