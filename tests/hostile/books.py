"""Write hostile rows into a source, ingest them by the real steps, and balance the books against what was written."""

import hashlib
import hmac
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.ledger import Audit
from tests.hostile.meanings import BATCH, DATABASES, KINDS, ROW, Cell, Form, RawText
from tests.support.keys import PSEUDONYM_KEY
from tests.support.shop import shop_of_one_table

TICKS = (date(2024, 3, 15), date(2024, 3, 16))
PLANTED = "unmistakable"  # part of every person below
NAMES = ("order_id", "ordered_at", *(f"of_{kind}" for kind in KINDS), "customer", "email")
SAID = {f"of_{kind}": f"of_{kind} must be {kind}" for kind in KINDS}
TIMES = {
    "sqlite": (Cell(None, ROW), Cell("", ROW), Cell("14.03.2024", ROW), Cell(1710410400, ROW), Cell("2024-02-30", ROW)),
    "postgresql": (Cell("NULL", ROW), Cell("'infinity'", ROW), Cell("'-infinity'", ROW), Cell("'10000-01-01'", ROW)),
    "mariadb": (Cell("NULL", ROW), Cell("'0000-00-00'", ROW), Cell("'2024-03-00 12:00'", ROW)),
    "csv": (Cell(b"", ROW), Cell(b"14.03.2024", BATCH), Cell(b'""', BATCH), Cell(b"2024-03-14 12:0\xff", BATCH)),
    "jsonl": (Cell(b"null", ROW), Cell(b'"14.03.2024"', BATCH), Cell(b"1710410400", BATCH), Cell(b'""', BATCH)),
    "parquet": (Cell(None, ROW),),
}
CUSTOMERS = {
    "sqlite": (Cell(None, None), Cell(7, "7"), Cell(RawText(b"Unmistakable\xfc"), ROW), Cell(b"\xfcUnmistakable", ROW)),
    "postgresql": (Cell("NULL", None), Cell("''", "")),
    "mariadb": (Cell("NULL", None), Cell("''", ""), Cell("'Unmistakable 😀'", "Unmistakable 😀")),
    "csv": (Cell(b"", None), Cell('"Unmistakable, ""Zoë"""'.encode(), 'Unmistakable, "Zoë"'), Cell(b"Unmistakable\xeb", ROW)),
    "jsonl": (Cell(b"null", None), Cell(b"7.0", "7"), Cell(b'"Unmistakable\\udceb"', ROW), Cell(b'["Unmistakable"]', ROW)),
    "parquet": (Cell(None, None), Cell(b"", ""), Cell(b"Unmistakable\xeb", ROW)),
}


@dataclass(frozen=True)
class Row:
    """A row of the source. day: 0 or 1, the tick that has it; 2: of a later tick. at: another cell for the time."""

    number: int | None
    cells: tuple[Cell, ...]
    day: int = 0
    at: Cell | None = None
    customer: Cell | None = None


@dataclass(frozen=True)
class Content:
    """All rows of a source, and the form of each of the six columns.

    by_tick: files by tick, whose names say which rows belong to it. reference: a table without a time.
    """

    source: str
    forms: tuple[Form, ...]
    rows: tuple[Row, ...]
    by_tick: bool = False
    reference: bool = False

    @property
    def table(self) -> str:
        return "things" if self.reference else "orders"

    def place(self, row: Row) -> int | None:
        """The number of the tick that has the row; None if none of the two has it, or the row has no time that can be read."""
        if self.reference:
            return 1
        if row.at is not None:
            return None if self.source in DATABASES else 0
        if row.day > 1:
            return 0 if self.by_tick else None
        return row.day


@dataclass
class Books:
    """The expected books, from what was written: accepted and refused by tick; rows that belong to no tick."""

    accepted: dict[date, list[tuple[Any, ...]]] = field(default_factory=dict)
    refused: Counter[date] = field(default_factory=Counter)
    batches: set[date] = field(default_factory=set)
    timeless: int = 0
    later: int = 0


