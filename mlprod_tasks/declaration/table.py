"""Source tables: where their rows come from, what each column holds, and when it became knowable."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.schedule import zone_of

Kind = Literal["int", "float", "text", "bool", "timestamp", "date"]
NOTHING = timedelta(0)


@declared
class Database:
    """A SQLAlchemy database, by the name of its connection; never by its URL, which may hold a secret.

    Airflow connection `connection`, or environment variable MLPROD_CONNECTION_<CONNECTION>.
    """

    connection: str
    table: str
    schema: str | None = None


@declared
class Files:
    """CSV or Parquet files below the folder named by connection `connection`.

    `path` may hold a glob, and `{tick}` for the tick's date: 'sales/{tick}.csv', 'weather/*.parquet'.
    Timestamps in CSV without an offset are read in `timezone`.
    """

    connection: str
    path: str
    format: Literal["csv", "parquet"]
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.timezone)


@declared
class Column:
    """One column: its type, what it may hold, what it means.

    `min` and `max` are inclusive; `values` lists the only ones allowed. `known_at` names the timestamp column of
    the same table at which a late column becomes knowable. `personal` says what happens to it when it
    enters the lake: 'hash' (keyed hash, still joinable) or 'drop'.
    """

    name: str
    kind: Kind
    doc: str
    nullable: bool = False
    max_null_share: float | None = None
    min: float | None = None
    max: float | None = None
    values: tuple[str | int, ...] | None = None
    known_at: str | None = None
    personal: Literal["hash", "drop"] | None = None


@declared
class Table:
    """A source table.

    `time` is the timestamp column that says to which tick a row belongs; a table without one is a reference table,
    read as a whole at every tick. Rows become knowable `known_after` their time, or, where the source plans ahead
    (a schedule), `ticks_ahead` ticks before it. The partition of tick t holds the rows that became
    knowable in [t - 1, t); of a table one tick ahead that is the rows whose time lies in [t, t + 1).

    `refresh_ticks` earlier partitions are read again at each tick (corrections, late columns).
    `max_refused_share` is the share of a partition's rows that may be refused, each with its reason, while the rest passes;
    above it the whole batch is refused. `min_rows` and `max_rows` bound a tick's partition.
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

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def lake_columns(self) -> tuple[Column, ...]:
        """The columns that reach the lake: all but the personal ones that are dropped."""
        return tuple(column for column in self.columns if column.personal != "drop")
