"""What the shop's database holds: orders and returns in PostgreSQL, with a person's name in every key."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import text

from mlprod_tasks.platform.database import open_database

PLANTED = "unmistakable"  # part of every person's name and address; it stands in no file, log, mail or database of ours
STARTS, DAYS, ORDERS_A_DAY, CUSTOMERS = date(2023, 12, 31), 47, 60, 200
CREATE = (
    "CREATE TABLE orders (order_id text PRIMARY KEY, placed_at timestamptz, customer text, email text, channel text, "
    "amount double precision, items bigint)",
    "CREATE TABLE returns (order_id text PRIMARY KEY, settled_at timestamptz, customer text, returned boolean)",
)


def person(number: int) -> str:
    return f"Zoë Unmistakable-{number}"


def fill(url: str, seed: int) -> None:
    """Create and fill both tables. Some amounts of each day are negative: the audit refuses these orders."""
    orders, returns = zip(*_rows(seed), strict=True)
    engine = open_database(url, writes=True)
    with engine.begin() as connection:
        for statement in CREATE:
            connection.execute(text(statement))
        for table, rows in (("orders", orders), ("returns", returns)):
            values = ", ".join(f":{name}" for name in rows[0])
            connection.execute(text(f"INSERT INTO {table} VALUES ({values})"), list(rows))
    engine.dispose()


def _rows(seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    chance = random.Random(seed)
    for day, number in itertools.product(range(DAYS), range(ORDERS_A_DAY)):
        customer = chance.randrange(CUSTOMERS)
        who, key = person(customer), f"{person(customer)}/{day}-{number}"
        placed = datetime.combine(STARTS, time(4), UTC) + timedelta(days=day, seconds=chance.randrange(80_000))
        channel, amount = chance.choice(("web", "app", "phone")), chance.gammavariate(2, 40)
        items = chance.randrange(1, 6)
        risk = 0.1 + 0.4 * (channel == "phone") + 0.002 * amount + 0.2 * (customer % 7 == 0)
        wrong = number % 30 == 7
        yield (
            {
                "order_id": key, "placed_at": placed, "customer": who, "email": f"zoe.unmistakable-{customer}@planted.example",
                "channel": channel, "amount": -amount if wrong else amount, "items": items,
            },
            {
                "order_id": key, "settled_at": placed + timedelta(hours=20), "customer": who,
                "returned": chance.random() < risk,
            },
        )  # fmt: skip
