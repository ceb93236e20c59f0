"""Guess what to declare where keys of a table of events, such as customers, are scored at every tick."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.documents.formatting import listed
from mlprod_tasks.starting.guess_features import numbers
from mlprod_tasks.starting.guess_label import no_key, no_time
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess
from mlprod_tasks.starting.guess_windows import Spread, WindowGuess, rows_of_keys, spread_of
from mlprod_tasks.starting.samples import CannotStart

LENGTHS = (28, 7, 1)  # days of an outcome that are tried
SEEN = (91, 28, 7)  # days after its newest row for which a key is scored
REPEATED = 1.5  # rows of a key, on average, from which on its past says something of its future
ANY, COUNT = "any", "count"
Choose = Callable[[list[tuple[str, str]]], str]


@dataclass(frozen=True)
class PopulationGuess:
    """Keys of a table of events. of: the outcome in Python. kind: 'yes_no' or 'number'. within, seen: in days.

    what: what is predicted, in words. looked_up: tables of which each key has one row; others: events of the same keys.
    """

    table: TableGuess
    key: ColumnGuess
    of: str
    kind: str
    what: str
    within: int
    seen: int
    windows: WindowGuess
    looked_up: tuple[TableGuess, ...]
    others: tuple[TableGuess, ...]


def guess_population(
    tables: Sequence[TableGuess], each: str, predict: str, within: int | None, choose: Choose
) -> PopulationGuess:
    """What to score and to predict of each value of a column, given as 'column' or 'table.column'. Raises: CannotStart."""
    table, key = _find(tables, each)
    if key.profile.distinct * REPEATED > table.rows:
        raise CannotStart(
            f"--each {each}: {key.name} has {key.profile.distinct:,} different values in {table.rows:,} rows of {table.name}: "
            f"most come once, and have no past that says anything. Without --each, a column of each row is predicted"
        )
    of, kind, what = _outcome(table, predict or choose(_candidates(table)))
    spread = spread_of(table)
    seen = next((days for days in SEEN if spread.days >= 4 * days), SEEN[-1])
    length, windows = _fitting(spread, _keys_at_a_tick(table, key, seen), within)
    same = [one for one in tables if one is not table and one.can_be_declared and _same_kind(one, key)]
    return PopulationGuess(
        table, key, of, kind, what, length, seen, windows,
        tuple(one for one in same if not one.time and one.key == (key.name,)), tuple(one for one in same if one.time),
    )  # fmt: skip


def _find(tables: Sequence[TableGuess], each: str) -> tuple[TableGuess, ColumnGuess]:
    wanted, _, name = each.rpartition(".")
    found = [
        (table, column)
        for table in tables
        for column in table.columns
        if name in (column.name, column.source) and wanted in ("", table.name)
    ]
    if not found:
        raise CannotStart(f"--each {each}: there is no such column; there are {_columns(tables)}")
    # Of a key that several tables have, the events are meant: they have a time, and the key repeats.
    found.sort(key=lambda one: (not one[0].time, one[1].profile.distinct / max(one[0].rows, 1)))
    table, column = found[0]
    if not table.time:
        raise CannotStart(f"--each {each}: {no_time(table)}")
    if not table.can_be_declared:
        raise CannotStart(f"--each {each}: {no_key(table)}")
    if column.kind not in ("int", "text"):
        raise CannotStart(f"--each {each}: {column.name} is a {column.kind}; a column that names things, text or whole number")
    if column.has_nulls:
        raise CannotStart(
            f"--each {each}: {column.name} is missing in {column.profile.nulls:,} rows of {table.name}: remove or complete them"
        )
    return table, column


def _columns(tables: Sequence[TableGuess]) -> str:
    return ", ".join(f"{table.name}.{column.name}" for table in tables if table.time for column in table.columns) or "none"


def _candidates(table: TableGuess) -> list[tuple[str, str]]:
    sums = [(column.name, f"the sum of {column.name}") for column in numbers(table)]
    return [(ANY, f"whether there is a row of {table.name}"), (COUNT, f"how many rows of {table.name}"), *sums]


def _outcome(table: TableGuess, predict: str) -> tuple[str, str, str]:
    """The outcome in Python, its kind, and what it is in words. Raises: CannotStart."""
    name = predict.removeprefix(f"{table.name}.")
    if name == ANY:
        return "ml.Any()", "yes_no", f"a row of {table.name}"
    if name == COUNT:
        return "ml.Count()", "number", f"rows of {table.name}"
    column = next((one for one in table.columns if name in (one.name, one.source)), None)
    if column is not None and column.kind in ("int", "float"):
        return f'ml.Sum("{column.name}")', "number", f"sum of {column.name} in {table.name}"
    words = [word for word in re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'", "", predict)) if table.has(word)]
    if column is None and words and not re.fullmatch(r"[\w. -]+", predict):
        return f"ml.Any(where={predict!r})", "yes_no", f"a row of {table.name} with {predict}"
    known = listed([name for name, _ in _candidates(table)])
    raise CannotStart(
        f"--predict {predict}: of each key, it may be {known}, or a condition over columns of {table.name}, such as "
        f'--predict "{(numbers(table) or table.columns)[0].name} > 100"'
    )


def _fitting(spread: Spread, keys: int, within: int | None) -> tuple[int, WindowGuess]:
    """The longest outcome that leaves room for the windows, in days. Raises: CannotStart."""
    lengths = LENGTHS if within is None else (within,)
    for days in lengths:
        try:
            return days, rows_of_keys(spread, keys, days * 24)
        except CannotStart:
            if days == lengths[-1]:
                raise
    raise AssertionError


def _keys_at_a_tick(table: TableGuess, key: ColumnGuess, seen: int) -> int:
    """How many keys have a row in the last days, in the median over some moments."""
    times = table.column(table.time).type.values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    days = np.nan_to_num(times.to_numpy(zero_copy_only=False)) / 86_400e6
    codes = pc.dictionary_encode(key.type.values).indices.to_numpy(zero_copy_only=False)
    moments = np.quantile(days, [0.4, 0.5, 0.6, 0.8, 1.0])
    return int(np.median([len(np.unique(codes[(days > moment - seen) & (days <= moment)])) for moment in moments])) or 1


def _same_kind(table: TableGuess, key: ColumnGuess) -> bool:
    return table.has(key.name) and table.column(key.name).kind == key.kind
