"""Source tables: where their rows come from, what their columns contain, and when values become known."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal, get_args

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.zones import zone_of

Kind = Literal["int", "float", "text", "bool", "timestamp", "date"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NOTHING = timedelta(0)
AS_OF = "as_of"  # the time of rows that have none of their own: the start of their tick
BEGINS = "_begins"  # ends the name of the column with the start of a day
ROW_KEY = "row_key"  # the key of rows that have none
QUERY = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


@declared
class Database:
    """A table of a database (SQLite, PostgreSQL, MariaDB, MySQL or a warehouse), or a query.

    It is given by the name of a connection, never by its URL, which may contain a password.

    connection: an Airflow connection, or the environment variable `MLPROD_CONNECTION_<CONNECTION>`.
    table: the table's name; '' with `sql`.
    schema: the table's schema; None is the database's default.
    timezone: the IANA time zone of times without an offset (`timestamp without time zone`, text). An hour that a clock change
    repeats means the first of the two; one that it skips, the moment of the change. None: UTC, and `mlprod doctor` says so.
    sql: instead of a table a query, SELECT or WITH, in the database's own SQL. It is read as a table is: inside of a query for
    the columns and the times of a tick, so that it can change nothing.
    """

    connection: str
    table: str = ""
    schema: str | None = None
    timezone: str | None = None
    sql: str = ""

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if bool(self.table) == bool(self.sql):
            raise ValueError("give either the name of a `table` or a query as `sql`")
        if self.sql and (self.schema is not None or not QUERY.match(self.sql) or ";" in self.sql):
            raise ValueError("sql must be one query that begins with SELECT or WITH, without ; and without `schema`")

    @property
    def called(self) -> str:
        """What is read, to be read by people."""
        return f"table {self.table!r}" if self.table else "a query"

    @property
    def zone(self) -> str:
        """The time zone of times without an offset."""
        return self.timezone or "UTC"


@declared
class Files:
    """CSV, JSON Lines or Parquet files below the folder that a connection names.

    connection: an Airflow connection, or the environment variable `MLPROD_CONNECTION_<CONNECTION>`, that names a folder, also
    one in object storage: 's3://bucket/folder'.
    path: relative to that folder. It may contain a glob, and `{tick}` for the tick's date: 'sales/{tick}.csv',
    'weather/*.parquet'.
    format: 'csv' (as RFC 4180 describes it, with a header line; columns in any order), 'jsonl' (a JSON object a line; a key
    that one lacks is a missing value) or 'parquet'. A file of the first two whose name ends in .gz is compressed with gzip.
    timezone: the IANA time zone of times without an offset; around clock changes as for `Database`.
    separator: for CSV: the character between values, such as ';' or a tab.
    encoding: for CSV and JSON Lines: the encoding, by Python's name: 'cp1252' or 'utf-16'. A byte order mark is no text.
    decimal: for CSV: the decimal sign of numbers of kind float. With ',' a value such as '1.234,5' or '1.5' is refused, as a
    point may separate thousands.
    dates: for CSV and JSON Lines: how the last day of 2024 is written there; a time of day may follow after a space, as in
    '31.12.2024 17:05'. ISO 8601, '2024-12-31', is read in any case.
    missing: for CSV: what stands for a missing value besides an empty one, if it is not quoted: ('NA',).
    """

    connection: str
    path: str
    format: Literal["csv", "jsonl", "parquet"]
    timezone: str = "UTC"
    separator: str = ","
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    dates: Literal["2024-12-31", "31.12.2024", "31/12/2024", "12/31/2024", "31-12-2024"] = "2024-12-31"
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        zone_of(self.timezone)

    @property
    def zone(self) -> str:
        """The time zone of times without an offset."""
        return self.timezone


@declared
class Column:
    """One column: its type, the values that it may have, and what it means.

    The audit refuses rows with other values.

    name: lower-case letters, digits and _.
    kind: the type of its values.
    doc: what it means; shown in the data dictionary.
    nullable: whether a value may be missing.
    max_null_share: the largest share of missing values in a partition; needs `nullable`.
    min: the smallest allowed value; for numbers.
    max: the largest allowed value; for numbers.
    values: the allowed values; for text and whole numbers.
    known_at: for a column that is filled in later: the timestamp column of the same table that says when a value became known.
    personal: what happens to a personal column before it reaches the lake: 'hash' (a keyed hash, still joinable) or 'drop'.
    source: the column's name in the source, if it is another: 'Order ID', 'Größe', 'value'.
    """

    name: str
    kind: Kind
    doc: str = ""
    nullable: bool = False
    max_null_share: float | None = None
    min: float | None = None
    max: float | None = None
    values: tuple[str | int, ...] | None = None
    known_at: str | None = None
    personal: Literal["hash", "drop"] | None = None
    source: str | None = None

    @property
    def name_in_source(self) -> str:
        return self.name if self.source is None else self.source


@declared
class Table:
    """A source table: where its rows come from, what identifies a row, and when a row becomes known.

    The partition of tick t has the rows that became known in [t - 1, t). For a table one tick ahead, such as a timetable, these
    are the rows with a time in [t, t + 1).

    name: the name that features and the label use.
    source: where its rows come from.
    key: the columns that identify a row. (): a table of events, such as a log, whose lines have none: each row gets the column
    `row_key`, a hash of its values and its number among the rows of its tick that equal it. A row that is corrected is another
    row then. Rows that are scored or hold the label need a key of their own.
    columns: every column that is read; other columns of the source are ignored.
    doc: what it contains.
    time: the column that gives a row's tick: a timestamp, or a date, which is the start of that day in the pipeline's time
    zone. What a row says of a whole day is known when the day is over: declare `known_after=ml.days(1)` for it. None: a
    reference table, read as a whole at every tick.
    known_after: how long after its time a row becomes known.
    ticks_ahead: for a source that plans ahead: the number of ticks before its time at which a row is known.
    refresh_ticks: the number of earlier partitions to read again at each tick, for corrections and columns filled in later.
    min_rows: the smallest number of rows of a tick's partition.
    max_rows: the largest number of rows of a tick's partition; None: no limit.
    max_refused_share: the share of a partition's rows that may be refused; if it is larger, the whole batch is refused.
    may_be_empty: the weekdays of ticks whose partition may have no rows, although others need `min_rows`; True: all. Without
    orders on Saturday and Sunday these are ('sunday', 'monday'), because a tick has the rows of the day before it.
    late: what becomes of a row that enters a partition after that was first published (`refresh_ticks`, an ingestion that is
    repeated). 'hide': features use it from the first tick that was not yet scored on, and labels of a training or measurement
    from the same tick on, so that a model is trained on what scoring had. 'use': as if it had come in time, also for
    rows that were scored without it: more complete, but not what scoring had. A history that is ingested for the first time is
    not late.
    snapshots: whether each tick has the whole table as it is read then, one row a key and tick, known just before the tick. The
    pipeline sets it for a scored table without a time, with the column `as_of`, the start of the tick, as its time.
    dated_by: the date column of which `time` is the start. The pipeline sets it for a table whose `time` is a date, and adds
    the column with its start, such as `day_begins`.
    keyed_by_row: whether the key is made of the row. The pipeline sets it for a table without a key.
    """

    name: str
    source: Database | Files
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    doc: str = ""
    time: str | None = None
    known_after: timedelta = NOTHING
    ticks_ahead: int = 0
    refresh_ticks: int = 0
    min_rows: int = 1
    max_rows: int | None = None
    max_refused_share: float = 0.0
    may_be_empty: bool | tuple[Weekday, ...] = False
    late: Literal["hide", "use"] = "hide"
    snapshots: bool = False
    dated_by: str | None = None
    keyed_by_row: bool = False

    def may_be_empty_on(self, day: date) -> bool:
        """Whether the partition of a tick that starts on that local date may have no rows."""
        if isinstance(self.may_be_empty, bool):
            return self.may_be_empty
        return get_args(Weekday)[day.weekday()] in self.may_be_empty

    def column(self, name: str) -> Column:
        """The column of that name. Raises: KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def as_snapshots(self) -> Table:
        """A table without a time as one whose rows are read as a whole at every tick, and kept for each."""
        moment = Column(AS_OF, "timestamp", "the start of the tick that has read the row")
        # Read again, a tick's rows are what it should have had: nothing in them is late.
        return replace(self, columns=(moment, *self.columns), time=AS_OF, ticks_ahead=1, late="use", snapshots=True)

    def as_dated(self, zone: str) -> Table:
        """A table whose time is a date as one whose time is the start of that day in a time zone."""
        begins = Column(f"{self.time}{BEGINS}", "timestamp", f"the start of {self.time} in {zone}")
        return replace(self, columns=(*self.columns, begins), time=begins.name, dated_by=self.time)

    @property
    def added(self) -> str | None:
        """The column that the system adds as the time of rows; None if they have their own."""
        return self.time if self.snapshots or self.dated_by else None

    @property
    def at_source(self) -> Table:
        """The table as its source has it: without what the system adds."""
        table = self.without_row_key
        columns = tuple(column for column in table.columns if column.name != table.added)
        if table.dated_by:
            return replace(table, columns=columns, time=table.dated_by, dated_by=None)
        if table.snapshots:
            return replace(table, columns=columns, time=None, ticks_ahead=0, late="hide", snapshots=False)
        return table

    def as_keyed(self) -> Table:
        """A table without a key as one whose key is made of its rows."""
        made = Column(ROW_KEY, "text", "a hash of the row's values, and its number among equal rows")
        return replace(self, columns=(*self.columns, made), key=(ROW_KEY,), keyed_by_row=True)

    @property
    def without_row_key(self) -> Table:
        """The table without the key that is made of its rows."""
        if not self.keyed_by_row:
            return self
        columns = tuple(column for column in self.columns if column.name != ROW_KEY)
        return replace(self, columns=columns, key=(), keyed_by_row=False)

    @property
    def is_by_tick(self) -> bool:
        """Whether the source has one file per tick, so that the file's name gives the tick of its rows."""
        return isinstance(self.source, Files) and "{tick}" in self.source.path

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def lake_columns(self) -> tuple[Column, ...]:
        """The columns that reach the lake: all except personal columns that are dropped."""
        return tuple(column for column in self.columns if column.personal != "drop")
