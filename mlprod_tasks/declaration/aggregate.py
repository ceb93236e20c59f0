"""Aggregates: what a trailing feature computes over the rows of a window."""

from __future__ import annotations

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.table import Kind, Table


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
class Mean:
    """The mean of a numeric column over the rows in the window where it is not null.

    column: the column.
    name: its part of the feature's name; if empty, 'mean_<column>'.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    column: str
    name: str = ""
    where: str = ""

    @property
    def called(self) -> str:
        return self.name or f"mean_{self.column}"


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
class Sum:
    """The sum of a numeric column over the rows in the window where it is not null; 0 without such rows.

    column: the column.
    name: its part of the feature's name; if empty, 'sum_<column>'.
    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    column: str
    name: str = ""
    where: str = ""

    @property
    def called(self) -> str:
        return self.name or f"sum_{self.column}"


Aggregate = Count | Mean | Rate | Sum


def kind_of(aggregate: Aggregate, table: Table | None) -> Kind:
    """The kind of an aggregate's values. table: what is aggregated; None if it is not declared."""
    return "int" if isinstance(aggregate, Count) else "float"


def without_rows(aggregate: Aggregate) -> int | float | None:
    """The value of an aggregate over a window without rows."""
    match aggregate:
        case Count():
            return 0
        case Sum():
            return 0.0
    return None
