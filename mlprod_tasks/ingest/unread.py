"""Which values of staged rows are not of their declared type: found when they are converted, refused by the audit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# A column of staged rows, which no table can declare: the names of the columns with such a value, each between spaces, or null.
UNREAD = "_unread"


def unread_column(failed: Mapping[str, pa.BooleanArray], count: int) -> pa.Array | None:
    """The column for rows whose values failed to convert, by column; None if none failed."""
    texts = np.full(count, "", dtype=object)
    for name, mask in failed.items():
        texts[mask.to_numpy(zero_copy_only=False)] += f" {name} "
    return pa.array([text or None for text in texts], pa.string()) if failed else None


def unread_rows(staged: pa.Table, name: str) -> np.ndarray:
    """A mask of the rows whose value of a column is not of its declared type."""
    if UNREAD not in staged.column_names:
        return np.zeros(staged.num_rows, dtype=bool)
    found = pc.fill_null(pc.match_substring(staged[UNREAD], f" {name} "), False)
    return np.asarray(found.to_numpy(), dtype=bool)
