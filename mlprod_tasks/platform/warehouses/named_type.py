"""The type of a column of a warehouse that is read row by row, by the name that the warehouse gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import false

from mlprod_tasks.platform.warehouses.warehouse_type import SqlForms, WarehouseType


@dataclass(frozen=True)
class TypeRules:
    """Which types a warehouse has.

    read: names whose values have a meaning here. naive, aware, dates: those of moments without and with a time zone, and of
    days. selected: what to select for some of them instead of the column. in_utc: whether aware moments come without a time
    zone, in UTC. any_year: whether there are moments outside the years 1 to 9999.
    """

    forms: SqlForms
    read: frozenset[str]
    naive: frozenset[str]
    aware: frozenset[str]
    dates: frozenset[str]
    selected: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict, hash=False)
    in_utc: bool = False
    any_year: bool = True


@dataclass(frozen=True)
class NamedType(WarehouseType):
    """The type of a column. shown: as the warehouse writes it; base: its name without size."""

    shown: str
    base: str
    rules: TypeRules

    @property
    def sql_forms(self) -> SqlForms:
        return self.rules.forms

    @property
    def is_read(self) -> bool:
        """Whether its values have a meaning here."""
        return self.base in self.rules.read or self.is_moment

    @property
    def is_moment(self) -> bool:
        return self.has_hours or self.base in self.rules.dates

    @property
    def has_hours(self) -> bool:
        return self.base in self.rules.naive | self.rules.aware

    @property
    def is_naive(self) -> bool:
        """Whether its moments have no time zone, so that the declaration must say in which one they are."""
        return self.base in self.rules.naive

    def selected(self, column: Any) -> Any:
        """What to select for a column of this type: an expression whose values the driver returns as they are."""
        return self.rules.selected.get(self.base, lambda same: same)(column)

    def plain(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values of the driver, with UTC where they are moments of it."""
        if not self.rules.in_utc or self.base not in self.rules.aware:
            return values
        return [one.replace(tzinfo=UTC) if isinstance(one, datetime) else one for one in values]

    def no_moment(self, column: Any) -> Any:
        return super().no_moment(column) if self.rules.any_year else false()
