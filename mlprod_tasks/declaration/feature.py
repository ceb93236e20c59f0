"""Features: declared once, and computed by the same code for training, scoring and requests."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.aggregate import Aggregate, kind_of
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.table import Kind, Table


def days(n: float) -> timedelta:
    """Return a number of days as a duration."""
    return timedelta(days=n)


def hours(n: float) -> timedelta:
    """Return a number of hours as a duration."""
    return timedelta(hours=n)


# All of history as a window: longer than any. A table's whole history is read for it, and the online store holds all of it.
EVER = timedelta(days=365_000)


@declared
class Expression:
    """A SQL expression over the row itself and other features.

    It may read look-up, as-of and trailing features, and expressions that are declared before it. So several tables and windows
    meet in one feature: "spend_sum_amount_28d / nullif(spend_sum_amount_91d, 0)" is the ratio of two windows.

    name: the feature's name.
    sql: the expression, in DuckDB's SQL.
    kind: the type of its values.
    doc: what it means.
    """

    name: str
    sql: str
    kind: Kind
    doc: str


@declared
class Lookup:
    """Columns of a reference table, joined by equality on its key.

    table: the reference table.
    on: pairs columns of the scored row with the key columns of `table`.
    columns: the name of each feature, and the column that it takes.
    """

    table: str
    on: dict[str, str]
    columns: dict[str, str]


@declared
class AsOf:
    """Columns of the latest row of a table that was known before predict_at.

    table: the table that is joined as of predict_at.
    on: pairs columns of the scored row with columns of `table`.
    columns: the name of each feature, and the column that it takes.
    max_age: rows that have been known for longer than this are not used.
    """

    table: str
    on: dict[str, str]
    columns: dict[str, str]
    max_age: timedelta


@declared
class Trailing:
    """Aggregates over the rows of a table that became known in a window before predict_at, per key.

    A window is [predict_at - skip - window, predict_at - skip).

    Each feature is called `<name>_<aggregate>_<window>`, for example 'route_late_rate_28d'. Without rows, counts
    and sums are 0 and other aggregates are null. Sums are exact, so a row's result does not depend on any other row.
    A row of the table for which a condition cannot be computed (a failed cast, an overflow, a division by zero) does not
    count for its aggregate, in batch as on request; a warning says how many there are.

    name: the first part of the names of its features.
    table: the table whose rows are aggregated.
    by: pairs columns of the scored row with columns of `table`.
    windows: the lengths of the windows; `ml.EVER` is all of history.
    aggregates: what to compute over each window.
    skip: windows end this long before predict_at: what became known in the last `skip` is left out.
    """

    name: str
    table: str
    by: dict[str, str]
    windows: tuple[timedelta, ...]
    aggregates: tuple[Aggregate, ...]
    skip: timedelta = timedelta(0)

    @property
    def look_back(self) -> timedelta:
        """How long before predict_at its longest window begins."""
        return max(self.windows) + self.skip

    def feature(self, aggregate: Aggregate, window: timedelta) -> str:
        """The feature's name for one aggregate over one window."""
        return f"{self.name}_{aggregate.called}_{window_name(window)}"


Feature = Expression | Lookup | AsOf | Trailing


def window_name(window: timedelta) -> str:
    """Name a window by the largest unit that divides it: '7d', '36h', '90m' or '45s'; 'ever' for all of history."""
    if window == EVER:
        return "ever"
    seconds = int(window.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def names_of(feature: Feature) -> tuple[str, ...]:
    """The names of the columns that a declared feature adds, in order."""
    match feature:
        case Expression():
            return (feature.name,)
        case Lookup() | AsOf():
            return tuple(feature.columns)
        case Trailing():
            return tuple(feature.feature(a, w) for w in feature.windows for a in feature.aggregates)


def kinds_of(feature: Trailing, table: Table | None) -> dict[str, Kind]:
    """The kind of each column that a trailing feature adds. table: None if it is not declared."""
    return {feature.feature(a, w): kind_of(a, table) for w in feature.windows for a in feature.aggregates}
