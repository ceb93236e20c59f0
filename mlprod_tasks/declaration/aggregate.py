"""Aggregates: what a trailing feature computes over the rows of a window."""

from __future__ import annotations

from typing import ClassVar

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.table import Kind, Table


@declared
class OfColumn:
    """An aggregate of a column.

    column: the column.
    name: its part of the feature's name; if empty, as in 'mean_<column>', of CountDistinct 'distinct_<column>'.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    column: str
    name: str = ""
    where: str = ""
    prefix: ClassVar[str]

    @property
    def called(self) -> str:
        return self.name or f"{self.prefix}_{self.column}"


@declared
class Count:
    """The number of rows in the window.

    name: its part of the feature's name.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    name: str = "count"
    where: str = ""

    @property
    def called(self) -> str:
        return self.name


@declared
class Mean(OfColumn):
    """The mean of a numeric column over the rows in the window where it is not null."""

    prefix = "mean"


@declared
class Rate:
    """The share of rows in the window that meet a condition; rows for which it is null or fails do not count.

    The share of a category's rows is a rate: Rate("tea_share", "product = 'tea'").

    name: its part of the feature's name.
    sql: a SQL condition over the table's columns.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    name: str
    sql: str
    where: str = ""

    @property
    def called(self) -> str:
        return self.name


@declared
class Sum(OfColumn):
    """The sum of a numeric column over the rows in the window where it is not null; 0 without such rows."""

    prefix = "sum"


@declared
class Min(OfColumn):
    """The smallest value of a number's column in the window; null without one.

    A value that is not a number counts as infinite.
    """

    prefix = "min"


@declared
class Max(OfColumn):
    """The largest value of a number's column in the window; null without one.

    A value that is not a number counts as infinite.
    """

    prefix = "max"


@declared
class First(OfColumn):
    """The first value of a column in the window that is not null.

    Of rows known at the same moment, the one with the smallest key of the table is the first.
    """

    prefix = "first"


@declared
class Last(OfColumn):
    """The last value of a column in the window that is not null.

    Of rows known at the same moment, the one with the largest key of the table is the last.
    """

    prefix = "last"


@declared
class SinceFirst:
    """The hours from the first row of the window to predict_at; null without rows.

    name: its part of the feature's name, which tells the unit.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    name: str = "hours_since_first"
    where: str = ""

    @property
    def called(self) -> str:
        return self.name


@declared
class SinceLast:
    """The hours from the last row of the window to predict_at; null without rows.

    name: its part of the feature's name, which tells the unit.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    name: str = "hours_since_last"
    where: str = ""

    @property
    def called(self) -> str:
        return self.name


@declared
class MeanGap:
    """The mean hours between one row of the window and the next; null for less than two rows.

    name: its part of the feature's name, which tells the unit.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    name: str = "mean_gap_hours"
    where: str = ""

    @property
    def called(self) -> str:
        return self.name


@declared
class Std(OfColumn):
    """The sample standard deviation of a numeric column in the window; null for less than two values.

    It is computed from exact sums: nothing is lost if values are large and differ little.
    """

    prefix = "std"


@declared
class CountDistinct(OfColumn):
    """The number of different values of a column in the window that are not null."""

    prefix = "distinct"


@declared
class Quantile:
    """A quantile of a numeric column over the rows in the window where it is not null; null without one.

    Between two values it is interpolated linearly: of n sorted values, the one at position (n - 1) * q.

    column: the column.
    q: which quantile, from 0 to 1; 0.5 is the median.
    name: its part of the feature's name; if empty, for example 'q90_<column>' for q=0.9.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    column: str
    q: float
    name: str = ""
    where: str = ""

    @property
    def called(self) -> str:
        return self.name or f"q{100 * self.q:g}_{self.column}".replace(".", "_")


@declared
class Slope(OfColumn):
    """How much a numeric column rises a day: the slope of its least-squares line over the window.

    Times are those at which rows become known. It is null if there are not two of them.
    """

    prefix = "slope"


# Computed from sums over the window, and from the window's rows one by one.
Summed = Count | Mean | Rate | Sum
Ordered = Min | Max | First | Last | SinceFirst | SinceLast | MeanGap | Std | CountDistinct | Quantile | Slope
Aggregate = Summed | Ordered


def kind_of(aggregate: Aggregate, table: Table | None) -> Kind:
    """The kind of an aggregate's values. table: what is aggregated; None if it is not declared."""
    match aggregate:
        case Count() | CountDistinct():
            return "int"
        case Min() | Max() | First() | Last() if table is not None and aggregate.column in table.names:
            return table.column(aggregate.column).kind
    return "float"


def has_a_unit(aggregate: Aggregate) -> bool:
    """Whether its values are in a unit of the table: numbers of rows and of values, shares and times are in none."""
    return isinstance(aggregate, OfColumn | Quantile) and not isinstance(aggregate, CountDistinct)


def without_rows(aggregate: Aggregate) -> int | float | None:
    """The value of an aggregate over a window without rows."""
    match aggregate:
        case Count() | CountDistinct():
            return 0
        case Sum():
            return 0.0
    return None
