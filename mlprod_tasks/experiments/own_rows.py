"""Which rows of a tick the deployed model itself answered: not its fallback, and not another variant of an experiment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration.experiment import ASSIGNED, CONTROL, VARIANT

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TREATED = f"coalesce({VARIANT} <> '{CONTROL}', false)"


@dataclass(frozen=True)
class OwnRows:
    """The rows of a tick, by who answered them.

    rows: all; fallback: those that the fallback answered for the model; treated: those of other variants of an experiment;
    condition: SQL for the rows that the model itself answered, '' if it answered all.
    """

    rows: int
    fallback: int
    treated: int
    condition: str

    @property
    def answered(self) -> int:
        return self.rows - self.fallback - self.treated

    def of(self, source: str) -> str:
        """What follows FROM, for the rows of `source` that the model itself answered."""
        return f"(SELECT * FROM {source} WHERE {self.condition})" if self.condition else source


def own_rows(con: DuckDBPyConnection, source: str, columns: set[str]) -> OwnRows:
    """Count the rows of logged predictions by who answered them.

    source: what follows FROM; columns: that it has. A row of another variant is not the deployed model's, even if that has the
    same version: another threshold decided it.
    """
    treated = treated_sql(columns)
    query = (
        f"SELECT count(*), count(*) FILTER (WHERE fallback AND NOT {treated}), count(*) FILTER (WHERE {treated}) FROM {source}"
    )
    ((rows, fallback, others),) = con.execute(query).fetchall()
    return own_of(int(rows), int(fallback), int(others), columns)


def own_of(rows: int, fallback: int, treated: int, columns: Collection[str]) -> OwnRows:
    """The same from the numbers of rows."""
    condition = f"NOT fallback AND NOT {treated_sql(columns)}" if fallback or treated else ""
    return OwnRows(rows, fallback, treated, condition)


def treated_sql(columns: Collection[str]) -> str:
    """SQL for whether a row is of another variant of an experiment. columns: of the logged predictions."""
    return TREATED if set(ASSIGNED) <= set(columns) else "false"


def is_own(rows: pa.Table) -> NDArray[np.bool_]:
    """Whether the deployed model itself answered each row, (rows,)."""
    own = ~np.asarray(rows["fallback"].to_numpy(zero_copy_only=False), bool)
    if set(ASSIGNED) <= set(rows.column_names):
        own &= np.array([variant in (None, CONTROL) for variant in rows[VARIANT].to_pylist()], bool)
    return own
