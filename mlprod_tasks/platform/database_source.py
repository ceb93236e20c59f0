"""Read the rows of a source table from SQLite, PostgreSQL, MariaDB, MySQL or a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlalchemy import Engine, Select, Text, and_, cast, column, event, func, inspect, literal_column, or_, select, text, true
from sqlalchemy import table as sql_table
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchTableError, SQLAlchemyError

from mlprod_tasks.declaration import Database, Table
from mlprod_tasks.platform import mysql_types, postgres_batches, postgres_types
from mlprod_tasks.platform.arrow_values import as_arrow, by_type
from mlprod_tasks.platform.database import database_url, open_database, reason
from mlprod_tasks.platform.mysql_types import MysqlType
from mlprod_tasks.platform.settings import WAREHOUSES, Settings
from mlprod_tasks.platform.source_errors import SourceMissing, SourceUnreachable, TypeNotRead
from mlprod_tasks.platform.times import ColumnType, TimesToRead, conditions, count_rows, times_to_read
from mlprod_tasks.platform.warehouses import adbc_dialect, find_types
from mlprod_tasks.platform.warehouses.adbc_dialect import AdbcDialect
from mlprod_tasks.platform.warehouses.named_type import NamedType

# Timestamps stored as text, perhaps with an offset, sort only roughly by time: read a little more.
MARGIN = timedelta(days=1)
CLOCK_CHANGE = timedelta(hours=3)  # local times around a clock change sort only roughly by time: more than any change
IS_TEXT = "_is_text"
Types = dict[str, ColumnType | None]  # of a table's columns; None in SQLite, where each value has a type of its own


class DatabaseSource:
    """A declared table of a database, for reading.

    Every method raises SourceUnreachable if the database does not answer or refuses the query.
    """

    def __init__(self, table: Table, settings: Settings) -> None:
        assert isinstance(table.source, Database)
        self.table, self.source = table, table.source
        columns: list[Any] = [column(one.name_in_source) for one in table.columns]
        source = table.source
        of_query = _query(source.sql, columns) if source.sql else None
        url = settings.source(table.source.connection)
        try:
            self.engine = open_database(url)
        except ArgumentError as error:
            raise SourceUnreachable(
                f"table {table.name!r}: connection {source.connection!r} has a wrong URL: {error}. Correct it, then run again"
            ) from None
        schema = source.schema or (self.engine.dialect.default_schema_name if self._is_warehouse else None)
        self._rows_of: Any = sql_table(source.table, *columns, schema=schema) if of_query is None else of_query
        if of_query is None and self._is_warehouse:
            # BigQuery and SQL Server do not know a column by the full name of its table.
            self._rows_of = self._rows_of.alias("rows_of_table")
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _keep_undecodable)

    @property
    def _is_warehouse(self) -> bool:
        return self.engine.dialect.name in WAREHOUSES

    @property
    def _time(self) -> str:
        """The name of the table's time in the database."""
        return self.table.column(str(self.table.time)).name_in_source

    @property
    def address(self) -> str:
        return f"{self.source.called} at {database_url(str(self.engine.url)).render_as_string()}"

    def columns(self) -> Types:
        """The types of the existing columns by their names. Raises: SourceMissing, SourceUnreachable."""
        file = self.engine.url.database
        if self.engine.dialect.name == "sqlite" and file and file != ":memory:" and not Path(file).exists():
            # SQLite would create an empty database with this name.
            raise SourceUnreachable(
                f"table {self.table.name!r}: connection {self.source.connection!r} names the SQLite file {file}, which does "
                "not exist. Set the connection to the right file"
            )
        if self.engine.dialect.name == "sqlite" and file and file != ":memory:" and _is_cut_off(Path(file)):
            raise SourceUnreachable(
                f"table {self.table.name!r}: the SQLite file {file} of connection {self.source.connection!r} is cut off: it "
                "ends within a page. Deliver it again"
            )
        try:
            if self.source.sql:
                return self._as_declared(self._columns_of_query())
            types: Any
            if self._is_warehouse:
                types = find_types.table_types(self.engine, self._rows_of)
            elif (catalog := CATALOGS.get(self.engine.dialect.name)) is not None:
                types = catalog(self.engine, self.source.table, self.source.schema)
            else:
                found = inspect(self.engine).get_columns(self.source.table, schema=self.source.schema)
                types = dict.fromkeys((entry["name"] for entry in found), None)
        except NoSuchTableError:
            types = None
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None
        if types is None:
            raise SourceMissing(
                f"table {self.table.name!r}: {self.address} does not exist. Create it, or correct `source` in the declaration"
            )
        return self._as_declared(dict(types))

    def _as_declared(self, types: Types) -> Types:
        """The types by the names that the declaration uses: most warehouses do not tell upper case from lower case."""
        if not self._is_warehouse:
            return types
        names = {one.name_in_source.casefold(): one.name_in_source for one in self.table.columns}
        others = {name: names.get(name.casefold(), name) for name in types}
        return {name if others[name] in types else others[name]: kind for name, kind in types.items()}

    def _columns_of_query(self) -> Types:
        """As `columns`, of a query, which is run without rows."""
        if self._is_warehouse:
            return dict(find_types.query_types(self.engine, _query(self.source.sql, [])))
        with self.engine.connect() as connection:
            asked: Any = select(literal_column("*")).select_from(_query(self.source.sql, [])).limit(0)
            found: Any = connection.execute(asked).cursor.description  # type: ignore[union-attr]
            if self.engine.dialect.name == "postgresql":
                return dict(postgres_types.types_of(connection, {one[0]: one[1] for one in found}))
            if self.engine.dialect.name == "mysql":
                return dict(mysql_types.types_of(found))
        return {one[0]: None for one in found}

    def check_types(self, types: Types) -> None:
        """Raises: TypeNotRead if a declared column has a type whose values have no meaning here."""
        for declared in self.table.lake_columns:
            name = declared.name_in_source
            kind = types[name]
            at = f"table {self.table.name!r}, column {declared.name!r}: it is {kind.shown if kind else ''} in {self.address}"
            if kind is not None and not kind.is_read:
                raise TypeNotRead(
                    f"{at}, a type that is not read. Declare as the source a view that gives it as text or a number, such as "
                    f"{kind.example_as_text.format(name=name)}, or remove the column from the declaration"
                )
            if kind is not None and declared.name == self.table.time and not kind.is_time:
                raise TypeNotRead(
                    f"{at}, but the table's time must be {kind.times}. Declare as the source a "
                    f"view that gives it as one, such as {kind.example_as_moment.format(name=name)} for seconds since 1970"
                )

    def read(self, start: datetime | None, end: datetime | None, chunk_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows with a time in [start, end), perhaps with some outside; all rows if start and end are None."""
        types = self.columns()
        yield from self._read(self._between(self._selection(types), types, start, end), types, chunk_rows)

    def unusual_times(self) -> TimesToRead:
        """The times that a query by time may not find."""
        times: TimesToRead = self._ask(times_to_read, self._time, self.columns()[self._time])
        return times

    def rows_with_unusual_times(self, chunk_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows whose time a query by time may not find. A column more, IS_TEXT, tells whether the time is a text."""
        types, when = self.columns(), self._rows_of.c[self._time]
        which = conditions(self._rows_of, when.name, types[when.name])
        is_text: Any = func.typeof(when) == literal_column("'text'") if types[when.name] is None else true()
        query = self._selection(types).add_columns(is_text.label(IS_TEXT))
        yield from self._read(query.where(or_(which.absent, which.unusual)), types, chunk_rows)

    def naive_times(self) -> list[str]:
        """The columns of kind timestamp with a time that has no offset, so that its meaning depends on a time zone."""
        types = self.columns()
        moments = [one for one in self.table.lake_columns if one.kind == "timestamp" and not one.personal]
        return [one.name for one in moments if self._ask(_is_naive, one.name_in_source, types[one.name_in_source])]

    def size(self) -> int:
        """The number of rows of the whole table."""
        return int(self._ask(count_rows))

    def newest(self) -> str:
        """The latest time as text; infinite ones do not count."""
        when = self._rows_of.c[self._time]
        kind = self.columns()[self._time]
        query = select(func.max(when))
        if kind is not None and kind.is_moment:
            query = select(cast(func.max(when), Text())).where(kind.finite(when))

        def ask(engine: Engine, _: Any) -> str:
            with engine.connect() as connection:
                return str(connection.execute(query).scalar())

        return str(self._ask(ask))

    def _ask(self, question: Any, *arguments: Any) -> Any:
        try:
            return question(self.engine, self._rows_of, *arguments)
        except DBAPIError as error:
            raise self._unreachable(error) from None

    def _read(self, query: Select, types: Types, chunk_rows: int) -> Iterator[pa.RecordBatch]:
        try:
            if self.engine.dialect.name == "postgresql":
                yield from postgres_batches.batches(self.engine, query)
            elif isinstance(self.engine.dialect, AdbcDialect):
                yield from adbc_dialect.batches(self.engine, query)
            else:
                yield from _rows(self.engine, query, self.table, types, chunk_rows)
        except DBAPIError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: SQLAlchemyError) -> SourceUnreachable:
        where = f"table {self.table.name!r}: the database of connection {self.source.connection!r}"
        address = self.engine.url.render_as_string(hide_password=True)
        if getattr(error, "statement", None):
            return SourceUnreachable(
                f"{where} ({address}) answers, but its rows cannot be read: {reason(error)}. Correct the source or the "
                "declaration, then run again"
            )
        return SourceUnreachable(
            f"{where} ({address}) does not answer: {reason(error)}. Check that it is running and that the "
            "connection is right, then run again"
        )

    def _selection(self, types: Types) -> Select:
        # Columns without a type, so that values are not converted: SQLite may have text in a numeric column.
        source = self._rows_of
        chosen = []
        for one in self.table.lake_columns:  # a personal column that is dropped is not even read from the source
            kind, values = types[one.name_in_source], source.c[one.name_in_source]
            chosen.append((values if kind is None else kind.selected(values)).label(one.name))
        return select(*chosen)

    def _between(self, query: Select, types: Types, start: datetime | None, end: datetime | None) -> Select:
        if self.table.time is None or start is None or end is None:
            return query
        kind, when = types[self._time], self._rows_of.c[self._time]
        bounds: list[Any]
        if kind is not None and kind.has_hours:
            bounds = [kind.bound(m) for m in (self._local(start, end) if kind.is_naive else (start, end))]
        else:
            form = kind.day if kind is not None and kind.is_moment else "'{}'"
            bounds = [literal_column(form.format(f"{m:%Y-%m-%d}")) for m in (start - MARGIN, end + 2 * MARGIN)]
        return query.where(when >= bounds[0], when < bounds[1])

    def _local(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The bounds as the database writes them; wide enough for local times around a clock change."""
        if self.source.zone == "UTC":
            return start, end
        zone = ZoneInfo(self.source.zone)
        return start.astimezone(zone) - CLOCK_CHANGE, end.astimezone(zone) + CLOCK_CHANGE


CATALOGS: dict[str, Any] = {"postgresql": postgres_types.column_types, "mysql": mysql_types.column_types}


def _query(sql: str, columns: list[Any]) -> Any:
    """A query as what is selected from: inside of another one, it can only read."""
    return text(sql.replace(":", r"\:")).columns(*columns).subquery("rows_of_query")


def _is_cut_off(file: Path) -> bool:
    """Whether a file ends within a page: SQLite reads zeros there, without an error."""
    with file.open("rb") as opened:
        head = opened.read(18)
    page = int.from_bytes(head[16:18], "big")
    return head[:16] == b"SQLite format 3\0" and file.stat().st_size % (65_536 if page == 1 else max(page, 1)) != 0


def _is_naive(engine: Engine, source: Any, name: str, kind: ColumnType | None) -> bool:
    if kind is not None:
        return kind.is_naive
    # A date, or a text that ends neither in Z nor in +02, +0200 or +02:00.
    value = cast(source.c[name], Text())
    naive = and_(*(func.substr(value, -length, 1).not_in(("+", "-")) for length in (3, 5, 6)), value.not_like("%Z"))
    with engine.connect() as connection:
        found: Any = select(literal_column("1")).where(or_(func.length(value) <= 10, naive)).limit(1)
        return connection.execute(found).scalar() is not None


def _keep_undecodable(connection: Any, _: Any) -> None:
    # A text that is not UTF-8 would end the whole query: keep its bytes, so that only its row is refused.
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")


def _rows(engine: Engine, query: Select, table: Table, types: Types, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    # The table's own time is always a text: no query by time finds another one.
    days = {one.name for one in table.columns if one.kind in ("date", "timestamp") and one.name != table.time}
    columns = enumerate(table.lake_columns)
    apart = [position for position, column in columns if column.personal == "hash" or column.name in days]
    names = [column.name for column in query.selected_columns]
    converted = {
        position: kind
        for position, column in enumerate(table.lake_columns)
        if isinstance(kind := types[column.name_in_source], MysqlType | NamedType)
    }
    with engine.connect().execution_options(stream_results=True) as connection:
        result = connection.execute(query)
        while chunk := result.fetchmany(chunk_rows):
            for rows in by_type(chunk, apart):
                columns_of_rows = enumerate(zip(*rows, strict=True))
                plain = (converted[at].plain(values) if at in converted else values for at, values in columns_of_rows)
                yield pa.RecordBatch.from_arrays([as_arrow(values) for values in plain], names=names)
