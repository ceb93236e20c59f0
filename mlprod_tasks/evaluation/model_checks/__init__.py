"""Checks of a fitted model.

Each measures one thing; gates compare it with bounds.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mlprod_tasks.models.model import Model
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.models.stored_rows import Rows, table_of

AnyModel = Model | SegmentedModel


def spread(rows: Rows, most: int) -> pa.Table:
    """Return at most `most` rows, evenly spread over the table.

    Always the same ones for the same table.
    """
    if rows.num_rows <= most:
        return table_of(rows)
    return rows.take(pa.array(np.linspace(0, rows.num_rows - 1, most).round().astype(np.int64)))
