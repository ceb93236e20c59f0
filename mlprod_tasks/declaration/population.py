"""Rows that are no events: the keys that are alive at each tick."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.table import AS_OF, Column, Table


@declared
class Population:
    """Keys that are alive at a tick, such as customers: one row to score for each key and tick, from what was known then.

    A request names a key: its row is made as of the moment of the request, which is `as_of`. A key that is not alive then has
    no row; the answer says so (`route` is 'absent').

    A key is alive at a tick if `seen_in` has a row of it that became known before the tick, and not longer ago than `within`.
    A key that is first seen later is in no earlier tick. Rows have the columns of the key and `as_of`, the start of their tick.

    name: the name of these rows, in reports and messages.
    seen_in: the table whose rows show that a key is alive.
    by: the columns of that table that make the key.
    within: how long a key stays after its newest row became known; None: for ever.
    where: a SQL condition over the table's columns: only rows that meet it count, so none for which it cannot be computed.
    doc: what these rows are.
    """

    name: str
    seen_in: str
    by: tuple[str, ...]
    within: timedelta | None = None
    where: str = ""
    doc: str = ""

    def as_table(self, seen_in: Table) -> Table:
        """Its rows as a table: each is known when its tick starts, as the rows of a table that plans one tick ahead."""
        # Its rows come from no source of their own: nothing reads the one that stands here.
        names = set(self.by)
        key = tuple(replace(column, nullable=False) for column in seen_in.columns if column.name in names)
        moment = Column(AS_OF, "timestamp", "the start of the tick")
        return Table(self.name, seen_in.source, self.by, (*key, moment), doc=self.doc, time=AS_OF, ticks_ahead=1, min_rows=0)
