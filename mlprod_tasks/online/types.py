"""Ask DuckDB about an expression before any row is computed: types, constants, time zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from mlprod_tasks.platform.sql import literal

DOUBLE = "DOUBLE"
# Offsets from UTC are known between these years; DuckDB computes times outside of them.
FIRST_YEAR, LAST_YEAR = 1970, 2100
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
READERS = {
    "TIMESTAMP": "epoch_us({})",
    "TIMESTAMP WITH TIME ZONE": "epoch_us({})",
    "DATE": "({} - DATE '1970-01-01')",
    "INTERVAL": (
        "[12 * extract(year FROM {0}) + extract(month FROM {0}), extract(day FROM {0}), "
        "3600000000 * extract(hour FROM {0}) + 60000000 * extract(minute FROM {0}) + extract(microsecond FROM {0})]"
    ),
}


class Types:
    """Types and constants of expressions over columns of given types.

    zones: a cache of time zone offsets to share.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: Mapping[str, str],
        zones: dict[str, tuple[list[int], list[int]]] | None = None,
    ) -> None:
        self.columns = dict(columns)
        self._connection = connection
        nulls = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in columns.items()) or "NULL AS nothing"
        self._row = f"(SELECT {nulls})"
        self._known: dict[str, str] = {}
        self._zones = {} if zones is None else zones

    def of(self, sql: str) -> str:
        """The type of an expression. Raises: duckdb.Error."""
        if sql not in self._known:
            ((_, kind, *_),) = self._connection.execute(f"DESCRIBE SELECT ({sql}) AS result FROM {self._row}").fetchall()
            self._known[sql] = "NULL" if kind == '"NULL"' else kind
        return self._known[sql]

    def constant(self, sql: str, kind: str) -> Any:
        """The value of an expression that reads no column. Raises: duckdb.Error."""
        reader = READERS.get(kind, "{}").format(f"({sql})")
        ((value,),) = self._connection.execute(f"SELECT {reader}").fetchall()
        return value

    def zone(self, name: str) -> tuple[list[int], list[int]]:
        """The times at which a time zone's offset changes, and the offset from each on, in microseconds."""
        if name not in self._zones:
            self._zones[name] = _zone(self._connection, name)
        return self._zones[name]


def _zone(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[list[int], list[int]]:
    """Compare offsets every 12 hours, then every minute where they differ, then every second."""
    zone = literal(name)
    first, last = (f"epoch_us(TIMESTAMPTZ '{year}-01-01 00:00:00+00')" for year in (FIRST_YEAR, LAST_YEAR))
    spans = f"SELECT {first} AS low, {last} AS high"
    for step in (12 * HOUR, MINUTE, SECOND):
        looked = f"SELECT unnest(generate_series(low, high, {step})) AS us FROM ({spans})"
        offsets = f"SELECT us, epoch_us(timezone({zone}, make_timestamptz(us))) - us AS offset_us FROM ({looked})"
        before = "lag(us) OVER (ORDER BY us) AS low, lag(offset_us) OVER (ORDER BY us) AS was"
        beside = f"SELECT us, offset_us, {before} FROM ({offsets})"
        changed = connection.execute(
            f"SELECT low, us, offset_us FROM ({beside}) WHERE was <> offset_us AND us - low = {step} ORDER BY us"
        ).fetchall()
        if not changed:
            break  # the offset never changes
        spans = " UNION ALL ".join(f"SELECT {low} AS low, {high} AS high" for low, high, _ in changed)
    both = f"SELECT unnest([{first}, {last}]) AS us"
    ends = connection.execute(
        f"SELECT us, epoch_us(timezone({zone}, make_timestamptz(us))) - us FROM ({both}) ORDER BY us"
    ).fetchall()
    changes = [ends[0], *((high, offset) for _, high, offset in changed), ends[1]]
    return [us for us, _ in changes], [offset for _, offset in changes]
