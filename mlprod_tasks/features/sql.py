"""Write the definition of the features as readable SQL.

It is slow, and every cell equals that of `build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline, Rate, Table, TickRange, Trailing
from mlprod_tasks.declaration.aggregate import Aggregate, without_rows
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.reads import late_columns, taken_from
from mlprod_tasks.features.aggregate_sql import aggregated
from mlprod_tasks.features.known import KNOWN_AT, TYPES, counts_from, interval, known_at, predict_at, usable_at
from mlprod_tasks.features.population import population_sql
from mlprod_tasks.features.snapshot import Snapshot, without_outcome
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.tick_columns import tick_array

HEAD = """-- Features of pipeline {name}: one row per row of {entity}, from what was knowable at its predict_at.
-- Tables are those of the lake ({place}). Further relations: calendar (tick, _starts_at) holds every tick and the moment it
-- starts, wanted (tick) the ticks to compute."""


def sql(pipeline: Pipeline) -> str:
    """The SQL of all features, in DuckDB's dialect as far as sqlglot can translate it to Spark's."""
    return _Definition(pipeline).text()


def run(pipeline: Pipeline, ticks: TickRange, platform: Platform, *, versions: Mapping[str, int] | None = None) -> pa.Table:
    """Run the definition on DuckDB for some ticks, to compare the result with `build`."""
    snapshot = Snapshot(pipeline, platform, versions)
    with engine(lake=platform.lake) as connection:
        for table in pipeline.tables:
            connection.execute(f"CREATE VIEW {identifier(table.name)} AS SELECT * FROM {snapshot.relation(table.name)}")
        shift = pipeline.schedule.shift
        calendar = snapshot.calendar(shift(pipeline.schedule.first, -400), shift(ticks.last, 2))
        connection.register("calendar", calendar)
        connection.register("wanted", pa.table({"tick": tick_array(ticks.names, pipeline.schedule)}))
        return connection.sql(sql(pipeline)).to_arrow_table()


class _Definition:
    """Writes the statement; names of its CTEs never clash with table names."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.entity = pipeline.entity_table
        self.taken = {table.name for table in pipeline.tables} | {"calendar", "wanted", pipeline.entity_name}
        self.key = ("tick", *(identifier(name) for name in self.entity.key))
        self.rows = self._free("scored_rows")
        self.joined = self._free("joined_rows")
        self.expressed = self._free("expressions")
        self.parts: dict[str, str] = {}

    def text(self) -> str:
        self._scored_rows()
        events = {table.name: self._events(table) for table in self.pipeline.tables if table.time is not None}
        latest = {id(f): self._as_of(f, events[f.table]) for f in self.pipeline.features if isinstance(f, AsOf)}
        windows = {id(f): self._trailing(f, events[f.table]) for f in self.pipeline.features if isinstance(f, Trailing)}
        self._joined(latest | windows)
        expressions = [f for f in self.pipeline.features if isinstance(f, Expression) and f.name not in self._front()]
        self._expressions(expressions)
        head = HEAD.format(name=self.pipeline.name, entity=self.entity.name, place=f"{self.pipeline.name}/raw")
        parts = ",\n".join(f"{name} AS (\n{_indented(body)}\n)" for name, body in self.parts.items())
        return f"{head}\nWITH {parts}\n{self._whole()}\n"

    def _scored_rows(self) -> None:
        if (population := self.pipeline.population) is not None:
            table = self.pipeline.table(population.seen_in)
            self.parts[identifier(population.name)] = population_sql(
                population, table, identifier(table.name), table.late == "hide"
            )
        self.parts[self.rows] = (
            f"SELECT {identifier(self.entity.name)}.*, {predict_at(self.pipeline)} AS predict_at\n"
            f"FROM {identifier(self.entity.name)}\nJOIN calendar USING (tick)\nWHERE tick IN (SELECT tick FROM wanted)"
            + (f"\nAND {without_outcome(self.pipeline)}" if self.entity.snapshots else "")
        )

    def _events(self, table: Table) -> str:
        """Add rows with their known_at, the condition of each rate as 1 or 0, and each `where`.

        Returns the name of the part, or '' if no feature reads the table.
        """
        features = [f for f in self.pipeline.features if not isinstance(f, Expression) and f.table == table.name]
        if not features:
            return ""
        name = self._free(f"{table.name}_known")
        columns = [f"{identifier(table.name)}.*", f"{known_at(table)} AS {KNOWN_AT}"]
        columns += [f"{sql} AS {column}" for (_, sql), column in self._conditions(table).items()]
        calendar = "\nJOIN calendar USING (tick)" if table.ticks_ahead else ""
        self.parts[name] = f"SELECT{_listed(columns)}\nFROM {identifier(table.name)}{calendar}"
        return name

    def _as_of(self, feature: AsOf, events: str) -> str:
        table = self.pipeline.table(feature.table)
        name = self._free(f"{next(iter(feature.columns))}_as_of")
        taken = []
        for called, column in feature.columns.items():
            late = table.column(column).known_at
            value = f"e.{identifier(column)}"
            if late is not None:
                value = f"CASE WHEN e.{identifier(late)} < r.predict_at THEN {value} END"
            taken.append(f"{value} AS {identifier(called)}")
        newest = ", ".join(f"e.{column} DESC" for column in (KNOWN_AT, *map(identifier, table.key)))
        rank = f"row_number() OVER (PARTITION BY {self._of('r')} ORDER BY {newest}) AS _nth"
        inner = (
            f"SELECT{_listed([*(f'r.{key}' for key in self.key), *taken, rank])}\nFROM {self.rows} AS r\n"
            f"JOIN {events} AS e\n  ON {_equal(feature.on)}\n  AND e.{KNOWN_AT} < r.predict_at{_arrived(table)}\n"
            f"  AND e.{KNOWN_AT} >= r.predict_at - {interval(feature.max_age)}"
        )
        self.parts[name] = f"SELECT *\nFROM (\n{_indented(inner)}\n) AS ranked\nWHERE _nth = 1"
        return name

    def _joined(self, computed: Mapping[int, str]) -> None:
        """Add all features but expressions to the rows. computed: the part of each as-of and trailing feature."""
        columns, joins = ["r.*"], []
        for i, feature in enumerate(self.pipeline.features):
            if isinstance(feature, Lookup):
                columns += [f"l{i}.{identifier(column)} AS {identifier(called)}" for called, column in feature.columns.items()]
                on = " AND ".join(f"l{i}.{identifier(theirs)} = r.{identifier(mine)}" for mine, theirs in feature.on.items())
                joins.append(f"LEFT JOIN {identifier(feature.table)} AS l{i} ON {on}")
            elif isinstance(feature, AsOf):
                columns += [f"a{i}.{identifier(called)}" for called in feature.columns]
                joins.append(f"LEFT JOIN {computed[id(feature)]} AS a{i} ON {self._same(f'a{i}')}")
            elif isinstance(feature, Trailing):
                columns += _over_windows(feature, f"t{i}")
                joins.append(f"LEFT JOIN {computed[id(feature)]} AS t{i} ON {self._same(f't{i}')}")
        self.parts[self.joined] = "\n".join([f"SELECT{_listed(columns)}", f"FROM {self.rows} AS r", *joins])

    def _expressions(self, expressions: Iterable[Expression]) -> None:
        columns = [f"CAST({f.sql} AS {TYPES[f.kind]}) AS {identifier(f.name)}" for f in expressions]
        self.parts[self.expressed] = f"SELECT{_listed([*self.key, *columns])}\nFROM {self.joined}"

    def _trailing(self, feature: Trailing, events: str) -> str:
        table = self.pipeline.table(feature.table)
        name = self._free(f"{feature.name}_trailing")
        columns = [f"r.{key}" for key in self.key]
        for window in feature.windows:
            for aggregate in feature.aggregates:
                late = late_columns(table, taken_from(aggregate))
                moment = counts_from(late, "e.") if late else f"e.{KNOWN_AT}"
                end = f"r.predict_at - {interval(feature.skip)}" if feature.skip else "r.predict_at"
                within = f"{moment} < {end} AND {moment} >= r.predict_at - {interval(feature.skip + window)}"
                if aggregate.where:
                    within += f" AND e.{self._conditions(table)[_where(aggregate)]}"
                rate = self._conditions(table)[_rate(aggregate)] if isinstance(aggregate, Rate) else ""
                value = aggregated(aggregate, table, moment, within, rate)
                columns.append(f"{value} AS {identifier(feature.feature(aggregate, window))}")
        # A late value counts if its own time is in the window, however old its row is.
        reads_late = any(late_columns(table, taken_from(aggregate)) for aggregate in feature.aggregates)
        oldest = "" if reads_late else f"\n  AND e.{KNOWN_AT} >= r.predict_at - {interval(feature.look_back)}"
        self.parts[name] = (
            f"SELECT{_listed(columns)}\nFROM {self.rows} AS r\nJOIN {events} AS e\n  ON {_equal(feature.by)}\n"
            f"  AND e.{KNOWN_AT} < r.predict_at{oldest}{_arrived(table)}\nGROUP BY {self._of('r')}"
        )
        return name

    def _conditions(self, table: Table) -> dict[tuple[str, str], str]:
        """The columns that hold the conditions of a table's aggregates, by the name that each asks for and its SQL."""
        features = [f for f in self.pipeline.features if isinstance(f, Trailing) and f.table == table.name]
        asked = [_rate(a) for a in _aggregates(features) if isinstance(a, Rate)]
        asked = list(dict.fromkeys(asked + [_where(a) for a in _aggregates(features) if a.where]))
        columns: dict[tuple[str, str], str] = {}
        for name, sql in asked:
            free = name not in table.names and [other for other, _ in asked].count(name) == 1
            columns[name, sql] = name if free else f"{name}_{len(columns) + 1}"
        return columns

    def _whole(self) -> str:
        front = self._front()
        columns = [f"j.{identifier(name)}" for name in front]
        for feature in self.pipeline.features:
            of = "x" if isinstance(feature, Expression) else "j"
            columns += [f"{of}.{identifier(name)}" for name in names_of(feature) if name not in front]
        joins = [f"FROM {self.joined} AS j", f"JOIN {self.expressed} AS x ON {self._same('x', 'j')}"]
        return "\n".join([f"SELECT{_listed(columns)}", *joins, f"ORDER BY {self._of('j')}"])

    def _front(self) -> list[str]:
        assert self.entity.time is not None
        return list(dict.fromkeys((*self.entity.key, self.entity.time, "tick", "predict_at")))

    def _same(self, alias: str, other: str = "r") -> str:
        return " AND ".join(f"{alias}.{key} = {other}.{key}" for key in self.key)

    def _of(self, alias: str) -> str:
        return ", ".join(f"{alias}.{key}" for key in self.key)

    def _free(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _over_windows(feature: Trailing, of: str) -> Iterator[str]:
    """The columns of a trailing feature, also of rows without events."""
    for window in feature.windows:
        for aggregate in feature.aggregates:
            name, empty = identifier(feature.feature(aggregate, window)), without_rows(aggregate)
            yield f"{of}.{name}" if empty is None else f"coalesce({of}.{name}, {empty}) AS {name}"


def _aggregates(features: Iterable[Expression | Lookup | AsOf | Trailing]) -> Iterator[Aggregate]:
    for feature in features:
        if isinstance(feature, Trailing):
            yield from feature.aggregates


def _rate(rate: Rate) -> tuple[str, str]:
    """The column that a rate asks for, and its SQL."""
    return f"counts_in_{rate.name}", f"CAST(CAST(({rate.sql}) AS BOOLEAN) AS INTEGER)"


def _where(aggregate: Aggregate) -> tuple[str, str]:
    """The column that the `where` of an aggregate asks for, and its SQL."""
    return f"counts_for_{aggregate.called}", f"CAST(({aggregate.where}) AS BOOLEAN)"


def _arrived(table: Table) -> str:
    """Leave out rows that arrived late, after the row was scored."""
    return "" if table.late == "use" else f"\n  AND {usable_at('r.predict_at', 'e.')}"


def _equal(pairs: Mapping[str, str]) -> str:
    return " AND ".join(f"e.{identifier(theirs)} = r.{identifier(mine)}" for mine, theirs in pairs.items())


def _listed(columns: Iterable[str]) -> str:
    return "\n  " + ",\n  ".join(columns)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
