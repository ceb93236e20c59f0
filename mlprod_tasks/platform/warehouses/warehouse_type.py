"""What the types of warehouses' columns have in common, however they are told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import extract, literal_column, or_, true


@dataclass(frozen=True)
class SqlForms:
    """How a warehouse writes moments, with the fields of `format`, and examples of how a query converts what is not read."""

    naive: str
    aware: str
    as_text: str
    as_moment: str
    day: str = "DATE '{}'"


class WarehouseType(ABC):
    """The type of a column of a warehouse."""

    times: ClassVar[str] = "a timestamp or a date"

    @property
    @abstractmethod
    def sql_forms(self) -> SqlForms:
        """How the warehouse writes moments."""

    @property
    @abstractmethod
    def is_moment(self) -> bool:
        """Whether its values are moments or days."""

    @property
    @abstractmethod
    def is_naive(self) -> bool:
        """Whether its moments have no time zone, so that the declaration must say in which one they are."""

    @property
    def is_time(self) -> bool:
        """Whether it may be a table's time. A text may not: warehouses share no pattern that finds those which are moments."""
        return self.is_moment

    @property
    def day(self) -> str:
        """How a day is written to compare the column with."""
        return self.sql_forms.day

    def bound(self, moment: datetime) -> Any:
        """A moment, in UTC or local, to compare the column with."""
        form = self.sql_forms.naive if self.is_naive else self.sql_forms.aware
        return literal_column(form.format(f"{moment:%Y-%m-%d %H:%M:%S.%f}"))

    def no_moment(self, column: Any) -> Any:
        """The condition that a value lies outside of Python's years."""
        year = extract("year", column)
        return or_(year < literal_column("1"), year > literal_column("9999"))

    def finite(self, column: Any) -> Any:
        """The condition that a moment is not infinite: none is."""
        return true()

    @property
    def example_as_text(self) -> str:
        return self.sql_forms.as_text

    @property
    def example_as_moment(self) -> str:
        return self.sql_forms.as_moment
