"""Features that have only a few values in a tick: their mean by tick, which is watched as a series.

A count over the last week by airport has one value a day for each of three airports. Its rows are no sample of a distribution:
each tick has its own few values, and so its distribution is far from that of any other ticks, however little has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.count import rounded, sum_of
from mlprod_tasks.statistics.bins import Bins, family, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_IN_A_TICK = 30  # distinct values: about as many make the deciles of one tick a sample
FRESH = 3  # times as many distinct values in the reference as in a tick: each tick brings its own
FEWEST_TICKS = 5  # for a spread over ticks


def levels_by_tick(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str], ticks: Sequence[TickName]
) -> dict[str, tuple[float | None, ...]]:
    """The mean on each of `ticks` of every number that is a series, by column; None for a tick with nulls only.

    A number is one if a usual tick has at most MOST_IN_A_TICK distinct values, and the reference FRESH times as many.
    """
    numbers = [one for one in bins if (one.of_numbers or one.of_integers) and _is_number(kinds[one.column])]
    if len(ticks) < FEWEST_TICKS or not numbers:
        return {}
    values = [f"{number(one.column, kinds[one.column])}::DOUBLE" for one in numbers]
    distinct = ", ".join(f"approx_count_distinct({value})" for value in values)
    by_tick = con.execute(f"SELECT tick, {distinct} FROM {source} GROUP BY tick").fetchall()
    (every,) = con.execute(f"SELECT {distinct} FROM {source}").fetchall()
    found = []
    for at, one in enumerate(numbers):
        usual = median(row[1 + at] for row in by_tick)
        if 0 < usual <= MOST_IN_A_TICK and every[at] >= FRESH * usual:
            found.append(one.column)
    if not found:
        return {}
    query = f"SELECT tick, {means_sql(found, kinds)} FROM {source} GROUP BY tick"
    means = {tick: list(map(_rounded, of_tick)) for tick, *of_tick in con.execute(query).fetchall()}
    return {name: tuple(means[tick][at] for tick in ticks) for at, name in enumerate(found)}


def levels(con: DuckDBPyConnection, source: str, names: Sequence[str], kinds: Mapping[str, str]) -> dict[str, float | None]:
    """The mean of each column over the rows of one tick; None without finite values."""
    return mean_levels([sums(con, source, names, kinds)])


# By column, the sum of its finite values, and how many they are.
Sums = Mapping[str, tuple[float, int]]


def sums(con: DuckDBPyConnection, source: str, names: Sequence[str], kinds: Mapping[str, str]) -> Sums:
    """What `mean_levels` needs to know of some of the rows."""
    if not names:
        return {}
    values = [f"{number(name, kinds[name])}::DOUBLE" for name in names]
    # fsum adds with compensation: parallel sums then differ in the last digits only, which rounding removes.
    selected = ", ".join(
        f"coalesce(fsum({value}) FILTER (isfinite({value})), 0), count(*) FILTER (isfinite({value}))" for value in values
    )
    (found,) = con.execute(f"SELECT {selected} FROM {source}").fetchall()
    return {name: (found[2 * at], found[2 * at + 1]) for at, name in enumerate(names)}


def mean_levels(pieces: Sequence[Sums]) -> dict[str, float | None]:
    """The mean of each column over all rows, from the `sums` of pieces; at least one."""
    means = {}
    for name in pieces[0]:
        rows = sum(piece[name][1] for piece in pieces)
        means[name] = rounded(sum_of(piece[name][0] for piece in pieces) / rows) if rows else None
    return means


def means_sql(names: Sequence[str], kinds: Mapping[str, str]) -> str:
    """SQL of the mean of each column's finite values, whose last digits depend on threads."""
    values = [f"{number(name, kinds[name])}::DOUBLE" for name in names]
    # favg adds with compensation: parallel sums then differ in the last digits only, which rounding removes.
    return ", ".join(f"favg({value}) FILTER (isfinite({value}))" for value in values)


def _rounded(mean: float | None) -> float | None:
    return None if mean is None else rounded(mean)


def _is_number(kind: str) -> bool:
    return family(kind) in ("int", "float")
