"""A usual value of a feature, to put in place of a row's own: what it changes is the effect of the feature."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def usual_value(column: Any) -> Any:
    """Return the lower median of numbers, which is always one of them; of others the most frequent, the first of several.

    None if no value is present.
    """
    present = column.drop_null()
    if len(present) == 0:
        return None
    if pa.types.is_integer(present.type) or pa.types.is_floating(present.type):
        return present.sort()[(len(present) - 1) // 2].as_py()
    counted = pc.value_counts(present).to_pylist()
    return max(sorted(counted, key=lambda one: str(one["values"])), key=lambda one: one["counts"])["values"]
