"""Read the lake's raw tables at fixed versions, opening only the files that are needed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cached_property

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from mlprod_tasks.declaration import Pipeline, Population, Schedule, Table, Tick, TickRange
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.features.known import CALENDAR, STARTS, TYPES, usable_at
from mlprod_tasks.features.population import population_sql
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import USABLE, listed
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.tick_columns import sql_type, tick_array


class Snapshot:
    """All tables of a pipeline at fixed Delta versions, so that all reads are consistent.

    versions: pins tables to these versions; other tables are read at their current version. until: leave out what was not known
    when that tick was scored: partitions of later ticks, late values and late rows. The arrival of rows in reference tables is
    not recorded, so these are read as they are. examples: of a scored table without a time, whose snapshots have rows to train
    on beside rows to score, read all; else only those to score, which have no outcome yet.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        platform: Platform,
        versions: Mapping[str, int] | None = None,
        until: Tick | None = None,
        *,
        examples: bool = False,
    ) -> None:
        unknown = set(versions or ()) - {table.name for table in pipeline.tables}
        if unknown:
            raise ValueError(f"versions names {sorted(unknown)}, which pipeline {pipeline.name!r} does not declare")
        self.pipeline = pipeline
        self.versions: dict[str, int] = {}
        self._lake = platform.lake
        self._pinned = dict(versions or {})
        self._until = until
        self._examples = examples
        self._opened: dict[str, _Files] = {}

    def read(
        self,
        connection: duckdb.DuckDBPyConnection,
        query: Callable[[str], str],
        name: str,
        ticks: TickRange | None = None,
        *,
        scored: bool = False,
    ) -> pa.Table:
        """Run `query(relation)` over the rows of one table in the partitions of `ticks` (None: all partitions).

        scored: whether these are the rows to score, which count even if they came late.
        """
        if self.pipeline.population is not None and name == self.pipeline.entity_name:
            assert ticks is not None
            return self._read_population(connection, query, self.pipeline.population, ticks)
        table = self.pipeline.table(name)
        if scored and table.snapshots and not self._examples:
            query = _only(query, without_outcome(self.pipeline))
        files = self._files(name).of(ticks if table.time else None, self._end(table))
        if ticks is not None and (table.ticks_ahead or name == self.pipeline.entity_name):
            connection.register(CALENDAR, self.calendar(ticks.first, ticks.last))
        return self._run(connection, query, table, files, scored)

    def _run(
        self, connection: duckdb.DuckDBPyConnection, query: Callable[[str], str], table: Table, files: list[str], scored: bool
    ) -> pa.Table:
        if not files:
            return connection.sql(query(_empty(table, self.pipeline.schedule))).to_arrow_table()
        try:
            rows = f"read_parquet({listed(files)}{_hive(table, self.pipeline.schedule)})"
            return connection.sql(query(self._hide_unknown(table, rows, scored))).to_arrow_table()
        except duckdb.Error:
            return connection.sql(
                query(self._hide_unknown(table, _by_name(table, files, self.pipeline.schedule), scored))
            ).to_arrow_table()

    def hides_late(self, name: str, ticks: TickRange) -> bool:
        """Whether partitions of `ticks` may have late rows that only some ticks may use. Opens no data file."""
        return self.pipeline.table(name).late == "hide" and self._files(name).have_late(ticks)

    def _read_population(
        self, connection: duckdb.DuckDBPyConnection, query: Callable[[str], str], population: Population, ticks: TickRange
    ) -> pa.Table:
        table = self.pipeline.table(population.seen_in)
        files = self._files(table.name)
        first = ticks.schedule.shift(ticks.last, 1) if files.oldest is None else files.oldest
        if population.within is not None:
            # A row known in [start(t - 1), start(t)) is in partition t.
            schedule = self.pipeline.schedule
            first = max(first, schedule.name_at(schedule.moment(ticks.first) - population.within))
        seen = files.of(TickRange(ticks.schedule, first, ticks.last), self._end(table)) if first <= ticks.last else []
        connection.register(CALENDAR, self.calendar(ticks.first, ticks.last))
        hides_late = table.late == "hide" and self._files(table.name).have_late()
        return self._run(
            connection, lambda rows: query(f"({population_sql(population, table, rows, hides_late)})"), table, seen, scored=True
        )

    def relation(self, name: str, same_columns: bool = False) -> str:
        """SQL of all rows of one table.

        same_columns: all files have all columns, so none has to be opened to check that.
        """
        table = self.pipeline.table(name)
        files = self._files(name).of(None, self._end(table))
        if not files:
            return _empty(table, self.pipeline.schedule)
        schedule = self.pipeline.schedule
        rows = f"read_parquet({listed(files)}{_hive(table, schedule)})" if same_columns else _by_name(table, files, schedule)
        return self._hide_unknown(table, rows)

    def calendar(self, first: TickName, last: TickName) -> pa.Table:
        """Every tick from `first` to `last` (`tick`) and its start (`_starts_at`)."""
        days = self.pipeline.schedule.names(first, last)
        starts = pa.array([self.pipeline.schedule.moment(day) for day in days], pa.timestamp("us", "UTC"))
        return pa.table({"tick": tick_array(days, self.pipeline.schedule), STARTS: starts})

    def rows_to_score(self, ticks: TickRange) -> dict[TickName, int]:
        """The number of rows to score at each tick in the range; of a population, or without a time, counted in the rows."""
        table = self.pipeline.entity_table
        if self.pipeline.population is None and (self._examples or not table.snapshots):
            return self.rows_per_tick(self.pipeline.entity_name, ticks)
        with engine(lake=self._lake) as connection:
            counted = self.read(
                connection,
                lambda rows: f"SELECT tick, count(*) AS n FROM {rows} GROUP BY tick",
                self.pipeline.entity_name,
                ticks,
                scored=True,
            )
        return dict(zip(counted["tick"].to_pylist(), counted["n"].to_pylist(), strict=True))

    def most_rows_to_score(self, ticks: TickRange) -> int:
        """At least as many rows as there are to score; of a population, or without a time, maybe more. Opens no data file."""
        if self.pipeline.population is None:
            return sum(self.rows_per_tick(self.pipeline.entity_name, ticks).values())
        return self.rows(self.pipeline.population.seen_in) * len(ticks.names)

    def rows(self, name: str, ticks: TickRange | None = None) -> int:
        """The number of rows in the partitions of `ticks` (None: all), from the Delta log. Opens no data file."""
        if ticks is not None:
            return sum(self.rows_per_tick(name, ticks).values())
        return self._files(name).rows

    def version(self, name: str) -> int:
        """The version at which a table is read. Raises: TableMissing."""
        self._files(name)
        return self.versions[name]

    def ticks(self, name: str) -> set[TickName]:
        """The ticks that have rows."""
        return self._files(name).ticks

    def rows_per_tick(self, name: str, ticks: TickRange) -> dict[TickName, int]:
        """The number of rows of each tick in the range, from the Delta log.

        Opens no data file.
        """
        return {tick: count for tick, count in self._files(name).rows_per_tick.items() if ticks.first <= tick <= ticks.last}

    def oldest(self, name: str) -> TickName | None:
        """The first tick that has rows; None if the table is empty."""
        return self._files(name).oldest

    def _end(self, table: Table) -> TickName | None:
        """The last partition to read; None for all."""
        return self._until.name if self._until is not None and table.time else None

    def _hide_unknown(self, table: Table, relation: str, scored: bool = False) -> str:
        """SQL of the relation without late rows and late values that were not there at the start of tick `until`."""
        if self._until is None:
            return relation
        start = f"TIMESTAMPTZ '{self._until.start.isoformat()}'"
        if not scored and self._files(table.name).have_late():
            relation = f"(SELECT * FROM {relation} WHERE {usable_at(start)})"
        late = {column.name: column.known_at for column in table.lake_columns if column.known_at}
        if not late:
            return relation
        late |= {moment: moment for moment in late.values()}
        columns = [
            f"CASE WHEN {identifier(at)} < {start} THEN {identifier(name)} END AS {identifier(name)}"
            for name, at in late.items()
        ]
        return f"(SELECT * REPLACE ({', '.join(columns)}) FROM {relation})"

    def _files(self, name: str) -> _Files:
        """The table's files, at the version that all later reads use too.

        Raises: TableMissing.
        """
        if name not in self._opened:
            table = self._lake.table(names.raw(self.pipeline, name), self._pinned.get(name))
            self.versions[name] = int(table.version())
            self._opened[name] = _Files(table, self._lake.files_of(table))
        return self._opened[name]


