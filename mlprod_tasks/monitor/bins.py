"""Bins: how a column's values are counted, all columns by one statement that returns nothing but counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Counts = NDArray[np.int64]

NUMBER_OF_BINS = 10
MOST_CATEGORIES = 20
# Before the bins of values stand two more: no value at all, and a value that fits no bin.
NULL, OTHER = 0, 1
LARGEST = repr(float(np.finfo(np.float64).max))


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    Of numbers: (-inf, edges[0]], (edges[0], edges[1]], ... (edges[-1], inf), `low` and `high` being what the reference
    reached. Of categories: one bin each. Counts are in the order null, other, then the bins; 'other' holds what is
    not finite, or no category known here.
    """

    column: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def of_numbers(self) -> bool:
        return bool(self.edges)

    def __len__(self) -> int:
        return 2 + (len(self.edges) + 1 if self.of_numbers else len(self.categories))


def learn(con: DuckDBPyConnection, source: str, columns: Mapping[str, str]) -> tuple[Bins, ...]:
    """Choose bins for each column from the rows of a reference, one column after the other.

    Numbers get the bins between their deciles, fewer where deciles coincide; text, flags and integers of at most
    MOST_CATEGORIES values get one bin a value, the most frequent ones where text has more.

    source: what stands after FROM; columns: name -> DuckDB type, as DESCRIBE names it.
    """
    return tuple(_learn(con, source, name, kind) for name, kind in columns.items())


def count(con: DuckDBPyConnection, source: str, bins: Iterable[Bins]) -> dict[str, Counts]:
    """Count the rows of `source` in the bins of each column, in one statement."""
    rows = con.execute(counting_sql(source, tuple(bins))).fetchall()
    return dict(_by_column(tuple(bins), {part: counts for _, part, counts in rows}))


def count_by_tick(con: DuckDBPyConnection, source: str, bins: Iterable[Bins]) -> dict[date, dict[str, Counts]]:
    """The same for each tick of a source that has the column `tick`."""
    rows = con.execute(counting_sql(source, tuple(bins), by_tick=True)).fetchall()
    parts: dict[date, dict[str, list[int]]] = {}
    for tick, part, counts in rows:
        parts.setdefault(tick, {})[part] = counts
    return {tick: dict(_by_column(tuple(bins), parts[tick])) for tick in sorted(parts)}


def counting_sql(source: str, bins: Sequence[Bins], *, by_tick: bool = False) -> str:
    """The statement behind `count`: rows of tick, part, list of counts.

    Part '' holds the numbers of all columns: comparisons summed up, which the engine does in vectors. Each text column is a
    part of its own: grouping dictionary-coded text is many times cheaper than comparing it.
    """
    tick = "tick" if by_tick else "NULL::DATE"
    group = " GROUP BY tick" if by_tick else ""
    sums = ["count(*)"]
    parts = []
    for one in bins:
        if one.of_numbers:
            sums += _cumulative(one)
        else:
            inner = f"SELECT {tick} AS tick, {_text(one)} AS c, count(*) AS n FROM {source} GROUP BY ALL"
            counts = ["sum(n)", "sum(n) FILTER (c IS NULL)", *(f"sum(n) FILTER (c = {_literal(c)})" for c in one.categories)]
            whole = ", ".join(f"coalesce({count}, 0)::BIGINT" for count in counts)
            parts.append(f"SELECT tick, {_literal(one.column)}, [{whole}] FROM ({inner}) GROUP BY tick")
    numbers = f"SELECT {tick} AS tick, '' AS part, [{', '.join(sums)}]::BIGINT[] AS counts FROM {source}{group}"
    return "\nUNION ALL\n".join([numbers, *parts])


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _learn(con: DuckDBPyConnection, source: str, name: str, kind: str) -> Bins:
    column = quoted(name)
    if kind in ("VARCHAR", "BOOLEAN"):
        return _categories(con, source, name)
    if "INT" in kind:
        distinct = con.execute(f"SELECT count(*) FROM (SELECT DISTINCT {column} FROM {source} LIMIT {MOST_CATEGORIES + 2})")
        if 0 < _only(distinct.fetchone()) <= MOST_CATEGORIES:
            return _categories(con, source, name)
    value = _number(name, kind)
    shares = [step / NUMBER_OF_BINS for step in range(1, NUMBER_OF_BINS)]
    finite = f"(SELECT {value} AS v FROM {source} WHERE isfinite({value}))"
    low, high, quantiles = con.execute(f"SELECT min(v), max(v), quantile_disc(v, {shares}) FROM {finite}").fetchall()[0]
    if low is None:
        return Bins(name, edges=(0.0,))  # nothing but nulls: whatever comes is new
    edges = sorted({edge for edge in quantiles if edge < high})
    if not edges:  # nearly all rows hold one value: below it, that value, above it
        edges = [float(np.nextafter(high, -np.inf)), high]
    return Bins(name, edges=tuple(edges), low=low, high=high)


def _categories(con: DuckDBPyConnection, source: str, name: str) -> Bins:
    text = f"{quoted(name)}::VARCHAR"
    found = con.execute(
        f"SELECT {text} FROM {source} WHERE {text} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_CATEGORIES}"
    ).fetchall()
    return Bins(name, categories=tuple(value for (value,) in found))


def _number(name: str, kind: str) -> str:
    moment = kind.startswith(("TIMESTAMP", "DATE"))
    return f"epoch({quoted(name)})" if moment else f"{quoted(name)}::DOUBLE"


def _cumulative(bins: Bins) -> list[str]:
    """Rows with a value, rows below all numbers, then rows up to each edge, the last of them the largest number."""
    value = f"{quoted(bins.column)}::DOUBLE"
    edges = [f"{value} < -{LARGEST}", *(f"{value} <= {edge!r}" for edge in bins.edges), f"{value} <= {LARGEST}"]
    return [
        f"count({quoted(bins.column)})",
        *(f"coalesce(count_if({edge}), 0)" for edge in edges),
    ]  # of nothing but nulls count_if is null


def _text(bins: Bins) -> str:
    return f"{quoted(bins.column)}::VARCHAR"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _only(row: tuple[Any, ...] | None) -> int:
    assert row is not None
    return int(row[0])


def _by_column(bins: Sequence[Bins], parts: Mapping[str, Sequence[int]]) -> Iterable[tuple[str, Counts]]:
    numbers = list(parts.get("", [0]))
    total, at = numbers[0], 1
    for one in bins:
        counts = np.zeros(len(one), np.int64)
        if one.of_numbers:
            values, below, *cumulative = numbers[at : at + len(one.edges) + 3]
            at += len(one.edges) + 3
            counts[2:] = np.diff([below, *cumulative])
            counts[NULL] = total - values
        elif one.column in parts:  # no row, no part
            _, counts[NULL], *counts[2:] = parts[one.column]
        counts[OTHER] = total - counts[NULL] - counts[2:].sum()
        yield one.column, counts
