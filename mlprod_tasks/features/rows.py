"""The rows to score: their times, their order in time, their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.feature import Feature
from mlprod_tasks.declaration.reads import needed_by
from mlprod_tasks.features.keys import KeyCodes, combined_codes
from mlprod_tasks.features.known import predict_at
from mlprod_tasks.platform.sql import identifier


@dataclass(frozen=True)
class ScoredRows:
    """The rows of the entity to score, sorted by (tick, key), and their order by predict_at."""

    table: pa.Table
    at: np.ndarray  # predict_at in microseconds, ascending
    order: np.ndarray  # the rows' positions in that order

    @property
    def count(self) -> int:
        return int(self.table.num_rows)

    def key(self, pairs: Mapping[str, str], of: Callable[[str, str], KeyCodes]) -> KeyCodes:
        """The codes of a key of several columns.

        pairs: own column by joined column; of: the codes of one pair.
        """
        return combined(pairs, of)


def combined(pairs: Mapping[str, str], of: Callable[[str, str], KeyCodes]) -> KeyCodes:
    """As `ScoredRows.key`."""
    return reduce(combined_codes, (of(mine, theirs) for mine, theirs in sorted(pairs.items())))


def query(pipeline: Pipeline, features: Sequence[Feature], also: Sequence[str] = ()) -> Callable[[str], str]:
    """SQL of the scored rows: every column that a feature reads, and those of `also`, `tick` and `predict_at`."""
    entity = pipeline.entity_table
    needed = {*needed_by(entity, features), *also}
    columns = ", ".join(identifier(column.name) for column in entity.lake_columns if column.name in needed)
    return lambda relation: (
        f"SELECT {columns}, tick, CAST({predict_at(pipeline)} AS TIMESTAMPTZ) AS predict_at "
        f"FROM {relation} JOIN calendar USING (tick)"
    )


def scored_rows(table: pa.Table, key: Sequence[str]) -> ScoredRows:
    """Sort the rows to score by (tick, key), and find their order by predict_at."""
    order = ["tick", *key]
    if not _ascending([table[name] for name in order]):
        table = table.sort_by([(name, "ascending") for name in order])
    at = table["predict_at"].cast(pa.int64()).to_numpy()
    if bool(np.all(at[1:] >= at[:-1])):
        return ScoredRows(table, at, np.arange(at.size))
    by_time = np.argsort(at, kind="stable")
    return ScoredRows(table, at[by_time], by_time)


def _ascending(columns: Sequence[pa.ChunkedArray]) -> bool:
    """Whether the rows are sorted by the columns.

    Published partitions are, and checking is cheaper than sorting.
    """
    undecided = np.ones(max(len(columns[0]) - 1, 0), bool)
    for column in columns:
        before, after = column.slice(0, len(column) - 1) if len(column) else column, column.slice(1)
        if bool(np.any(undecided & pc.less(after, before).to_numpy())):
            return False
        undecided &= pc.equal(after, before).to_numpy()
    return True
