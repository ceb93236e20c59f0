"""Write the declaration of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from mlprod_tasks.starting.guess_parts import PartGuess
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess
from mlprod_tasks.starting.guess_windows import WindowGuess
from mlprod_tasks.starting.python_text import python_tuple, quoted_text, said

MOST_VALUES = 8
SINCE_YEAR, UNTIL_YEAR = 1900, 2100


@dataclass(frozen=True)
class TableUse:
    """What a use case makes of its tables.

    outcome: the table and the column with the outcome, whose value is known at the column `known_at`; '' if none has it or no
    column says. known_after: in hours. joined: the columns by which tables are joined. scored: the name of the table whose rows
    are scored.
    """

    outcome: tuple[str, str]
    known_at: str
    known_after: int
    joined: frozenset[str]
    scored: str


def written_table(table: TableGuess, use: TableUse, windows: WindowGuess | PartGuess) -> Iterator[str]:
    """The lines that declare a table."""
    yield f"{table.name} = ml.Table("
    yield f'    "{table.name}",'
    yield f"    {_source(table)}),"
    key_why = "no columns tell rows apart: each gets a hash of its values as its key" if table.is_log else table.key_why
    yield said(f"    key={python_tuple(table.key)},", key_why, sure=key_why.startswith("the database"))
    if table.time:
        yield said(f'    time="{table.time}",', table.time_why)
    if any(_known_at(column, table, use) for column in table.columns):
        again = ceil(use.known_after / windows.hours) + 1
        yield said(f"    refresh_ticks={again},", "read again for that long, since values are filled in later", sure=True)
    if table.time and (windows.has_empty_ticks or table.name != use.scored):
        yield said("    may_be_empty=True,", f"a tick, here a {windows.every}, may have no rows", sure=True)
    yield "    columns=("
    for column in table.columns:
        yield _column(column, table, use)
    for name, why in table.dropped:
        yield f"        # {name!r} is not declared: {why}"
    yield "    ),"
    yield ")"


def _source(table: TableGuess) -> str:
    missing = sorted(set().union(*(column.type.missing for column in table.columns)))
    comma = any(column.type.comma for column in table.columns)
    ways = [column.type.dates for column in table.columns if column.type.dates]
    dates = f', dates="{ways[0]}"' if ways else ""
    more = f"{dates}, missing={python_tuple(missing)}" if missing else dates
    return f"{table.sample.source}{more}{', decimal=' + chr(34) + ',' + chr(34) if comma else ''}"


def _known_at(column: ColumnGuess, table: TableGuess, use: TableUse) -> str:
    return use.known_at if (table.name, column.name) == use.outcome else column.known_at


def _column(column: ColumnGuess, table: TableGuess, use: TableUse) -> str:
    kind = "timestamp" if column.name == table.time else column.kind
    parts, whys, facts = [f'"{column.name}"', f'"{kind}"'], list[str](), list[str]()
    if column.type.why:
        whys.append(column.type.why)
    if kind != column.kind:
        whys.append("days, taken as their midnight")
    to_score = not table.time and (table.name, column.name) == use.outcome
    if to_score:
        whys.append("rows without it are scored")
    if to_score or column.has_nulls:
        parts.append("nullable=True")
    if column.has_nulls:
        facts.append(f"{column.profile.null_share:.1%} missing")
    known_at = _known_at(column, table, use)
    if known_at:
        parts.append(f'known_at="{known_at}"')
        own = column.known_at == known_at
        whys.append(f"missing where {known_at} is" if own else "the outcome is known only then")
    if column.personal:
        parts.append(f'personal="{"hash" if column.name in (*table.key, *use.joined) else "drop"}"')
        whys.append(f"personal, {column.personal}")
    else:
        parts += _bounds(column)
    if column.name != column.source:
        parts.append(f"source={quoted_text(column.source)}")
    return said(f"        ml.Column({', '.join(parts)}),", "; ".join((*whys, *facts)), sure=not whys)


def _bounds(column: ColumnGuess) -> list[str]:
    """Bounds that data which means the same will keep: signs, years, shares, and a few categories."""
    profile = column.profile
    if column.kind == "text" and profile.top and profile.distinct == len(profile.top) <= MOST_VALUES:
        few = [value for value, n in profile.top if n >= 5]
        return [f"values={python_tuple(sorted(few))}"] if len(few) == profile.distinct else []
    if column.kind not in ("int", "float") or profile.least is None or column.is_id:
        return []
    least, most = profile.least, profile.most
    if column.kind == "int" and least >= SINCE_YEAR and most <= UNTIL_YEAR and "year" in column.name:
        return [f"min={SINCE_YEAR}", f"max={UNTIL_YEAR}"]
    if least >= 0 and most <= 1:
        return ["min=0", "max=1"]
    return ["min=0"] if least >= 0 else []
