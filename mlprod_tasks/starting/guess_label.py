"""Guess what there is to predict, what kind of outcome it is, and when it is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.profiling.column_profile import MOMENTS
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess, later_time
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.training.assemble import LEAST_ROWS

YES = (
    "1",
    "yes",
    "y",
    "true",
    "t",
    "ja",
    "oui",
    "si",
    "churn",
    "churned",
    "late",
    "fraud",
    "default",
    "bad",
    "returned",
    "lost",
)
LIKELY = (
    "churn",
    "default",
    "fraud",
    "late",
    "cancel",
    "return",
    "target",
    "label",
    "outcome",
    "converted",
    "paid",
    "lost",
    "bought",
)
MOST_CLASSES = 20
SHOWN = 5
ONE_DAY = timedelta(days=1)
MEASURED_AFTER = 28 * 24  # hours, of rows that have no time


@dataclass(frozen=True)
class LabelGuess:
    """The outcome. sql, kind: of `ml.Label`. of: how that was chosen.

    known_at: the time at which it is known, '' if no column says. delay: in hours.
    """

    table: TableGuess
    column: ColumnGuess
    sql: str
    kind: str
    of: str
    known_at: str
    delay: int
    delay_why: str


def candidates(tables: Sequence[TableGuess]) -> list[tuple[str, str]]:
    """What could be predicted, as table.column with a word on it, the likeliest first: that of tables with a time."""
    found = []
    for table in tables:
        for column in table.columns:
            what = _what(table, column)
            if what and not time_problem(table):
                named = any(word in column.name for word in LIKELY)
                found.append((not table.time, not named, not what.startswith("yes"), f"{table.name}.{column.name}", what))
    return [(name, what) for *_, name, what in sorted(found)]


def _what(table: TableGuess, column: ColumnGuess) -> str:
    if column.name in table.key or column.personal or column.is_id or column.kind in MOMENTS or column.profile.distinct < 2:
        return ""
    if column.profile.distinct == 2 or column.kind == "bool":
        return "yes or no"
    if column.kind in ("int", "float"):
        return "a number"
    return f"one of {column.profile.distinct} classes" if column.profile.distinct <= MOST_CLASSES else ""


def guess_label(tables: Sequence[TableGuess], predict: str) -> LabelGuess:
    """The outcome of a column that is given as 'column' or 'table.column'. Raises: CannotStart."""
    table, column = _find(tables, predict)
    written = not re.fullmatch(r"[\w. -]+", predict)
    if table.rows < 3 * LEAST_ROWS:
        raise CannotStart(
            f"{table.sample.shown} has {format_count(table.rows, 'row')}: too few to learn from, as each of three windows in "
            f"time, or of three parts, needs {LEAST_ROWS}"
        )
    if problem := time_problem(table):
        raise CannotStart(problem)
    if not table.key:
        raise CannotStart(no_key(table))
    sql, kind, of = (predict, "yes_no", "the condition that was given") if written else _outcome(column)
    if not table.time:
        why = "rows are scored while they have no outcome; it should be there after that long"
        return LabelGuess(table, column, sql, kind, of, "", MEASURED_AFTER, why)
    known_at = column.known_at or later_time(table)
    delay, why = _delay(table, known_at, column)
    return LabelGuess(table, column, sql, kind, of, known_at, delay, why)


def time_problem(table: TableGuess) -> str:
    """Why a table that should have a time has none; '' if it has one, or nothing in it looks like a time."""
    return no_time(table) if not table.time and _almost_a_time(table) else ""


def no_time(table: TableGuess) -> str:
    otherwise = "add when each row came into being, as 2024-03-31 or 2024-03-31 17:05: the past trains, and later rows test"
    hint = _almost_a_time(table) or otherwise
    return f"{table.sample.shown} has no column with a time that every row has; {hint}"


def _almost_a_time(table: TableGuess) -> str:
    """What looks like a time and is none, with what to do; '' if nothing does."""
    parts = [column.name for column in table.columns if column.name in ("year", "month", "day", "date", "hour")]
    texts = [column.name for column in table.columns if "looks like a date" in column.type.why]
    if texts:
        hint = (
            f"{texts[0]} looks like a date, but is written in no way that is read: deliver it as 2024-03-31 or 2024-03-31 17:05"
        )
    elif times := [column for column in table.columns if column.kind in MOMENTS]:
        nulls = f"{times[0].profile.nulls:,} of {format_count(table.rows, 'row')}"
        hint = f"{times[0].name} is missing in {nulls}: complete it, or deliver the other rows alone"
    elif len(parts) > 1:
        hint = f"it has {', '.join(parts)}: deliver them as one column such as 2024-03-31"
    else:
        hint = ""
    return hint


def no_key(table: TableGuess) -> str:
    return (
        f"{table.sample.shown}: no one to four columns, of those without missing values, tell its rows apart: add one "
        "that numbers them, or remove rows that are there twice"
    )


def _find(tables: Sequence[TableGuess], predict: str) -> tuple[TableGuess, ColumnGuess]:
    if not re.fullmatch(r"[\w. -]+", predict):
        return _of_condition(tables, predict)
    wanted, _, name = predict.rpartition(".")
    found = [
        (table, column)
        for table in tables
        for column in table.columns
        if name in (column.name, column.source) and wanted in ("", table.name)
    ]
    if len(found) > 1:
        both = ", ".join(f"{table.name}.{column.name}" for table, column in found)
        raise CannotStart(f"--predict {predict} is not clear: there are {both}")
    if not found:
        shown = ", ".join(name for name, _ in candidates(tables)) or "none"
        raise CannotStart(f"--predict {predict}: there is no such column; those that could be predicted: {shown}")
    return found[0]


def _of_condition(tables: Sequence[TableGuess], sql: str) -> tuple[TableGuess, ColumnGuess]:
    """The table with the columns of a condition such as 'hours > 48', and the first of them. Raises: CannotStart."""
    words = [
        word
        for word in re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'", "", sql))
        if word not in ("and", "or", "not", "is", "null", "in")
    ]
    found = [table for table in tables if words and table.has(words[0]) and all(map(table.has, words))]
    if len(found) != 1:
        shown = ", ".join(table.name for table in found) or "no table"
        raise CannotStart(f"--predict {sql!r}: {shown} has the columns {', '.join(words) or 'none'}: name columns of one table")
    return found[0], found[0].column(words[0])


def _outcome(column: ColumnGuess) -> tuple[str, str, str]:
    """The SQL of the outcome, its kind, and how it was chosen. Raises: CannotStart."""
    name, profile = identifier(column.name), column.profile
    if column.kind == "bool":
        return name, "yes_no", "whether it is true"
    values = pc.unique(column.type.values.drop_null()).slice(0, MOST_CLASSES + 1).to_pylist()
    if len(values) < 2:
        raise CannotStart(f"{column.name} has only one value: there is nothing to predict")
    if column.kind == "text" and 2 < len(values) <= MOST_CLASSES:
        return name, "class", f"one of {', '.join(map(repr, values[:SHOWN]))}{' ...' if len(values) > SHOWN else ''}"
    if column.kind == "float" or (column.kind == "int" and len(values) > 2):
        return name, "number", "a number"
    if column.kind in MOMENTS:
        raise CannotStart(f"{column.name} is a time: predict a column with a yes or no, or a number")
    if column.kind == "text" and len(values) > MOST_CLASSES:
        raise CannotStart(f"{column.name} has {profile.distinct} different texts, too many to predict")
    counted = dict(profile.top)
    rare = min(values, key=lambda value: counted.get(str(value), 0))
    yes = next((value for value in values if str(value).lower() in YES), rare)
    (other,) = [value for value in values if value != yes]
    shown = literal(yes) if isinstance(yes, str) else str(yes)
    return f"{name} = {shown}", "yes_no", f"{yes!r} against {other!r}"


def _delay(table: TableGuess, known_at: str, column: ColumnGuess) -> tuple[int, str]:
    """After how many hours nearly all outcomes are known."""
    if not known_at:
        return 24, f"no column says when {column.name} is known: if it takes longer than a day, say so here and in `gap`"
    start = table.column(table.time).type.values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    known = table.column(known_at).type.values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    hours = pc.subtract(known, start).drop_null().to_numpy(zero_copy_only=False) / 3.6e9
    return max(1, ceil(float(np.quantile(hours, 0.995)))), f"99.5 % are known by {known_at} after this time"
