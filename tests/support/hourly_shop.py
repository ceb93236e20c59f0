"""Orders of a web shop, scored every hour: is an order paid within ninety minutes?"""

import sqlite3
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.new_home import new_home

HOUR = timedelta(hours=1)
ZONE = "America/New_York"
AUTUMN, SPRING = date(2013, 11, 3), date(2013, 3, 10)  # the clock is put back, or forward, at two in the morning

ORDERS = ml.Table(
    "orders",
    ml.Database("shop", "orders"),
    ("order_id",),
    (
        ml.Column("order_id", "int", "number"),
        ml.Column("ordered_at", "timestamp", "when"),
        ml.Column("channel", "text", "web or app"),
        ml.Column("amount", "float", "price"),
    ),
    doc="Every order.",
    time="ordered_at",
    min_rows=0,
)
PAYMENTS = ml.Table(
    "payments",
    ml.Database("shop", "payments"),
    ("order_id",),
    (
        ml.Column("order_id", "int", "the order"),
        ml.Column("paid_at", "timestamp", "when it was known whether the order is paid"),
        ml.Column("paid", "bool", "whether it was"),
    ),
    doc="What became of every order.",
    time="paid_at",
    min_rows=0,
)


def pipeline(day: date) -> Pipeline:
    """The use case over the ten days before a change of the clock and the day after it."""
    schedule = ml.Schedule(
        at=time(0, 15), timezone=ZONE, starts=day - timedelta(days=10), ends=day + timedelta(days=1), every="hour"
    )
    return Pipeline(
        name="paid",
        doc="Is an order paid within ninety minutes?",
        owner="shop",
        alert_to=("shop@example.com",),
        schedule=schedule,
        tables=(ORDERS, PAYMENTS),
        entity="orders",
        features=(
            ml.Expression("channel", "channel", "text", "web or app"),
            ml.Expression("amount", "amount", "float", "price"),
            ml.Trailing("recent", "orders", {"channel": "channel"}, (ml.hours(3), ml.days(1)), (ml.Count(), ml.Mean("amount"))),
        ),
        label=ml.Label("payments", {"order_id": "order_id"}, "paid", delay=ml.hours(2.5)),
        split=ml.Split(validation=ml.days(2), test=ml.days(2), gap=ml.hours(3)),
        model=ml.Model(
            candidates=(ml.LightGBM(max_trees=40, min_data_in_leaf=60),), categorical=("channel",), threads=1, seed=1,
            half_life=ml.days(5),
        ),
        fallback=ml.RateTable(by=("channel",)),
        value=ml.CostMatrix(true_positive=3, false_positive=-1),
        gates=(ml.AtLeast("roc_auc", 0.6), ml.NoLeakageSuspicion(most_share=1.0)),
        publish=ml.Publish("shop", "predictions"),
        kpi=ml.Kpi("value_per_1000", "1000 * avg(value)", "what reminding customers is worth"),
        watches=(*ml.WATCHES[1:], ml.Watch("volume", low=0.2, high=3.0, learned=ml.Learned(by_weekday=True))),
    )  # fmt: skip


def tables(day: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Some forty orders an hour, and for each, up to ninety minutes later, whether it is paid."""
    random = np.random.default_rng(day.toordinal())
    begin = datetime.combine(day - timedelta(days=11), time(), UTC)
    at = np.sort(random.uniform(0, 13 * 24, 13 * 24 * 40))
    channel = random.choice(["web", "app"], at.size)
    amount = np.round(random.exponential(50, at.size), 2)
    late = 1 / (1 + np.exp(-(1.5 * (channel == "web") + amount / 40 - 2)))
    orders = pd.DataFrame({
        "order_id": np.arange(at.size), "ordered_at": [begin + hours * HOUR for hours in at],
        "channel": channel, "amount": amount,
    })  # fmt: skip
    payments = pd.DataFrame({
        "order_id": orders["order_id"],
        "paid_at": orders["ordered_at"] + pd.to_timedelta(random.uniform(5, 90, at.size), unit="min"),
        "paid": random.random(at.size) < late,
    })  # fmt: skip
    return orders, payments.sample(frac=1, random_state=1)


def write_source(orders: pd.DataFrame, payments: pd.DataFrame, database: Path) -> None:
    """Both as tables of SQLite, times in UTC."""
    with sqlite3.connect(database) as connection:
        for name, frame, column in (("orders", orders, "ordered_at"), ("payments", payments, "paid_at")):
            texts = frame.assign(**{column: frame[column].dt.strftime("%Y-%m-%d %H:%M:%S.%f")})
            texts.to_sql(name, connection, index=False, if_exists="replace")
    connection.close()


def new_platform(folder: Path) -> Platform:
    """A home with an empty ledger."""
    new_home(folder / "var")
    given = {
        "MLPROD_HOME": str(folder / "var"),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_CONNECTION_SHOP": f"sqlite:///{folder / 'shop.db'}",
    }
    return Platform(from_environment(given))
