"""Frames of pandas, polars or Arrow, from Arrow tables and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["pandas", "polars", "arrow"]
Frame: TypeAlias = Any  # pandas.DataFrame | polars.DataFrame | pyarrow.Table


def frame(table: pa.Table, kind: Kind) -> Frame:
    """Return a table as a frame of that kind.

    In pandas, whole numbers and booleans with missing values become Int64 and boolean, so that they stay what they are.
    Raises: ValueError for another kind; ModuleNotFoundError without polars.
    """
    match kind:
        case "arrow":
            return table
        case "pandas":
            return _pandas(table)
        case "polars":
            return _polars().from_arrow(table)
        case _:
            raise ValueError(f"a frame can be 'pandas', 'polars' or 'arrow', not {kind!r}")


def arrow(given: Frame) -> tuple[pa.Table, Kind]:
    """Return a frame as an Arrow table, and its kind. Raises: TypeError."""
    import pandas as pd

    if isinstance(given, pa.Table):
        return given, "arrow"
    if isinstance(given, pd.DataFrame):
        return pa.Table.from_pandas(given, preserve_index=False), "pandas"
    if type(given).__module__.partition(".")[0] == "polars" and hasattr(given, "to_arrow"):
        return _plain_texts(given.to_arrow()), "polars"
    raise TypeError(f"give a frame of pandas, polars or Arrow, not {type(given).__name__}")


def _pandas(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    kept = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
    made = table.to_pandas()
    for name in table.column_names:
        if table[name].null_count and table[name].type in kept:
            made[name] = table[name].to_pandas(types_mapper=kept.get)
    return made


def _polars() -> Any:
    try:
        import polars
    except ModuleNotFoundError:
        raise ModuleNotFoundError("polars is not installed: pip install 'mlprod[polars]', or ask for another kind") from None
    return polars


def _plain_texts(table: pa.Table) -> pa.Table:
    """Texts of polars have 64-bit offsets or views, and categories are dictionaries: models read plain texts."""
    plain = {
        name: table[name].cast(pa.string())
        for name in table.column_names
        if pa.types.is_large_string(table[name].type)
        or pa.types.is_string_view(table[name].type)
        or pa.types.is_dictionary(table[name].type)
    }
    return pa.table({name: plain.get(name, table[name]) for name in table.column_names})
