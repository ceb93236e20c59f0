"""The shop's returns with some versions of its model and a filled online store: a home to serve from, made in seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.champion import train_champion
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment

REPOSITORY = Path(__file__).parents[1]
DECLARED = REPOSITORY / "benchmarks" / "shop"
NAME = "returns"
STARTS, DAYS, ORDERS_A_DAY, CUSTOMERS = date(2024, 1, 1), 45, 120, 2_000
TRAINED = ("2024-02-09", "2024-02-10", "2024-02-11", "2024-02-12", "2024-02-13")  # as of
STANDS = "2024-02-14"
MOMENT = "2024-02-14T12:00:00Z"  # of every request: the store holds what was known by then


def declared() -> Pipeline:
    return load(DECLARED / f"{NAME}.py")


def environment(home: Path, **given: str) -> dict[str, str]:
    """The variables of an installation in `home`; given: others, such as MLPROD_ONLINE_URL."""
    return {
        "MLPROD_HOME": str(home),
        "MLPROD_PIPELINES": str(DECLARED),
        "MLPROD_PSEUDONYM_KEY": "1f0e2d3c4b5a69788796a5b4c3d2e1f00fedcba987654321123456789abcdef0",
        "PYTHONPATH": str(REPOSITORY),  # the use case differs from the tests' shop in a few fields, which it imports
        **given,
    }


def make(variables: Mapping[str, str], versions: int = len(TRAINED)) -> Platform:
    """Fill the lake, train the versions, the last of which is champion, and fill the online store."""
    pipeline, platform = declared(), Platform(from_environment(variables))
    for name, rows in zip(("orders", "returns"), raw_tables(pipeline), strict=True):
        days = rows["tick"].to_pylist()
        platform.lake.replace_ticks(names.raw(pipeline, name), pipeline.schedule.range(min(days), max(days)), rows)
    for number, day in enumerate(TRAINED[:versions], 1):
        train_champion(pipeline, pipeline.schedule.tick(day), f"training-{number}", platform)
    steps.fill_online(pipeline, pipeline.schedule.tick(STANDS), platform)
    return platform


def raw_tables(pipeline: Pipeline) -> tuple[pa.Table, pa.Table]:
    """Orders and returns with their ticks: the phone, high amounts and some customers send back more."""
    random = np.random.default_rng(11)
    n = DAYS * ORDERS_A_DAY
    channel = random.choice(["web", "app", "phone"], n, p=[0.5, 0.3, 0.2])
    customer = random.integers(0, CUSTOMERS, n)
    amount, items = random.gamma(2, 40, n), random.integers(1, 6, n)
    logit = -2.2 + 1.5 * (channel == "phone") + 0.012 * amount + 0.25 * items * (channel == "web") + (customer % 7 == 0)
    returned = random.random(n) < 1 / (1 + np.exp(-logit))
    ticks = [pipeline.schedule.tick(STARTS + timedelta(days=i // ORDERS_A_DAY)) for i in range(n)]
    placed = [tick.start + timedelta(seconds=int(s)) for tick, s in zip(ticks, random.integers(0, 80_000, n), strict=True)]
    settled = [moment + timedelta(hours=20) for moment in placed]
    keys = [f"{tick}-{i}" for i, tick in enumerate(ticks)]
    moment = pa.timestamp("us", "UTC")
    ordered = {
        "order_id": keys,
        "placed_at": pa.array(placed, moment),
        "customer": [f"c-{c}" for c in customer],
        "channel": pa.array(channel, pa.string()),
        "amount": amount,
        "items": pa.array(items, pa.int64()),
        "tick": pa.array([tick.name for tick in ticks]),
    }
    came_back = {
        "order_id": keys,
        "settled_at": pa.array(settled, moment),
        "customer": ordered["customer"],
        "returned": returned,
        "tick": pa.array([pipeline.schedule.next_after(moment) for moment in settled]),
    }
    return pa.table(ordered), pa.table(came_back)


if __name__ == "__main__":
    began = time.monotonic()
    make(environment(Path(sys.argv[1]).resolve()))
    print(f"{time.monotonic() - began:.1f} seconds")
