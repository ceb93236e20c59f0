"""What many small ticks cost: the same year of rows ingested as ticks of an hour and as ticks of a day, each as one range."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from datetime import time as clock_time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment

DAYS = sized(365, 3)
ROWS_A_DAY = 300
FIRST = date(2023, 1, 2)
STEPS = (steps.extract, steps.audit, steps.publish)


def pipeline(every: str) -> ml.Pipeline:
    """A use case with a table of orders, which comes in every hour or day."""
    orders = ml.Table(
        "orders",
        ml.Database("shop", "orders"),
        ("order_id",),
        (
            ml.Column("order_id", "int", "number"),
            ml.Column("ordered_at", "timestamp", "when"),
            ml.Column("channel", "text", "web or app", values=("web", "app")),
            ml.Column("amount", "float", "price", min=0),
            ml.Column("paid", "bool", "whether it was paid"),
        ),
        time="ordered_at",
        may_be_empty=True,
    )
    return ml.Pipeline(
        name=f"every_{every}",
        owner="shop",
        alert_to=("shop@example.com",),
        tables=(orders,),
        entity="orders",
        label=ml.Label("orders", {"order_id": "order_id"}, "paid", delay=ml.days(1)),
        schedule=ml.Schedule(at=clock_time(0), timezone="UTC", starts=FIRST, every=every),
    )


def fill(database: Path) -> None:
    """Orders at random times, some hours with none."""
    random, rows = np.random.default_rng(1), ROWS_A_DAY * DAYS
    start = pd.Timestamp(FIRST) - pd.Timedelta(days=1)
    at = start + pd.to_timedelta(np.sort(random.uniform(0, DAYS * 86_400, rows)), unit="s")
    frame = pd.DataFrame(
        {
            "order_id": np.arange(rows),
            "ordered_at": at.strftime("%Y-%m-%d %H:%M:%S"),
            "channel": random.choice(["web", "app"], rows),
            "amount": random.exponential(50, rows).round(2),
            "paid": random.integers(0, 2, rows),
        }
    )
    with sqlite3.connect(database) as connection:
        frame.to_sql("orders", connection, index=False)
    connection.close()


def seconds(declared: ml.Pipeline, days: int, platform: Platform) -> dict[str, float]:
    """How long each step of ingestion takes for all ticks of the first days."""
    ticks, took = declared.schedule.range(str(FIRST), str(FIRST + timedelta(days=days - 1))), {}
    for step in STEPS:
        begun = time.perf_counter()
        step(declared, ticks, platform)
        took[step.__name__] = time.perf_counter() - begun
    return took


def main() -> None:
    """Print a table of both, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        fill(home / "shop.db")
        given = {
            "MLPROD_HOME": str(home / "var"),
            "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
            "MLPROD_CONNECTION_SHOP": f"sqlite:///{home / 'shop.db'}",
        }
        platform = Platform(from_environment(given))
        day, hour = pipeline("day"), pipeline("hour")
        seconds(replace(day, name="warm"), 1, platform)  # imports what the steps need
        by_day, by_hour = seconds(day, DAYS, platform), seconds(hour, DAYS, platform)
    print(f"### A year's {ROWS_A_DAY * DAYS:,} rows as {DAYS:,} ticks of a day and as {24 * DAYS:,} of an hour\n")
    print("| step | days | hours | ratio | a tick more costs |\n| --- | ---: | ---: | ---: | ---: |")
    for step in (*by_day, "all"):
        few, many = (sum(of.values()) if step == "all" else of[step] for of in (by_day, by_hour))
        print(f"| {step} | {few:.2f} s | {many:.2f} s | {many / few:.1f} | {1000 * (many - few) / (23 * DAYS):.2f} ms |")
    print()


if __name__ == "__main__":
    main()
