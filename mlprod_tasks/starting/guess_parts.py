"""Guess how to split a table that has no time: by a column that names parts, or by a hash of the key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

import pyarrow.compute as pc

from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.guess_tables import ColumnGuess
from mlprod_tasks.starting.guess_windows import HOURS, Every
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.training.assemble import LEAST_ROWS

SHARE, MOST_SHARE = 0.2, 0.3  # of validation and test
ROOM = 1.4  # so many times the rows that a part needs, as a hash does not give exact shares
NAMES = re.compile(r"(^|_)(split|part|fold|set|subset|partition)(_|$)")
WORDS = {"train": re.compile("train|fit"), "validation": re.compile("val|dev|check"), "test": re.compile("test|hold|final")}


@dataclass(frozen=True)
class PartGuess:
    """starts: of the schedule, whose ticks are daily. column: the one that names parts, with the values of each; None: a
    hash with these shares.
    """

    starts: date
    share: float
    column: ColumnGuess | None
    values: dict[str, tuple[str, ...]]
    every: Every = "day"
    has_empty_ticks: bool = False

    @property
    def hours(self) -> int:
        """The hours from a tick to the next one."""
        return HOURS[self.every]


def guess_parts(label: LabelGuess, today: date) -> PartGuess:
    """Find parts with enough rows. Raises: CannotStart."""
    known = len(label.column.type.values) - label.column.profile.nulls
    for column in label.table.columns:
        if values := _parts_named(column):
            return PartGuess(today, SHARE, column, values)
    share = max(SHARE, round(ROOM * LEAST_ROWS / max(known, 1) + 0.005, 2))
    if share > MOST_SHARE:
        raise CannotStart(
            f"{label.table.sample.shown} has {known:,} rows with an outcome: too few to learn from without a time, as each of "
            f"three parts needs {LEAST_ROWS}. Give more rows"
        )
    return PartGuess(today, share, None, {})


def _parts_named(column: ColumnGuess) -> dict[str, tuple[str, ...]]:
    """The values of each part, if the column is called so and every value tells one; else nothing."""
    if column.kind != "text" or not NAMES.search(column.name) or column.personal:
        return {}
    found: dict[str, list[str]] = {name: [] for name in WORDS}
    for value in sorted(pc.unique(column.type.values.drop_null()).to_pylist()):
        part = next((name for name, words in WORDS.items() if words.search(value.lower())), None)
        if part is None:
            return {}
        found[part].append(value)
    return {name: tuple(values) for name, values in found.items()} if all(found.values()) else {}