def pipeline_of(source: str, by_tick: bool = False, reference: bool = False) -> ml.Pipeline:
    """The use case over the table, for one kind of source.

    reference: the table has no time; the scored table is another one, which is not read.
    """
    files = f"{{tick}}/*.{source}" if by_tick else f"*.{source}"
    given: Any = ml.Database("shop", "orders") if source in DATABASES else ml.Files("shop", files, source)
    kinds = [ml.Column(f"of_{kind}", kind, "x", nullable=True) for kind in KINDS]  # type: ignore[arg-type]
    columns = (
        ml.Column("order_id", "int", "number"),
        ml.Column("ordered_at", "timestamp", "when"),
        *kinds,
        ml.Column("customer", "text", "who", nullable=True, personal="hash"),
        ml.Column("email", "text", "where", nullable=True, personal="drop"),
    )
    made = shop_of_one_table("of_float", columns=columns, source=given, min_rows=0, max_refused_share=0.999)
    tables = (*made.tables, replace(made.tables[0], name="things", time=None)) if reference else made.tables
    return replace(made, tables=tables)


def expected(content: Content) -> Books:
    """The books by what was written into the source."""
    books = Books()
    inside: dict[date, list[Row]] = {tick: [] for tick in TICKS[content.reference :]}
    for row in content.rows:
        place = content.place(row)
        if place is not None:
            inside[TICKS[place]].append(row)
        elif row.at is not None:
            books.timeless += 1
        else:
            books.later += 1
    for tick, rows in inside.items():
        numbers = Counter(row.number for row in rows)
        every = [{one.meaning for one in _cells(row) if one in (ROW, BATCH) or one.meaning in (ROW, BATCH)} for row in rows]
        for row, found in zip(rows, every, strict=True):
            if content.by_tick and row.at is None and row.day > 1:
                found.add(ROW)  # its time is not that of its file
        if any(BATCH in found for found in every):
            books.batches.add(tick)
        good = [
            r for r, found in zip(rows, every, strict=True) if not found and r.number is not None and numbers[r.number] == 1
        ]
        if rows and len(good) < len(rows) * 0.001:
            books.batches.add(tick)
        books.accepted[tick] = [] if tick in books.batches else [_values(content, row) for row in good]
        books.refused[tick] = len(rows) - len(books.accepted[tick])
    return books


def _cells(row: Row) -> list[Cell]:
    return [*row.cells, *(one for one in (row.at, row.customer) if one is not None)]


def _values(content: Content, row: Row) -> tuple[Any, ...]:
    who = row.customer.meaning if row.customer is not None else person(row.number)
    hashed = None if who is None else hmac.new(PSEUDONYM_KEY.encode(), who.encode(), hashlib.sha256).hexdigest()
    return (row.number, *(cell.meaning for cell in row.cells), hashed)


def person(number: int | None) -> str:
    return f"Zoe Unmistakable-{number}"


def time_of(row: Row) -> str:
    return f"{date(2024, 3, 14) + timedelta(days=row.day)} 12:00:00"


# -- write


def write(content: Content, folder: Path, url: str = "") -> str:
    """Write the rows, in the place of those that were there. Returns the connection."""
    folder.mkdir(exist_ok=True)
    if content.by_tick:
        for i, tick in enumerate(TICKS):
            rows = tuple(row for row in content.rows if content.place(row) == i)
            write(replace(content, rows=rows, by_tick=False), folder / str(tick))
        return str(folder)
    return {
        "csv": _csv,
        "jsonl": _jsonl,
        "parquet": _parquet,
        "sqlite": _sqlite,
        "postgresql": _postgresql,
        "mariadb": _mariadb,
    }[content.source](content, folder, url)


def csv_bytes(content: Content) -> bytes:
    lines = [",".join(NAMES).encode()]
    for row in content.rows:
        at = time_of(row).encode() if row.at is None else row.at.written
        number = b"" if row.number is None else str(row.number).encode()
        who = row.customer.written if row.customer is not None else person(row.number).encode()
        lines.append(b",".join([number, at, *(cell.written for cell in row.cells), who, f"{PLANTED}@example".encode()]))
    return b"\n".join([*lines, b""])


def _csv(content: Content, folder: Path, _: str) -> str:
    (folder / "orders.csv").write_bytes(csv_bytes(content))
    return str(folder)


