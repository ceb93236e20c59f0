"""Customers of a shop, scored every Monday: who buys within the ten days after it?"""

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

WEEK, DAY = timedelta(days=7), timedelta(days=1)
FIRST, TRAINED, LAST = date(2023, 1, 9), date(2024, 2, 12), date(2024, 4, 15)
CUSTOMERS, DAYS = 120, 480
ZONE = "Europe/Zurich"

PURCHASES = ml.Table(
    "purchases",
    ml.Database("shop", "purchases"),
    ("purchase_id",),
    (
        ml.Column("purchase_id", "int", "number"),
        ml.Column("bought_at", "timestamp", "when"),
        ml.Column("customer_id", "int", "who"),
        ml.Column("amount", "float", "what it cost"),
    ),
    doc="Every purchase.",
    time="bought_at",
    refresh_ticks=1,
    min_rows=0,
)
REGULARS = Pipeline(
    name="regulars",
    doc="Will a customer buy within ten days?",
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone=ZONE, starts=FIRST, every="week", on="monday"),
    tables=(PURCHASES,),
    entity=ml.Population("customers", seen_in="purchases", by=("customer_id",), within=ml.days(35), doc="who bought lately"),
    features=(
        ml.Expression("month", f"extract(month FROM as_of AT TIME ZONE '{ZONE}')", "int", "of the tick"),
        ml.Trailing(
            "bought", "purchases", {"customer_id": "customer_id"}, (ml.days(10), ml.days(28)), (ml.Count(), ml.Sum("amount"))
        ),
    ),
    label=ml.Outcome("purchases", {"customer_id": "customer_id"}, ml.Any(), within=ml.days(10), doc="buys again"),
    split=ml.Split(validation=ml.days(56), test=ml.days(70), gap=ml.days(10)),
    model=ml.Model(candidates=(ml.LightGBM(max_trees=40, min_data_in_leaf=50),), threads=1, seed=1),
    fallback=ml.RateTable(by=("month",)),
    value=ml.CostMatrix(true_positive=3, false_positive=-1),
    gates=(ml.AtLeast("roc_auc", 0.6), ml.NoLeakageSuspicion(most_share=1.0)),
    kpi=ml.Kpi("value_per_1000", "1000 * avg(value)", "what writing to customers is worth"),
)


def purchases() -> pd.DataFrame:
    """Each customer buys every so often, some seldom; a third of them stops some day."""
    random = np.random.default_rng(11)
    begin = datetime(2023, 1, 2, tzinfo=UTC)
    rows = []
    for customer in range(CUSTOMERS):
        gap, at = random.uniform(2, 40), random.uniform(0, 40)
        stops = random.uniform(100, 450) if random.random() < 0.3 else DAYS + 1
        while at < min(stops, DAYS):
            rows.append((begin + timedelta(days=at), customer, float(np.round(random.exponential(20), 2))))
            at += random.exponential(gap)
    frame = pd.DataFrame(sorted(rows), columns=["bought_at", "customer_id", "amount"])
    return frame.rename_axis("purchase_id").reset_index()


def write_source(bought: pd.DataFrame, database: Path) -> None:
    """The purchases as a table of SQLite, times in UTC."""
    with sqlite3.connect(database) as connection:
        texts = bought.assign(bought_at=bought["bought_at"].dt.strftime("%Y-%m-%d %H:%M:%S.%f"))
        texts.to_sql("purchases", connection, index=False, if_exists="replace")
    connection.close()


def variables(folder: Path) -> dict[str, str]:
    """The settings of a home in a folder."""
    return {
        "MLPROD_HOME": str(folder / "var"),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_CONNECTION_SHOP": f"sqlite:///{folder / 'shop.db'}",
    }


def new_platform(folder: Path) -> Platform:
    """A home with an empty ledger."""
    new_home(folder / "var")
    return Platform(from_environment(variables(folder)))


def start(monday: date) -> pd.Timestamp:
    """Four o'clock in Zurich, computed apart from the project."""
    return pd.Timestamp(monday.year, monday.month, monday.day, 4, tz=ZONE).tz_convert("UTC")


def alive(bought: pd.DataFrame, monday: date) -> pd.Series:
    """The newest purchase of each customer who is in the population of a tick."""
    at = start(monday)
    known = bought[(bought["bought_at"] < at) & (bought["bought_at"] >= at - 35 * DAY)]
    return known.groupby("customer_id")["bought_at"].max()


def buys(bought: pd.DataFrame, customer: int, monday: date) -> bool:
    """Whether a customer buys in the ten days after a tick."""
    end = pd.Timestamp(monday.year, monday.month, monday.day, 4) + 10 * DAY
    later = (bought["bought_at"] >= start(monday)) & (bought["bought_at"] < end.tz_localize(ZONE).tz_convert("UTC"))
    return bool((later & (bought["customer_id"] == customer)).any())
