"""A plain CSV of customers without any time: those who churned or stayed train, the others are scored."""

from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from tests.support.new_home import new_home

FIRST, DAY = date(2024, 3, 1), timedelta(days=1)
ROWS, KNOWN = 1500, 1000  # the outcomes of the first KNOWN are there from the beginning

CUSTOMERS = ml.Table(
    "customers",
    ml.Files("shop", "customers.csv", "csv"),
    ("customer",),
    (
        ml.Column("customer", "int", "who"),
        ml.Column("visits", "int", "visits a month", min=0),
        ml.Column("plan", "text", "what they pay for", values=("basic", "full")),
        ml.Column("part", "text", "train, check or final"),
        ml.Column("churned", "bool", "whether they left", nullable=True),
    ),
    doc="Every customer, as known today.",
)
CALLS = ml.Table(
    "calls",
    ml.Files("shop", "calls.csv", "csv"),
    ("call",),
    (ml.Column("call", "int"), ml.Column("called_at", "timestamp"), ml.Column("customer", "int")),
    time="called_at",
    min_rows=0,
    may_be_empty=True,
)
CHURN = Pipeline(
    name="churn",
    doc="Who will leave?",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=FIRST - 30 * DAY),
    tables=(CUSTOMERS, CALLS),
    entity="customers",
    features=(
        ml.Expression("visits", "visits", "int", "visits a month"),
        ml.Expression("plan", "plan", "text", "what they pay for"),
        ml.Trailing("calls", "calls", {"customer": "customer"}, (ml.days(14),), (ml.Count(),)),
    ),
    label=ml.Label(sql="churned", delay=ml.days(3), doc="leaves"),
    split=ml.SplitByHash(validation=0.25, test=0.25, seed=7),
    model=ml.Model(candidates=(ml.LightGBM(max_trees=40, min_data_in_leaf=30),), threads=1, seed=1),
    gates=(ml.AtLeast("roc_auc", 0.6), ml.NotWorseThanChampion("log_loss"), ml.AvailableAtPrediction()),
    serving=ml.Serving(),
)
OF_PARTS = ml.SplitByColumn("part", train=("train",), validation=("check",), test=("final",))
BY_PART = replace(CHURN, name="churn_by_part", serving=None, split=OF_PARTS)


def customers() -> pd.DataFrame:
    """Who visits seldom or is on the basic plan leaves. `churned` is the truth, of all of them."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"customer": np.arange(ROWS), "visits": random.poisson(5, ROWS)})
    frame["plan"] = random.choice(["basic", "full"], ROWS)
    frame["part"] = random.choice(["train", "check", "final"], ROWS, p=[0.5, 0.25, 0.25])
    odds = 2.5 - frame["visits"] + (frame["plan"] == "basic")
    frame["churned"] = random.random(ROWS) < 1 / (1 + np.exp(-odds))
    return frame


def calls() -> pd.DataFrame:
    """Some calls of the month before the first tick."""
    random = np.random.default_rng(6)
    at = pd.Timestamp("2024-02-01") + pd.to_timedelta(np.sort(random.uniform(0, 29, 4000)), unit="D")
    return pd.DataFrame({"call": np.arange(4000), "called_at": at.floor("s"), "customer": random.integers(0, ROWS, 4000)})


def deliver(rows: pd.DataFrame, folder: Path, known: int = KNOWN) -> None:
    """Write the CSV with the outcomes of the first customers."""
    outcome = rows["churned"].map({True: "true", False: "false"})
    rows.assign(churned=outcome.where(rows["customer"] < known)).to_csv(folder / "customers.csv", index=False)


def new_platform(folder: Path) -> Platform:
    """A home with an empty ledger, whose source is the folder."""
    given = {
        "MLPROD_HOME": str(new_home(folder / "var")),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_CONNECTION_SHOP": str(folder),
    }
    return Platform(from_environment(given))
