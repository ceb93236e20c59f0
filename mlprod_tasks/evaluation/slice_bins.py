"""Split rows by one feature: by values, by quarters of a number, or if missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.models.feature_frame import NUMBERS
from mlprod_tasks.platform.sql import literal

DISTINCT = 12  # a number with at most so many values is split by value
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Binned:
    """The condition that each row meets: codes (n,) are positions in `conditions`."""

    name: str
    codes: NDArray[np.int32]
    conditions: tuple[str, ...]


def binned(name: str, column: pa.ChunkedArray | pa.Array) -> Binned:
    """Split rows by a feature.

    By value if it is text, boolean or has at most DISTINCT values, else by quarters. Quarters are cut at quantiles rounded to
    four digits, so that the printed condition is exact.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    values = sorted(pc.unique(array).drop_null().to_pylist())
    number = not pa.types.is_boolean(array.type) and any(is_one(array.type) for is_one in NUMBERS)
    if not number or len(values) <= DISTINCT:
        known = pc.index_in(array, value_set=pa.array(values, array.type))
        return _with_missing(name, known.fill_null(len(values)).to_numpy(zero_copy_only=False), _equal_conditions(name, values))
    numbers = array.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    present = numbers[~np.isnan(numbers)]
    cuts = sorted({float(f"{cut:.4g}") for cut in np.quantile(present, QUARTERS)})
    codes = np.where(np.isnan(numbers), len(cuts) + 1, np.searchsorted(cuts, numbers, side="right"))
    return _with_missing(name, codes, _range_conditions(name, cuts))


def _with_missing(name: str, codes: NDArray, conditions: Sequence[str]) -> Binned:
    has_missing = (codes == len(conditions)).any()
    return Binned(name, codes.astype(np.int32), (*conditions, f"{name} is missing") if has_missing else tuple(conditions))


def _equal_conditions(name: str, values: Sequence[object]) -> list[str]:
    return [f"{name} = {_format_value(value)}" for value in values]


def _range_conditions(name: str, cuts: Sequence[float]) -> list[str]:
    edges = [_format_value(cut) for cut in cuts]
    middle = [f"{low} <= {name} < {high}" for low, high in pairwise(edges)]
    return [f"{name} < {edges[0]}", *middle, f"{name} >= {edges[-1]}"]


def _format_value(value: object) -> str:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return repr(value) if isinstance(value, float) else str(value)