def _jsonl(content: Content, folder: Path, _: str) -> str:
    lines = []
    for row in content.rows:
        at = f'"{time_of(row)}"'.encode() if row.at is None else row.at.written
        number = b"null" if row.number is None else str(row.number).encode()
        who = row.customer.written if row.customer is not None else f'"{person(row.number)}"'.encode()
        values = [number, at, *(cell.written for cell in row.cells), who, f'"{PLANTED}@example"'.encode()]
        named = (f'"{name}": '.encode() + value for name, value in zip(NAMES, values, strict=True))
        lines.append(b"{" + b", ".join(named) + b"}\n")
    (folder / "orders.jsonl").write_bytes(b"".join(lines))
    return str(folder)


def _parquet(content: Content, folder: Path, _: str) -> str:
    rows = content.rows
    times = [datetime.fromisoformat(time_of(row)) if row.at is None else row.at.written for row in rows]
    who = [row.customer.written if row.customer is not None else person(row.number).encode() for row in rows]
    columns = [pa.array([row.number for row in rows], pa.int64()), pa.array(times, pa.timestamp("us", "UTC"))]
    columns += [pa.array([row.cells[i].written for row in rows], form.type) for i, form in enumerate(content.forms)]
    columns += [pa.array(who, pa.binary()), pa.array([f"{PLANTED}@example"] * len(rows), pa.string())]
    pq.write_table(pa.table(columns, names=list(NAMES)), folder / "orders.parquet")
    return str(folder)


def _sqlite(content: Content, folder: Path, _: str) -> str:
    path = folder / "shop.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE orders ({', '.join(NAMES)})")
        for row in content.rows:
            who = row.customer.written if row.customer is not None else person(row.number)
            at = time_of(row) if row.at is None else row.at.written
            values = [row.number, at, *(cell.written for cell in row.cells), who, f"{PLANTED}@example"]
            marks = ", ".join("CAST(? AS TEXT)" if isinstance(value, RawText) else "?" for value in values)
            plain = [value.content if isinstance(value, RawText) else value for value in values]
            connection.execute(f"INSERT INTO orders VALUES ({marks})", plain)
    connection.close()
    return f"sqlite:///{path}"


def _postgresql(content: Content, _: Path, url: str) -> str:
    import psycopg2

    types = ["bigint", "timestamptz", *(form.type for form in content.forms), "text", "text"]
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS orders")
        cursor.execute(f"CREATE TABLE orders ({', '.join(f'{n} {t}' for n, t in zip(NAMES, types, strict=True))})")
        for row in content.rows:
            who = row.customer.written if row.customer is not None else f"'{person(row.number)}'"
            at = f"'{time_of(row)}+00'" if row.at is None else row.at.written
            number = "NULL" if row.number is None else str(row.number)
            values = [number, at, *(cell.written for cell in row.cells), who, f"'{PLANTED}@example'"]
            cursor.execute(f"INSERT INTO orders VALUES ({', '.join(values)})")
    connection.close()
    return url


def _mariadb(content: Content, _: Path, url: str) -> str:
    types = ["bigint", "datetime(6)", *(form.type for form in content.forms), "text", "text"]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(NAMES, types, strict=True))
    with open_database(url, writes=True).begin() as connection:
        connection.exec_driver_sql("SET sql_mode = ''")  # as many servers are set: nothing is refused on writing
        connection.exec_driver_sql("DROP TABLE IF EXISTS orders")
        connection.exec_driver_sql(f"CREATE TABLE orders ({columns}) CHARACTER SET utf8mb4")
        for row in content.rows:
            who = row.customer.written if row.customer is not None else f"'{person(row.number)}'"
            at = f"'{time_of(row)}'" if row.at is None else row.at.written
            number = "NULL" if row.number is None else str(row.number)
            values = [number, at, *(cell.written for cell in row.cells), who, f"'{PLANTED}@example'"]
            connection.exec_driver_sql(f"INSERT INTO orders VALUES ({', '.join(values)})")
    return url


# -- ingest and compare


