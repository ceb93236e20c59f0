"""Count and sample the few rows of a small tick in memory: planning SQL with all bins takes longer than reading so few rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.models.reference_profile import Codes
from mlprod_tasks.monitoring.count import Counted, sum_of
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics.bins import MOST_CATEGORIES, NULL, OTHER, Bins, CountedColumn, family, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_FEW = 20_000
WIDE = ("HUGEINT", "UHUGEINT", "UBIGINT")  # integers that numpy cannot compare exactly
WHOLE = np.iinfo(np.int64)


def are_few(rows: int, bins: Sequence[Bins], kinds: Mapping[str, str]) -> bool:
    """Whether so many rows of such columns are counted here, with the same result as by `count`."""
    return 0 < rows <= MOST_FEW and not any(one.of_numbers and kinds[one.column] in WIDE for one in bins)


@dataclass(frozen=True)
class FewRows:
    """counted: as by `count`. codes: (rows, columns), the coarse bin of each value, in the order of rows and of bins."""

    counted: Counted
    codes: Codes


def count_few(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str], further: Sequence[str] = ()
) -> FewRows:
    """Count the rows of `source` in the bins of each column; kinds: the DuckDB types of its columns. Else as `count`."""
    ((rows, *extra),) = con.execute(f"SELECT {', '.join(['count(*)', *further])} FROM {source}").fetchall()
    columns, codes = {}, np.zeros((rows, len(bins)), np.uint8)
    for k, (one, values) in enumerate(zip(bins, _read(con, source, bins, kinds), strict=True)):
        columns[one.column], codes[:, k] = (_of_numbers if one.of_numbers else _of_categories)(one, values)
    return FewRows(Counted(rows, columns, tuple(int(n or 0) for n in extra)), codes)


@dataclass(frozen=True)
class _Values:
    """The values of a column. text: of categories. numbers: also of integers that are categories; null: where no value is."""

    text: pa.ChunkedArray | None
    numbers: NDArray[np.int64] | NDArray[np.float64]
    lacks: NDArray[np.bool_]  # a number: null, or text that is none
    null: NDArray[np.bool_]


def _read(con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str]) -> Iterator[_Values]:
    selected = []
    for k, one in enumerate(bins):
        whole = one.of_numbers and family(kinds[one.column]) == "int"
        value = f"{number(one.column, kinds[one.column])}::{'BIGINT' if whole else 'DOUBLE'}"
        selected.append(f"{quoted(one.column)}::VARCHAR AS text_{k}" if not one.of_numbers else f"NULL AS text_{k}")
        selected.append(f"{value if one.of_numbers or one.of_integers else 'NULL::DOUBLE'} AS number_{k}")
        selected.append(f"{quoted(one.column)} IS NULL AS null_{k}")
    rows = con.sql(f"SELECT {', '.join(selected)} FROM {source}").to_arrow_table()
    for k, one in enumerate(bins):
        numbers = rows[f"number_{k}"]
        yield _Values(
            text=None if one.of_numbers else rows[f"text_{k}"],
            numbers=pc.fill_null(numbers, 0).to_numpy(),
            lacks=numbers.is_null().to_numpy(),
            null=rows[f"null_{k}"].to_numpy(),
        )


def _of_numbers(bins: Bins, values: _Values) -> tuple[CountedColumn, NDArray[np.uint8]]:
    v = values.numbers
    finite = np.isfinite(v) & ~values.lacks
    if v.dtype.kind == "i":  # compared as integers, as in SQL: most of them are no double exactly beyond 2^53
        edges = np.array([min(max(int(np.floor(edge)), WHOLE.min), WHOLE.max) for edge in bins.edges], np.int64)
    else:
        edges = np.array(bins.edges)
    at = _bin_of(v, edges, finite, values.null)
    coarse = _bin_of(v.astype(np.float64), np.array(bins.coarse_edges), finite, values.null)
    return _counted(bins, at, v[finite].astype(np.float64)), coarse.astype(np.uint8)


def _of_categories(bins: Bins, values: _Values) -> tuple[CountedColumn, NDArray[np.uint8]]:
    found = pc.fill_null(pc.index_in(values.text, pa.array(bins.categories, pa.string())), OTHER - 2).to_numpy() + 2
    at = np.where(values.null, NULL, found)
    numbers = values.numbers[~values.lacks & np.isfinite(values.numbers)].astype(np.float64)
    coarse = np.where(at >= 2 + MOST_CATEGORIES, OTHER, at)
    return _counted(bins, at, numbers if bins.of_integers else numbers[:0]), coarse.astype(np.uint8)


def _bin_of(
    values: NDArray[np.int64] | NDArray[np.float64],
    edges: NDArray[np.int64] | NDArray[np.float64],
    finite: NDArray[np.bool_],
    null: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The bin of each value: (-inf, edges[0]], (edges[0], edges[1]], ... (edges[-1], inf)."""
    return np.where(null, NULL, np.where(finite, np.searchsorted(edges, values, side="left") + 2, OTHER))


def _counted(bins: Bins, at: NDArray[np.int64], finite: NDArray[np.float64]) -> CountedColumn:
    """at: the bin of each row; finite: the values that are numbers."""
    counts = np.bincount(at, minlength=len(bins)).astype(np.int64)
    below, above = finite[finite < bins.low], finite[finite > bins.high]
    if not (bins.of_numbers or bins.of_integers):
        return CountedColumn(counts)
    beyond = sum_of([*(bins.low - below), *(above - bins.high)])
    return CountedColumn(counts, len(below) + len(above), len(below), len(above), beyond)
