"""Guess a first set of features: columns of the row, look-ups, and trailing aggregates by the keys found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.evaluation.model_checks.leakage import alone
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.profiling.column_profile import MOMENTS
from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEW = 20  # different numbers of an identifier, which then are rather categories
MOST_TEXTS = 1000  # different ones that a model can make something of
MOST_GROUPS, MOST_LOOKED_UP, MOST_NUMBERS = 3, 8, 2
REPEATED = 3  # rows of a group, on average, that make its history worth anything
LEAST_SHARE = 0.3  # of values that the other table has, for a join to be worth anything
SUSPICIOUS = 0.95


@dataclass(frozen=True)
class Join:
    """Columns of the scored table that refer to another table. how: how sure that is."""

    table: TableGuess
    on: tuple[tuple[str, str], ...]
    how: str


@dataclass(frozen=True)
class FeatureGuess:
    """own: columns of the row. left_out: columns that tell the outcome almost alone. groups: columns to aggregate the past by.
    joins: look-ups of tables without, and aggregates of tables with a time."""

    own: tuple[ColumnGuess, ...]
    left_out: tuple[tuple[str, str], ...]
    groups: tuple[ColumnGuess, ...]
    joins: tuple[Join, ...]


def guess_features(label: LabelGuess, tables: Sequence[TableGuess], connection: DuckDBPyConnection) -> FeatureGuess:
    """The first set of features for an outcome."""
    table = label.table
    usable = [column for column in table.columns if _is_input(column, label)]
    left_out = dict(_suspicious(usable, label, connection))
    own = tuple(column for column in usable if column.name not in left_out)
    # Rows without a time are as of the tick that reads them, which may be long after the events of a table.
    others = [other for other in tables if other is not table and (table.time or not other.time)]
    joins = tuple(join for other in others if (join := _join(table, other, connection)) is not None)
    groups = tuple(_groups(table, label)) if table.time else ()
    return FeatureGuess(own, tuple(left_out.items()), groups, joins)


def _is_input(column: ColumnGuess, label: LabelGuess) -> bool:
    table, profile = label.table, column.profile
    if column.name in (label.column.name, table.time) or column.personal or column.known_at or column.kind in MOMENTS:
        return False
    if profile.distinct <= 1 or column.name in table.key:
        return False
    if column.is_id and column.kind == "int" and profile.distinct > FEW:
        return False  # its size means nothing
    return column.kind != "text" or profile.distinct <= min(MOST_TEXTS, max(2, table.rows // 20))


def _suspicious(columns: Sequence[ColumnGuess], label: LabelGuess, connection: DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Columns that alone tell the outcome of other, if possible later rows, as only what is known afterwards does."""
    if not columns:
        return
    names = ", ".join(quoted(column.name) for column in columns)
    kind = {"yes_no": "BOOLEAN", "number": "DOUBLE", "class": "VARCHAR"}[label.kind]
    order = quoted(label.table.time) if label.table.time else f"hash({', '.join(map(quoted, label.table.key))})"
    query = f"SELECT {names}, ({label.sql})::{kind} AS label FROM {quoted(label.table.name)} ORDER BY {order}"
    rows: pa.Table = connection.sql(query).to_arrow_table()
    rows = rows.filter(pc.is_valid(rows["label"]))
    half = rows.num_rows // 2
    first, last = rows.slice(0, half), rows.slice(half)
    if min(first.num_rows, last.num_rows) < 50 or any(len(pc.unique(part["label"])) < 2 for part in (first, last)):
        return
    for one in alone(first, last, [column.name for column in columns], ()):
        power = one.value or 0.0
        if power >= SUSPICIOUS:
            yield one.subject, f"alone it has {one.sentence.partition('alone has ')[2].partition(' on ')[0]}"


def _groups(table: TableGuess, label: LabelGuess) -> Iterator[ColumnGuess]:
    """Columns whose earlier rows say something about a row: identifiers first, then categories."""
    found = [
        column
        for column in table.columns
        if column.kind in ("text", "int") and not column.known_at and column.name != label.column.name
        and not (column.personal and column.name not in table.key)
        and 1 < column.profile.distinct <= table.rows / REPEATED
        and (column.kind == "text" or column.is_id) and column.profile.null_share < 0.5
    ]  # fmt: skip
    found.sort(key=lambda column: (not column.is_id, -column.profile.distinct))
    yield from found[:MOST_GROUPS]


def numbers(table: TableGuess) -> list[ColumnGuess]:
    """Numbers of a table whose sums and means may say something."""
    kept = [
        column for column in table.columns
        if column.kind in ("int", "float") and not column.is_id and not column.personal and column.name not in table.key
        and column.profile.distinct > 2
    ]  # fmt: skip
    return sorted(kept, key=lambda column: column.kind != "float")[:MOST_NUMBERS]


def _join(table: TableGuess, other: TableGuess, connection: DuckDBPyConnection) -> Join | None:
    """How another table joins the scored one: by its whole key if it has no time, else by a column of the same name."""
    declared = [(column.name, theirs) for column in table.columns if (theirs := _referred(column, table, other)) is not None]
    if declared and (other.time or tuple(theirs for _, theirs in declared) == other.key):
        return Join(other, tuple(declared[:1] if other.time else declared), "the database says so")
    if other.time:
        shared = [
            column for column in table.columns
            if other.has(column.name) and column.kind in ("text", "int") and column.is_id and not column.personal
        ]  # fmt: skip
        shared.sort(key=lambda column: (column.name in table.key and len(table.key) == 1, -column.profile.distinct))
        for column in shared:
            share = _contained(table, column.name, other, column.name, connection)
            repeated = other.column(column.name).profile.distinct <= other.rows / REPEATED
            if share > LEAST_SHARE and repeated:
                return Join(other, ((column.name, column.name),), f"it has {share:.0%} of its values")
        return None
    on = [(name, name) for name in other.key if table.has(name)]
    if not on and len(other.key) == 1:
        on = [(column.name, other.key[0]) for column in table.columns if _names_key(column, other)][:1]
    if len(on) != len(other.key) or not on or any(table.column(mine).kind != other.column(theirs).kind for mine, theirs in on):
        return None
    share = min(_contained(table, mine, other, theirs, connection) for mine, theirs in on)
    return Join(other, tuple(on), f"it has {share:.0%} of its values") if share > LEAST_SHARE else None


def _referred(column: ColumnGuess, table: TableGuess, other: TableGuess) -> str | None:
    to = table.sample.references.get(column.source)
    if to is None or to[0] != other.name:
        return None
    return next((one.name for one in other.columns if one.source == to[1]), None)


def _names_key(column: ColumnGuess, other: TableGuess) -> bool:
    singular = other.name.removesuffix("s")
    return column.name in (f"{singular}_{other.key[0]}", f"{other.name}_{other.key[0]}", f"{singular}_id", singular)


def _contained(table: TableGuess, mine: str, other: TableGuess, theirs: str, connection: DuckDBPyConnection) -> float:
    """The share of different values of a column that another table has."""
    one, two = table.column(mine), other.column(theirs)
    if one.kind != two.kind:
        return 0.0
    query = (
        f"SELECT avg((theirs.v IS NOT NULL)::INT) FROM (SELECT DISTINCT {quoted(mine)} AS v FROM {quoted(table.name)} "
        f"WHERE {quoted(mine)} IS NOT NULL) AS mine LEFT JOIN (SELECT DISTINCT {quoted(theirs)} AS v FROM "
        f"{quoted(other.name)}) AS theirs ON mine.v = theirs.v"
    )
    return float(connection.execute(query).fetchall()[0][0] or 0.0)
