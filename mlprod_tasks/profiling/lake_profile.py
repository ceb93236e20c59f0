"""Profile the tables of a use case as they are in the lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, Table
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing, listed
from mlprod_tasks.platform.progress import tracked
from mlprod_tasks.profiling.column_profile import ColumnProfile, ProfiledColumn, profile_columns
from mlprod_tasks.profiling.over_time import OverTime, over_time

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class TableProfile:
    """A table in the lake: its columns, and how they change; that is empty for a reference table."""

    table: Table
    columns: tuple[ColumnProfile, ...]
    changes: Mapping[str, OverTime]

    @property
    def rows(self) -> int:
        return self.columns[0].rows if self.columns else 0


def table_profiles(pipeline: Pipeline, platform: Platform) -> tuple[TableProfile, ...]:
    """The profile of each table that is in the lake. Values of personal columns are not shown."""
    with engine(spill=platform.settings.home / "spill", lake=platform.lake) as connection:
        found = (_table(pipeline, table, platform, connection) for table in tracked(pipeline.tables, "profile", _name))
        return tuple(one for one in found if one is not None)


def _name(table: Table) -> str:
    return table.name


def _table(pipeline: Pipeline, table: Table, platform: Platform, connection: DuckDBPyConnection) -> TableProfile | None:
    try:
        files = platform.lake.files(names.raw(pipeline, table.name))
    except TableMissing:
        return None
    if not files:
        return None
    relation = f"read_parquet({listed(files)}, union_by_name = true)"
    columns = [
        ProfiledColumn(
            column.name, "text" if column.personal == "hash" else column.kind, column.doc, column.personal is not None
        )
        for column in table.lake_columns
    ]
    profiles = profile_columns(connection, relation, columns)
    changes: Mapping[str, OverTime] = {}
    if table.time is not None:
        changes = over_time(connection, relation, profiles, table.time, pipeline.schedule.timezone)
    return TableProfile(table, profiles, changes)
