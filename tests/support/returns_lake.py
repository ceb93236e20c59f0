"""A month of the small shop's orders in a lake, for the use case of returns_pipeline.py."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names


def fill(platform: Platform, pipeline: Pipeline) -> None:
    """Thirty days of orders in the lake; dear ones come back, on the web the cheap ones do."""
    random, n = np.random.default_rng(3), 3000
    placed = [datetime(2024, 1, 1, 4, tzinfo=UTC) + timedelta(minutes=14 * i) for i in range(n)]
    ticks = [pipeline.schedule.tick_at(moment).name for moment in placed]
    channel, amount = random.choice(["web", "app", "phone"], n, p=[0.5, 0.4, 0.1]), random.normal(size=n)
    came_back = random.random(n) < 1 / (1 + np.exp(-2 * amount * np.where(channel == "web", -1, 1)))
    moment = pa.timestamp("us", "UTC")
    orders = {"order_id": range(n), "placed_at": pa.array(placed, moment), "channel": channel, "amount": amount, "tick": ticks}
    settled = [at + timedelta(hours=12) for at in placed]
    known = [pipeline.schedule.tick_at(at).name + timedelta(days=1) for at in settled]
    returns = {"order_id": range(n), "settled_at": pa.array(settled, moment), "returned": came_back, "tick": known}
    for name, rows, days in (("orders", orders, ticks), ("returns", returns, known)):
        platform.lake.replace_ticks(names.raw(pipeline, name), pipeline.schedule.range(min(days), max(days)), pa.table(rows))
