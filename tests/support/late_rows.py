"""The shop of the features with many rows that arrived late, at random."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from mlprod_tasks import declaration as ml
from tests.support.feature_shop import Shop

DAY = timedelta(days=1)
TICKS = [date(2013, 6, day) for day in range(3, 12)]
START = datetime(2013, 5, 27, 8, tzinfo=UTC)  # of a tick, a week before the first one that is scored
PAID, SET = 300, 80  # rows
AGGREGATES = (
    ml.Count(), ml.Mean("amount"), ml.Rate("big", "amount > 100"), ml.Sum("pieces"), ml.Mean("refund"), ml.Min("amount"),
    ml.Max("pieces", where="product = 'tea'"), ml.First("amount"), ml.Last("product"), ml.Last("refund"), ml.SinceFirst(),
    ml.SinceLast(), ml.MeanGap(), ml.MeanGap("refund_gap_hours", "refund > 2"), ml.Std("amount"), ml.Slope("pieces"),
    ml.CountDistinct("product"), ml.Quantile("amount", 0.5),
)  # fmt: skip
TRAILING = (
    ml.Trailing("customer", "payments", {"customer": "customer"}, (ml.hours(24), ml.days(7)), AGGREGATES),
    ml.Trailing("before", "payments", {"customer": "customer"}, (ml.days(3),), AGGREGATES, skip=ml.hours(36)),
)


def random_late_shop(shop: Shop, seed: int) -> dict[str, pd.DataFrame]:
    """Fill the shop, with features of every aggregate. A third of all rows came up to nine days late.

    Returns: its tables, each with `usable`, the moment from which a late row may be used.
    """
    random = np.random.default_rng(seed)
    shop.pipeline = replace(shop.pipeline, features=(*shop.pipeline.features[:4], *TRAILING, shop.pipeline.features[-1]))

    def moments(n: int) -> list[datetime]:
        return [START + timedelta(minutes=int(minute)) for minute in random.integers(0, 15 * 24 * 60, n)]

    def products(n: int) -> list[str]:
        return [str(one) for one in random.choice(["tea", "milk"], n)]

    orders = [
        (f"{day}-{k}", datetime(2013, 6, day.day, 9 + k, tzinfo=UTC), k % 3 + 1, "tea" if k % 2 else "milk")
        for day in TICKS
        for k in range(6)
    ]
    payments = [
        (f"p{i:03}", paid, int(random.integers(1, 4)), product, float(amount), int(amount),
         paid + timedelta(hours=int(random.integers(-24, 96))) if random.random() < 0.8 else None, float(amount) - 100)
        for i, (paid, product, amount) in enumerate(zip(moments(PAID), products(PAID), random.gamma(2, 60, PAID), strict=True))
    ]  # fmt: skip
    prices = [(product, i, at, float(i)) for i, (at, product) in enumerate(zip(moments(SET), products(SET), strict=True))]
    shop.holds(orders=orders, payments=payments, prices=prices)
    held = {}
    for name, rows, key, known in (("orders", orders, 1, 1), ("payments", payments, 1, 1), ("prices", prices, 2, 2)):
        usable = [_late(row[known], random) for row in rows]
        keys = [row[:key] if key > 1 else row[0] for row in rows]
        shop.arrives(name, {of: moment for of, moment in zip(keys, usable, strict=True) if moment is not None})
        frame = pd.DataFrame(rows, columns=list(shop.pipeline.table(name).names))
        held[name] = frame.assign(usable=pd.Series(usable, dtype="datetime64[us, UTC]"))
    return held


def _late(known: datetime, random: np.random.Generator) -> datetime | None:
    """The start of a tick after the first one that could have had the row."""
    if random.random() < 2 / 3:
        return None
    return START + (int((known - START) / DAY) + 1 + int(random.integers(1, 10))) * DAY
