"""The shop with orders that are named after the person who placed them, and an address that is dropped."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Column, Table
from tests.support.shop import SHOP, with_columns
from tests.support.trained_shop import raw_tables

PLANTED = "unmistakable"  # part of every person's name and address below

KEY = Column("order_id", "text", "who placed it, and which", personal="hash")
EMAIL = Column("email", "text", "where to write", nullable=True, personal="drop")
OF_PERSONS = replace(
    SHOP,
    tables=(
        replace(with_columns(SHOP.tables[0], KEY, EMAIL), max_refused_share=0.2, min_rows=0),
        replace(with_columns(SHOP.tables[1], KEY), min_rows=0),
    ),
    serving=ml.Serving(log_seconds=0.2),
)


def person(number: int | str) -> str:
    return f"Zoë Unmistakable-{number}"


def address(number: int | str) -> str:
    return f"zoe.unmistakable-{number}@planted.example"


def fill_source(path: Path, bad_day: str) -> str:
    """Write the source's tables to an SQLite file; on `bad_day`, most amounts are no numbers. Returns its URL."""
    orders, returns = raw_tables()
    with sqlite3.connect(path) as connection:
        for table, rows in ((OF_PERSONS.tables[0], orders), (OF_PERSONS.tables[1], returns)):
            _write(connection, table, rows)
        late = "UPDATE orders SET amount = 'much' WHERE placed_at LIKE ? AND items > 1"
        connection.execute(late, (f"{bad_day}%",))
    connection.close()
    return f"sqlite:///{path}"


def _write(connection: sqlite3.Connection, table: Table, rows: pa.Table) -> None:
    columns = [column.name for column in table.columns]
    connection.execute(f"CREATE TABLE {table.name} ({', '.join(columns)})")
    for row in rows.to_pylist():
        number = row["order_id"]
        time = row[table.time or ""].strftime("%Y-%m-%d %H:%M:%S")
        given = row | {"order_id": person(number), "email": address(number), table.time: time}
        connection.execute(f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(columns))})", [given[c] for c in columns])
