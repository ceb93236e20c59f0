"""Leave out rows whose features no model takes: infinite, or an expression that cannot be computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.feature_frame import not_finite


@dataclass(frozen=True)
class UsableRows:
    """The rows that a model can be trained on, and how many were left out, by the feature that is at fault."""

    table: pa.Table
    left_out: Counter[str]


def usable_rows(pipeline: Pipeline, table: pa.Table, failed: Mapping[int, str] | None = None) -> UsableRows:
    """Leave out rows with an infinite number, and those of `failed` (position and feature, see FeatureSet).

    A categorical feature may be infinite: it is a category like others.
    """
    numbers = [name for name in pipeline.feature_names if name not in pipeline.model.categorical]
    faults = not_finite(table, numbers) | dict(failed or {})
    if not faults:
        return UsableRows(table, Counter())
    kept = np.ones(table.num_rows, bool)
    kept[list(faults)] = False
    return UsableRows(table.filter(pa.array(kept)), Counter(faults.values()))
