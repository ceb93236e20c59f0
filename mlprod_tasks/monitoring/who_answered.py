"""Which version is the deployed one at a tick, and which rows it answered itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlprod_tasks.experiments.own_rows import OwnRows, own_of, treated_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Rows by model version, whether the fallback answered, and whether they are of another variant of an experiment.
Answers = Mapping[tuple[int | None, bool | None, bool], int]


@dataclass(frozen=True)
class WhoAnswered:
    """The deployed version and its rows: an aggregate of logged predictions. columns: that these have."""

    columns: Collection[str]

    def read(self, con: DuckDBPyConnection, source: str) -> Answers:
        query = f"SELECT model_version, fallback, {treated_sql(self.columns)} AS treated, count(*) FROM {source} GROUP BY ALL"
        return {(version, fallback, treated): n for version, fallback, treated, n in con.execute(query).fetchall()}

    def merge(self, parts: Sequence[Answers]) -> tuple[int, OwnRows]:
        """The version of most rows that are not of another variant, the newest of several; and its own rows."""
        rows: Counter[tuple[int | None, bool | None, bool]] = Counter()
        for part in parts:
            rows.update(part)
        versions: Counter[int] = Counter()
        every_treated = all(treated for _, _, treated in rows)
        for (version, _, treated), n in rows.items():
            if version is not None and (every_treated or not treated):
                versions[version] += n
        fallback = sum(n for (_, by_fallback, treated), n in rows.items() if by_fallback and not treated)
        others = sum(n for (*_, treated), n in rows.items() if treated)
        own = own_of(rows.total(), fallback, others, self.columns)
        return max(versions, key=lambda version: (versions[version], version)), own
