"""Which rows of a tick the deployed model itself answered: not its fallback, and not another variant of an experiment."""

from __future__ import annotations

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

    rows: all; fallback: those that the fallback answered for the model; treated: those of other variants of an experiment; sql:
    what follows FROM, for the rows that the model itself answered.
    """

    rows: int
    fallback: int
    treated: int
    sql: str

    @property
    def answered(self) -> int:
        return self.rows - self.fallback - self.treated


def own_rows(con: DuckDBPyConnection, source: str, columns: set[str]) -> OwnRows:
    """Count the rows of logged predictions by who answered them.

    source: what follows FROM; columns: that it has. A row of another variant is not the deployed model's, even if that has the
    same version: another threshold decided it.
    """
    treated = TREATED if columns.issuperset(ASSIGNED) else "false"
    query = (
        f"SELECT count(*), count(*) FILTER (WHERE fallback AND NOT {treated}), count(*) FILTER (WHERE {treated}) FROM {source}"
    )
    ((rows, fallback, others),) = con.execute(query).fetchall()
    mine = f"(SELECT * FROM {source} WHERE NOT fallback AND NOT {treated})" if fallback or others else source
    return OwnRows(int(rows), int(fallback), int(others), mine)


def is_own(rows: pa.Table) -> NDArray[np.bool_]:
    """Whether the deployed model itself answered each row, (rows,)."""
    own = ~np.asarray(rows["fallback"].to_numpy(zero_copy_only=False), bool)
    if set(ASSIGNED) <= set(rows.column_names):
        own &= np.array([variant in (None, CONTROL) for variant in rows[VARIANT].to_pylist()], bool)
    return own


def deployed_version(con: DuckDBPyConnection, source: str, columns: set[str]) -> int:
    """The version of most rows that are not of another variant, so of the one that is deployed."""
    treated = f" WHERE NOT {TREATED}" if columns.issuperset(ASSIGNED) else ""
    ((version,),) = con.execute(f"SELECT mode(model_version) FROM {source}{treated}").fetchall()
    if version is None:  # every row is of another variant
        ((version,),) = con.execute(f"SELECT mode(model_version) FROM {source}").fetchall()
    return int(version)
