"""Where two columns of features differ, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def differ(a: pa.Array, b: pa.Array) -> np.ndarray:
    """Return where two columns differ; two nulls are equal."""
    if a.type != b.type:
        b = b.cast(a.type)
    if pa.types.is_float64(a.type):  # NaN equals itself, and 0.0 is not -0.0
        a, b = a.view(pa.int64()), b.view(pa.int64())
    same = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(a.is_null(), b.is_null()))
    return ~np.asarray(same.to_numpy(zero_copy_only=False), bool)