class _Files:
    """The files of one version of a table.

    The Delta log is read once for all ranges of ticks.
    """

    def __init__(self, table: DeltaTable, files: list[tuple[str, str]]) -> None:
        self.table = table
        self._files = files

    @property
    def ticks(self) -> set[TickName]:
        return {tick_named(tick) for tick, _ in self._files}

    @property
    def oldest(self) -> TickName | None:
        return tick_named(self._files[0][0]) if self._files else None

    @cached_property
    def rows(self) -> int:
        log = pa.table(self.table.get_add_actions(flatten=True))
        return sum(count or 0 for count in log["num_records"].to_pylist())

    @cached_property
    def rows_per_tick(self) -> dict[TickName, int]:
        rows: dict[TickName, int] = {}
        log = pa.table(self.table.get_add_actions(flatten=True))
        for tick, count in zip(log["partition.tick"].to_pylist(), log["num_records"].to_pylist(), strict=True):
            day = tick_named(str(tick))
            rows[day] = rows.get(day, 0) + (count or 0)
        return rows

    def have_late(self, ticks: TickRange | None = None) -> bool:
        """Whether the partitions of these ticks (None: all) may have rows that arrived late."""
        first, last = (str(ticks.first), str(ticks.last)) if ticks else ("", "9999")
        return any(first <= tick <= last for tick in self._late_ticks)

    @cached_property
    def _late_ticks(self) -> set[str]:
        """The ticks with a file in which `_usable_from` is not always null, or of which Delta does not know."""
        if USABLE not in {field.name for field in self.table.schema().fields}:
            return set()
        log = pa.table(self.table.get_add_actions(flatten=True))
        count = f"null_count.{USABLE}"
        nulls = log[count].to_pylist() if count in log.column_names else [None] * log.num_rows
        files = zip(log["partition.tick"].to_pylist(), log["num_records"].to_pylist(), nulls, strict=True)
        return {str(tick) for tick, rows, null in files if null is None or null != rows}

    def of(self, ticks: TickRange | None, until: TickName | None = None) -> list[str]:
        """The files of these ticks (None: all) up to tick `until`, in the order of ticks."""
        if ticks is None:
            return [file for tick, file in self._files if until is None or tick <= str(until)]
        first = bisect_left(self._files, (str(ticks.first), ""))
        after = ticks.schedule.shift(min(ticks.last, until or ticks.last), 1)
        last = bisect_left(self._files, (str(after), ""))
        return [file for _, file in self._files[first:last]]