def ingest(pipeline: ml.Pipeline, platform: Platform, table: str = "orders") -> TablesFailed | None:
    """Extract, audit and publish both ticks of a table; the error that ended it."""
    ticks = pipeline.schedule.range(str(TICKS[0]), str(TICKS[1]))
    try:
        for step in (steps.extract, steps.audit, steps.publish):
            step(pipeline, ticks, platform, tables=[table])
    except TablesFailed as error:
        return error
    return None


def lake_rows(pipeline: ml.Pipeline, platform: Platform, table: str = "orders") -> dict[date, list[tuple[Any, ...]]]:
    name, found = names.raw(pipeline, table), {tick: [] for tick in TICKS}  # type: ignore[var-annotated]
    if platform.lake.exists(name):
        for row in platform.lake.rows(name).to_pylist():
            assert "email" not in row
            values = [row["order_id"], *(row[f"of_{kind}"] for kind in KINDS), row["customer"]]
            found[row.get("tick", TICKS[1])].append(tuple(v.astimezone(UTC) if isinstance(v, datetime) else v for v in values))
    return found


def told(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Rows in an order of their own, each value with its type; -0.0 is not 0.0."""
    return sorted(repr(row) for row in rows)


def check(content: Content, pipeline: ml.Pipeline, platform: Platform, error: TablesFailed | None, before: Any = None) -> None:
    """The books balance: source rows = accepted + refused + of no tick + of later ticks, and values equal the source's."""
    books = expected(content)
    audits = {one.tick: one for one in platform.ledger.all(Audit, table_name=content.table)}
    counts = {tick: (one.rows_accepted, one.rows_refused) for tick, one in audits.items()}
    due = {tick: (len(rows), books.refused[tick]) for tick, rows in books.accepted.items()}
    assert counts == due, f"accepted and refused: {counts}, not {due}"
    assert {one.rows_without_tick for one in audits.values()} == {books.timeless}
    total = sum(one.rows_read for one in audits.values()) + books.timeless + books.later
    assert total == len(content.rows)
    assert _size(platform, names.quarantine(pipeline, content.table)) == sum(books.refused.values())
    assert _size(platform, names.quarantine_without_tick(pipeline, content.table)) == books.timeless
    stored = lake_rows(pipeline, platform, content.table)
    for tick, one in audits.items():
        assert found_by_column(one) == batch_cells(content, TICKS.index(tick))
        for failure in one.failures:
            if failure["column"] in SAID and failure["expectation"] == "expect_column_values_to_be_in_type_list":
                assert failure["sentence"] == SAID[failure["column"]], "in the words of the declaration"
    if books.batches:
        said = str(error)
        assert "'shop'" in said
        assert repr(content.table) in said
        assert all(str(tick) in said for tick in books.batches)
        assert stored == (before or {tick: [] for tick in TICKS})  # nothing is published
        return
    assert error is None
    later = {row[0] for row in books.accepted[TICKS[1]]}  # of rows with one key, that of the later tick stays
    first = [row for row in books.accepted.get(TICKS[0], []) if row[0] not in later]
    for tick, rows in zip(TICKS, (first, books.accepted[TICKS[1]]), strict=True):
        other = sorted(set(told(stored[tick])) ^ set(told(rows)))
        assert told(stored[tick]) == told(rows), f"{tick}: not in both: {[one[:500] for one in other[:4]]}"


def batch_cells(content: Content, day: int) -> dict[str, int]:
    """How many cells of each column are not of its kind, in the rows of a day that have a time."""
    found: Counter[str] = Counter()
    for row in content.rows:
        if content.place(row) == day:
            found.update(f"of_{kind}" for kind, cell in zip(KINDS, row.cells, strict=True) if cell.meaning is BATCH)
    return dict(found)


def found_by_column(audit: Audit) -> dict[str, int]:
    """The same as the audit recorded it."""
    typed = [one for one in audit.failures if one["expectation"] == "expect_column_values_to_be_in_type_list"]
    counts = {one["column"]: int(one["observed"].split()[0].replace(",", "")) for one in typed if one["refuses"] == "batch"}
    return {name: count for name, count in counts.items() if name.startswith("of_")}


def _size(platform: Platform, name: str) -> int:
    return platform.lake.rows(name).num_rows if platform.lake.exists(name) else 0
