"""A tick of orders, each as of a moment of its own, for benchmarks that ask a table of generated rows about their customers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.feature import Feature
from mlprod_tasks.platform import Platform, names

DAY, DAYS = date(2024, 3, 1), 28
START = datetime(2024, 3, 1, tzinfo=UTC)
LEAD_HOURS = 25
MICROSECONDS = 1_000_000
DAY_LONG = 86_400 * MICROSECONDS
FIRST = int(START.timestamp()) * MICROSECONDS
MOMENT = pa.timestamp("us", "UTC")
CUSTOMER = ml.Column("customer", "int", "who orders")
ORDERS = ml.Table(
    "orders", ml.Files("x", "o.csv", "csv"), ("order_id",), time="due", ticks_ahead=1,
    columns=(
        ml.Column("order_id", "int", "-"), ml.Column("due", "timestamp", "-"), CUSTOMER,
        ml.Column("paid", "bool", "-", known_at="settled"), ml.Column("settled", "timestamp", "-", nullable=True),
    ),
)  # fmt: skip


def declared(asked: ml.Table, feature: Feature) -> Pipeline:
    """A use case of orders with a feature of another table."""
    return ml.Pipeline(
        name=asked.name,
        owner="shop",
        alert_to=("shop@example.com",),
        schedule=ml.Schedule(at=START.time(), timezone="UTC", starts=date(2024, 1, 1)),
        tables=(ORDERS, asked),
        entity="orders",
        predict_at=ml.Before(ml.hours(LEAD_HOURS)),
        features=(ml.Expression("weekday", "extract(isodow FROM due)", "int", "of the order"), feature),
        label=ml.Label("orders", {"order_id": "order_id"}, "paid", delay=ml.days(1)),
    )


def moments(random: np.random.Generator, rows: int) -> np.ndarray:
    """Moments of the four weeks before the tick, in order (microseconds)."""
    return np.sort(FIRST - random.integers(0, DAYS * DAY_LONG, rows))


def ticks_of(at: np.ndarray) -> pa.Array:
    """The ticks of moments before them."""
    return pa.array((at // DAY_LONG + 1).astype(np.int32)).cast(pa.date32())


def orders(random: np.random.Generator, rows: int, customers: Callable[[int], np.ndarray]) -> pa.Table:
    """The orders of the tick. customers: those of so many rows."""
    due = FIRST + random.integers(0, DAY_LONG, rows)
    return pa.table(
        {
            "order_id": np.arange(rows), "due": pa.array(due).cast(MOMENT), "customer": customers(rows),
            "paid": np.zeros(rows, bool), "settled": pa.nulls(rows, MOMENT), "tick": pa.array([DAY] * rows),
        }
    )  # fmt: skip


def into_lake(pipeline: Pipeline, platform: Platform, tables: dict[str, pa.Table]) -> None:
    """Put tables into the lake, as publishing leaves them."""
    for name, table in tables.items():
        ticks = pipeline.schedule.range(min(table["tick"].to_pylist()), max(table["tick"].to_pylist()))
        platform.lake.replace_ticks(names.raw(pipeline, name), ticks, table)
