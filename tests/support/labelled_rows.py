"""Labelled feature rows of the shop, drawn at random from a seed."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

STARTS = date(2024, 1, 1)


def some_rows(n: int, seed: int = 0, effect: float = 1.5, first_day: int = 0, days: int = 30) -> pa.Table:
    """Labelled feature rows of the shop with their ticks, in the order of time."""
    random = np.random.default_rng(seed)
    channel = random.choice(["web", "app", "phone", None], n)
    amount, items = random.gamma(2, 40, n), random.integers(1, 6, n)
    label = random.random(n) < 1 / (1 + np.exp(1.5 - effect * (channel == "phone") - 0.01 * amount))
    return pa.table(
        {
            "tick": pa.array([STARTS + timedelta(days=first_day + i * days // n) for i in range(n)]),
            "channel": pa.array(channel, pa.string()),
            "amount": pa.array(amount, mask=random.random(n) < 0.05),
            "items": pa.array(items, pa.int64(), mask=random.random(n) < 0.05),
            "weekday": pa.array(random.integers(1, 8, n), pa.int64()),
            "label": label,
        }
    )
