"""Rules of a table's declaration: its names, columns, source, key and time."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from difflib import get_close_matches

from mlprod_tasks.declaration.table import Column, Files, Table

ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
CONNECTION = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# What every table has besides its columns: its partition in the lake, which SQL may read, and in the audit the bounds of that,
# which handwritten expectations name. Whatever else queries add begins with _, as no declared column may.
PARTITION = "tick"
OF_TABLES = (PARTITION, "partition_start", "partition_end")
# What predictions, training sets and the SQL of values have beside the key, the time and the features of a row.
RESERVED = {
    "decision", "fallback", "features_digest", "label", "label_known_at", "model_version", "outcome", "predict_at", "score",
    "split", PARTITION,
}  # fmt: skip


def table_problems(table: Table) -> Iterator[str]:
    at = f"table {table.name!r}"
    names = set(table.names)
    if not IDENTIFIER.fullmatch(table.name):
        yield f"{at}: name must be lower-case letters, digits and _, starting with a letter"
    yield from connection_problems(f"{at}: source.connection", table.source.connection)
    if isinstance(table.source, Files):
        yield from _files(f"{at}: source.path {table.source.path!r}", table, table.source)
        yield from _dialect(f"{at}: source", table.source)
    yield from repeated(f"{at}: columns", table.names)
    yield from repeated(f"{at}: columns of the source", (column.name_in_source for column in table.columns))
    yield from repeated(f"{at}: key", table.key)
    for column in table.columns:
        yield from _column(f"{at}: column {column.name!r}", table, column)
    if not table.key:
        yield (
            f"{at}: key names no column; a row must be identifiable. Only a table of events, whose rows are neither scored nor "
            "hold the label, gets a key that is made of its rows"
        )
    if table.keyed_by_row and (late := [column.name for column in table.columns if column.known_at]):
        yield f"{at}: {listed(late)} is filled in later, but without a key, a row that changes is another row: declare a key"
    for name in table.key:
        if name not in names:
            yield f"{at}: key column {name!r} is not declared; declared are {listed(names)}"
        elif table.column(name).nullable or table.column(name).personal == "drop":
            yield f"{at}: key column {name!r} may be neither nullable nor dropped"
    if table.time is None:
        if table.known_after or table.ticks_ahead or table.refresh_ticks:
            yield f"{at}: known_after, ticks_ahead and refresh_ticks need a `time` column"
    elif table.time not in names or table.column(table.time).kind != "timestamp":
        yield f"{at}: time {table.time!r} is not a declared timestamp column{_as_timestamp(table)}"
    elif table.column(table.dated_by or table.time).nullable:
        yield f"{at}: time column {table.dated_by or table.time!r} may not be nullable"
    if table.known_after < timedelta(0) or table.ticks_ahead < 0 or table.refresh_ticks < 0:
        yield f"{at}: known_after, ticks_ahead and refresh_ticks may not be negative"
    if table.ticks_ahead and table.known_after:
        yield f"{at}: rows are known either ticks_ahead or known_after their time, not both"
    if not 0 <= table.max_refused_share < 1:
        yield f"{at}: max_refused_share {table.max_refused_share} must be a share in [0, 1)"
    if table.may_be_empty and table.time is None:
        yield f"{at}: may_be_empty is about ticks, so it needs a `time` column; a reference table without rows is min_rows=0"
    if table.late == "use" and table.time is None:
        yield f"{at}: late is about ticks, so it needs a `time` column; a reference table is read as it is"
    if table.max_rows is not None and table.max_rows < table.min_rows:
        yield f"{at}: max_rows {table.max_rows} is below min_rows {table.min_rows}"


def _column(where: str, table: Table, column: Column) -> Iterator[str]:
    if not IDENTIFIER.fullmatch(column.name):
        yield (
            f"{where}: name must be lower-case letters, digits and _, starting with a letter: choose one, and give the name in "
            f"the source beside it, as in Column({_identifier(column.name)!r}, source={column.name_in_source!r}, ...)"
        )
    if column.name in OF_TABLES:
        yield f"{where}: the name is used by the lake itself, for its partitions: {_other_name(table, column)}"
    if column.source == "":
        yield f"{where}: source is empty: leave it out, or give the column's name in the source"
    if (column.min is not None or column.max is not None) and column.kind not in ("int", "float"):
        yield f"{where}: min and max need a number, but its kind is {column.kind!r}"
    if column.min is not None and column.max is not None and column.min > column.max:
        yield f"{where}: min {column.min} is above max {column.max}"
    if column.values is not None:
        if column.kind not in ("text", "int"):
            yield f"{where}: values need kind 'text' or 'int', not {column.kind!r}"
        elif not column.values:
            yield f"{where}: values allows nothing: leave it out, or list what is allowed"
        elif any(isinstance(value, str) != (column.kind == "text") for value in column.values):
            yield f"{where}: values {column.values} must be of its kind, {column.kind!r}"
    if column.max_null_share is not None and not (column.nullable and 0 <= column.max_null_share < 1):
        yield f"{where}: max_null_share {column.max_null_share} needs nullable=True and a share in [0, 1)"
    if column.known_at is not None and (
        column.known_at not in table.names or table.column(column.known_at).kind != "timestamp"
    ):
        times = [one.name for one in table.columns if one.kind == "timestamp"]
        yield f"{where}: known_at {column.known_at!r} is not a timestamp column of the table, which has {listed(times)}"
    elif column.known_at is not None and table.column(column.known_at).personal:
        yield f"{where}: known_at {column.known_at!r} is personal: when a value became known must reach the lake"
    elif column.known_at is not None and table.time is None:
        yield f"{where}: known_at needs a table with a `time` column: a reference table is known as a whole"
    if column.personal == "hash" and column.kind not in ("text", "int"):
        yield f"{where}: personal='hash' needs kind 'text' or 'int', not {column.kind!r}"
    if column.personal and column.name == (table.dated_by or table.time):
        yield f"{where}: the time column cannot be personal"


def scored_table_problems(table: Table) -> Iterator[str]:
    """Names of the scored table that stand for something else in its expressions or predictions."""
    for column in table.columns:
        beside = RESERVED if column.name in (*table.key, table.time) else {"predict_at"}
        if column.name in beside - {PARTITION}:  # that one is refused in any table
            yield (
                f"table {table.name!r}: column {column.name!r}: the name is that of a column of predictions or training sets, "
                f"in which this one is, too: {_other_name(table, column)}; reserved there are {listed(RESERVED)}"
                if column.name != "predict_at"
                else f"table {table.name!r}: column {column.name!r}: expressions read by that name when the row is scored: "
                f"{_other_name(table, column)}"
            )


def _other_name(table: Table, column: Column) -> str:
    return (
        "choose another, and give the name in the source beside it, as in "
        f"Column({f'{table.name}_{column.name}'!r}, source={column.name_in_source!r}, ...)"
    )


def _as_timestamp(table: Table) -> str:
    if table.time not in table.names:
        near = get_close_matches(str(table.time), table.names, 1)
        return f": did you mean {near[0]!r}?" if near else f"; it has {listed(table.names)}"
    match table.column(str(table.time)).kind:
        case "text":
            return ": declare it with kind 'timestamp' or 'date'; a text such as '2024-01-31 08:00' is read as one"
    return ""


def _identifier(name: str) -> str:
    """A name that is allowed and resembles this one."""
    plain = unicodedata.normalize("NFKD", name.lower().replace("ß", "ss"))
    words = re.findall(r"[a-z0-9]+", "".join(one for one in plain if not unicodedata.combining(one)))
    text = "_".join(words)[:63]
    return text if IDENTIFIER.fullmatch(text) else f"column_{text}".rstrip("_")[:63]


def _dialect(where: str, source: Files) -> Iterator[str]:
    if source.format != "csv" and (source.separator, source.decimal, source.missing) != (",", ".", ()):
        yield f"{where}: separator, decimal and missing are for CSV, not for {source.format}"
    if source.format == "parquet" and (source.encoding, source.dates) != ("utf-8", "2024-12-31"):
        yield f"{where}: encoding and dates are for text files, not for parquet"
    if len(source.separator) != 1 or source.separator in '"\r\n\0' or not source.separator.isascii():
        meant = _separator_meant(source.separator)
        yield f"{where}: separator {source.separator!r} must be one ASCII character, no quote and no line break{meant}"
    if source.separator == source.decimal:
        yield f"{where}: separator and decimal are both {source.decimal!r}: such numbers would be two values"
    try:
        "x".encode(source.encoding)
    except (LookupError, UnicodeError):
        yield f"{where}: encoding {source.encoding!r} is none that Python knows as text; write 'utf-8', 'cp1252' or 'utf-16'"


def _files(where: str, table: Table, source: Files) -> Iterator[str]:
    if source.path.startswith(("/", "~")) or ".." in source.path.split("/") or "://" in source.path:
        yield f"{where} must lie below the folder of its connection: write it relative to that"
    if re.search(r"[{}]", source.path.replace("{tick}", "")):
        yield f"{where}: only {{tick}} is filled in"
    if "{tick}" in source.path and table.time is None:
        yield f"{where} holds {{tick}}, which needs a `time` column"


def connection_problems(where: str, name: str) -> Iterator[str]:
    if "/" in name or "@" in name:  # not shown: it may hold a password
        yield f"{where} is an address: give the name of a connection, and its address to Airflow or the environment"
    elif not CONNECTION.fullmatch(name):
        yield f"{where} {name!r} must be letters, digits and _, starting with a letter"


def repeated(where: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{where}: {name!r} is declared {times} times"


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _separator_meant(given: str) -> str:
    character = {"semicolon": ";", "comma": ",", "tab": "\\t", "\\t": "\\t", "pipe": "|"}.get(given.strip().lower())
    return f"; did you mean '{character}'?" if character else ""