def _only(query: Callable[[str], str], condition: str) -> Callable[[str], str]:
    """The query over the rows that meet a condition."""
    return lambda relation: query(f"(SELECT * FROM {relation} WHERE {condition})")


def without_outcome(pipeline: Pipeline) -> str:
    """SQL of whether a row of a scored table without a time is to be scored: its outcome is missing, or cannot be computed."""
    return f"TRY(({pipeline.label.sql})) IS NULL"


def _empty(table: Table, schedule: Schedule) -> str:
    columns = [f"CAST(NULL AS {TYPES[column.kind]}) AS {identifier(column.name)}" for column in table.lake_columns]
    if table.time:
        columns += [f"CAST(NULL AS {sql_type(schedule)}) AS tick", f"CAST(NULL AS TIMESTAMPTZ) AS {USABLE}"]
    return f"(SELECT {', '.join(columns)} WHERE false)"


def _by_name(table: Table, files: list[str], schedule: Schedule) -> str:
    """SQL of rows from files with different columns: a column declared later is null in older files.

    DuckDB opens all files before it reads a row, so this is used only if reading without it fails.
    """
    rows = f"read_parquet({listed(files)}{_hive(table, schedule)}, union_by_name=true)"
    return f"(SELECT * FROM {rows} UNION ALL BY NAME SELECT * FROM {_empty(table, schedule)})"


def _hive(table: Table, schedule: Schedule) -> str:
    return f", hive_partitioning=true, hive_types={{'tick': {sql_type(schedule)}}}" if table.time else ""
