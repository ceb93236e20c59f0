"""Bins in which the values of a column are counted, chosen from a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.platform.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Counts = NDArray[np.int64]

NUMBER_OF_BINS = 10
# Distances in the column's unit need finer bins in the tails than shares do.
TAILS = (0.001, 0.01, 0.05, 0.95, 0.99, 0.999)
MOST_CATEGORIES = 20  # with their own bin when shares are compared; also the most values of an integer that is a category
MOST_KNOWN = 2000  # stored categories, to distinguish a new one from a rare one
MOST_VALUES = 4096  # up to so many distinct numbers are counted by value before they are binned
# The first two bins: null, and values that fit no other bin.
NULL, OTHER = 0, 1


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    Of numbers: (-inf, edges[0]], (edges[0], edges[1]], ... (edges[-1], inf); `low` and `high` are the range of the reference,
    `sd` its standard deviation, `deciles` the edges between which shares are compared (if empty, all edges), `few` whether it
    had at most MOST_VALUES values. Of categories: one bin each, most frequent first. Counts are in the order null, other, then
    the bins; 'other' is for values that are not finite, and for unknown categories.
    """

    column: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    sd: float | None = None
    deciles: tuple[float, ...] = ()
    few: bool = False

    @property
    def of_integers(self) -> bool:
        """Whether these are the few values of an integer, one bin each."""
        return bool(self.categories) and self.sd is not None

    @property
    def of_numbers(self) -> bool:
        return bool(self.edges)

    def __len__(self) -> int:
        return 2 + (len(self.edges) + 1 if self.of_numbers else len(self.categories))

    def coarse(self, counts: Counts) -> Counts:
        """Merge counts into the few bins that PSI and Jensen-Shannon distance compare.

        They are deciles, or the most frequent categories.
        Their noise grows with the number of bins. Rarer categories are added to 'other'. counts: (len(self),).
        """
        if not self.of_numbers:
            few = np.array(counts[: 2 + MOST_CATEGORIES])
            few[OTHER] += counts[2 + MOST_CATEGORIES :].sum()
            return few
        if not self.deciles:
            return counts
        starts = [0, *(self.edges.index(edge) + 1 for edge in self.deciles)]
        return np.concatenate([counts[:2], np.add.reduceat(counts[2:], starts)])

    @property
    def coarse_edges(self) -> tuple[float, ...]:
        """The edges of the bins of numbers in `coarse`."""
        return self.deciles or self.edges


@dataclass(frozen=True)
class CountedColumn:
    """One column of some rows: `counts` in its bins.

    For numbers also what is outside the reference's [low, high].
    below, above: rows; beyond: the sum of their distances from the nearer end, in the column's unit. outside: rows outside the
    range that the column is compared with; for a tick of the reference, that is the range of the other ticks.
    """

    counts: Counts
    outside: int = 0
    below: int = 0
    above: int = 0
    beyond: float = 0.0


def learn(con: DuckDBPyConnection, source: str, columns: Mapping[str, str]) -> tuple[Bins, ...]:
    """Choose bins for each column from the rows of a reference, column by column.

    Numbers get bins between their deciles and some in the tails, fewer if these coincide. Text, booleans and integers with at
    most MOST_CATEGORIES values get one bin per value; text with more values than MOST_KNOWN only for the most frequent.

    source: the SQL after FROM; columns: name -> DuckDB type, as in DESCRIBE.
    """
    return tuple(_choose_bins(con, source, name, kind) for name, kind in columns.items())


def family(kind: str) -> str:
    """Return the family of a DuckDB type: int, float, text, bool, timestamp, or the type."""
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "timestamp"
    if kind.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        return "float"
    if kind.removeprefix("U").startswith(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")):
        return "int"
    return {"VARCHAR": "text", "BOOLEAN": "bool"}.get(kind, "text" if kind.startswith("ENUM") else kind)


def number(name: str, kind: str) -> str:
    """Return the SQL expression for a column as a number, of any type.

    Null for text that is not a number.
    """
    match family(kind):
        case "timestamp":
            return f"epoch({quoted(name)})"
        case "int":
            return quoted(name)
        case "float":
            return quoted(name) if kind == "DOUBLE" else f"{quoted(name)}::DOUBLE"
        case "bool":
            return f"{quoted(name)}::INTEGER"
        case _:
            return f"try_cast({quoted(name)}::VARCHAR AS DOUBLE)"


def _choose_bins(con: DuckDBPyConnection, source: str, name: str, kind: str) -> Bins:
    if family(kind) in ("text", "bool"):
        return _categories(con, source, name)
    if family(kind) == "int" and 0 < _distinct(con, source, quoted(name), MOST_CATEGORIES) <= MOST_CATEGORIES:
        return _categories(con, source, name, integer=True)
    shares = sorted([*(step / NUMBER_OF_BINS for step in range(1, NUMBER_OF_BINS)), *TAILS])
    value = f"{number(name, kind)}::DOUBLE"
    finite = f"(SELECT {value} AS v FROM {source} WHERE isfinite({value}))"
    query = f"SELECT min(v), max(v), quantile_disc(v, {shares}), {_spread_sql('v')} FROM {finite}"
    low, high, quantiles, sd = con.execute(query).fetchall()[0]
    if low is None:
        return Bins(name, edges=(0.0,))  # only nulls: any value will be new
    deciles = sorted({edge for edge, share in zip(quantiles, shares, strict=True) if edge < high and share not in TAILS})
    edges = sorted({edge for edge in quantiles if edge < high})
    if not edges:  # nearly all rows have one value: bins below it, for it, and above it
        edges = [float(np.nextafter(high, -np.inf)), high]
    few = _distinct(con, source, value, MOST_VALUES) <= MOST_VALUES
    return Bins(name, tuple(edges), low=low, high=high, sd=_rounded(sd), deciles=tuple(deciles or edges), few=few)


def _categories(con: DuckDBPyConnection, source: str, name: str, integer: bool = False) -> Bins:
    text = f"{quoted(name)}::VARCHAR"
    rows = con.execute(
        f"SELECT {text} FROM {source} WHERE {text} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_KNOWN}"
    ).fetchall()
    categories = tuple(value for (value,) in rows)
    if not integer or not categories:
        return Bins(name, categories=categories)
    query = f"SELECT min(v), max(v), {_spread_sql('v')} FROM (SELECT {quoted(name)}::DOUBLE AS v FROM {source})"
    ((low, high, sd),) = con.execute(query).fetchall()
    return Bins(name, categories=categories, low=low, high=high, sd=_rounded(sd))


def _spread_sql(value: str) -> str:
    # The standard deviation of values around 1e200 overflows a double; if it is null, nothing is scaled by it.
    return f"CASE WHEN max(abs({value})) < 1e150 THEN stddev_pop({value}) END"


def _rounded(sd: float | None) -> float | None:
    """Round to six digits: parallel sums differ in their last digits from run to run, a profile must not."""
    return None if sd is None else float(f"{sd:.6g}")


def _distinct(con: DuckDBPyConnection, source: str, value: str, most: int) -> int:
    """Count distinct values, null included, up to one more than `most`."""
    ((count,),) = con.execute(f"SELECT count(*) FROM (SELECT DISTINCT {value} FROM {source} LIMIT {most + 1})").fetchall()
    return int(count)
