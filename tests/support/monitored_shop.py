"""A small shop whose orders are scored each morning, on a lake and ledger of its own; run as a program it monitors ticks."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.profile import make_profile
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Publication
from mlprod_tasks.platform.settings import from_environment
from tests.support.clock import SetClock
from tests.support.new_home import new_home
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns, without

ORDERS_A_TICK = 400
REFERENCE = tuple(date(2024, 2, 1) + timedelta(days=n) for n in range(14))
FIRST, LAST = date(2024, 3, 1), date(2024, 3, 10)
DAY = timedelta(days=1)
VERSION = 3
NOW = datetime(2024, 3, 20, 5, tzinfo=UTC)

pipeline = replace(
    SHOP,
    name="shop",
    alert_to=("sales@example.com",),
    schedule=replace(SHOP.schedule, starts=date(2024, 1, 2)),
    tables=(with_columns(without(ORDERS, "channel", "items"), ml.Column("region", "text", "where to")), RETURNS),
    features=(
        ml.Expression("price", "amount", "float", "francs"),
        ml.Expression("place", "region", "text", "where to"),
        ml.Expression("items", "1", "int", "how many"),
    ),
    split=ml.Split(validation=ml.days(5), test=ml.days(14), gap=ml.days(2)),
    model=ml.Model(categorical=("place",)),
    fallback=ml.RateTable(by=("place",)),
    value=ml.CostMatrix(true_positive=10, false_positive=-2),
    gates=(ml.AtLeast("roc_auc", 0.6),),
    kpi=ml.Kpi("value_per_order", "avg(value)", "francs saved an order", "CHF"),
    watches=(
        ml.Watch("feature_psi", high=0.25, only_important=True),
        ml.Watch("score_psi", high=0.25),
        ml.Watch("null_share", high=0.1),
        ml.Watch("volume", low=0.5, high=1.5),
        ml.Watch("fallback_share", high=0.0),
        ml.Watch("label_coverage", low=0.5),
        ml.Watch("roc_auc", low=0.6),
        ml.Watch("calibration", low=-0.15, high=0.15),
        ml.Watch("kpi", low=0.5),
    ),
    rules=(
        ml.Rule("inputs moved", "feature_psi", "alert"),
        ml.Rule("volume", "volume", "alert"),
        ml.Rule("the fallback answered", "fallback_share", "alert"),
        ml.Rule("outcomes are missing", "label_coverage", "alert"),
        ml.Rule("ranking is poor", "roc_auc", "retrain", breaches=2, of=3),
        ml.Rule("scores are off", "calibration", "retrain", breaches=3, of=5),
    ),
    retraining=ml.Retraining(cooldown=ml.days(4)),
)


class StoredProfiles:
    """Reference profiles by version, where the registry has them."""

    def __init__(self, profiles: dict[int, dict[str, Any]]) -> None:
        self.profiles = profiles

    def reference_profile(self, pipeline: ml.Pipeline, version: int) -> dict[str, Any]:
        return self.profiles[version]


def shop_platform(home: Path, clock: Any = None, ledger_url: str = "") -> Platform:
    """A platform below `home` whose registry knows the profile of one version."""
    given = {"MLPROD_HOME": str(new_home(home))} | ({"MLPROD_LEDGER_URL": ledger_url} if ledger_url else {})
    platform = Platform(from_environment(given), clock=clock or SetClock(NOW))
    platform.__dict__["registry"] = StoredProfiles({VERSION: reference().as_json()})
    return platform


def scored(day: date, n: int = ORDERS_A_TICK, **changes: Any) -> pa.Table:
    """One tick's predictions with the outcome that each will have, in column `label`. Scores are calibrated and rank well.

    `changes` replace columns: price=array, place=array, score=array, fallback=True, label=array.
    """
    random, moment = np.random.default_rng(day.toordinal()), pipeline.schedule.moment(day)
    price = random.lognormal(3, 0.6, n)
    score = 1 / (1 + np.exp(-(np.log(price) - 3.5) * 2))
    columns: dict[str, Any] = {
        "order_id": [f"{day}-{i}" for i in range(n)],
        "placed_at": pa.array([moment + timedelta(minutes=i % 1000) for i in range(n)], pa.timestamp("us", "UTC")),
        "tick": pa.array([day] * n, pa.date32()),
        "score": score,
        "fallback": np.zeros(n, bool),
        "model_version": pa.array([VERSION] * n, pa.int32()),
        "price": price,
        "place": random.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2]),
        "items": random.integers(1, 4, n),
        "label": random.random(n) < score,
    }
    columns |= changes
    columns["decision"] = np.asarray(columns["score"]) >= 0.3
    return pa.table(columns)


@cache
def reference() -> Any:
    rows = pa.concat_tables([scored(day) for day in REFERENCE])
    return make_profile(
        pipeline,
        rows,
        scores=rows["score"].to_numpy(),
        decisions=rows["decision"].to_numpy(),
        labels=rows["label"].to_numpy(),
        importance={"price": 70.0, "place": 20.0, "items": 10.0},
    )


def score_tick(platform: Platform, rows: pa.Table) -> None:
    """Put a tick's predictions where scoring leaves them, and its orders where ingest does."""
    day = rows["tick"][0].as_py()
    ticks = pipeline.schedule.range(day)
    platform.lake.replace_ticks(names.predictions(pipeline), ticks, rows.drop_columns(["label"]))
    orders = (
        rows.select(["order_id", "placed_at", "tick"])
        .append_column("amount", rows["price"])
        .append_column("region", rows["place"])
    )
    platform.lake.replace_ticks(names.raw(pipeline, "orders"), ticks, orders)


def publish_outcomes(platform: Platform, rows: pa.Table) -> None:
    """Publish the outcomes of a tick's orders: all are known within the day that follows their tick."""
    day = rows["tick"][0].as_py() + DAY
    known = pipeline.schedule.moment(day) - timedelta(hours=1)
    ticks = pipeline.schedule.range(day)
    returns = pa.table(
        {
            "order_id": rows["order_id"],
            "settled_at": pa.array([known] * rows.num_rows, pa.timestamp("us", "UTC")),
            "returned": rows["label"],
            "tick": pa.array([day] * rows.num_rows, pa.date32()),
        }
    )
    written = platform.lake.replace_ticks(names.raw(pipeline, "returns"), ticks, returns)
    note_published(platform, day, rows.num_rows, written.version)


def note_published(platform: Platform, day: date, rows: int, version: int = 0) -> None:
    platform.ledger.put(
        Publication(
            pipeline=pipeline.name, table_name="returns", tick=day, rows=rows, delta_version=version, at=platform.clock.now()
        )
    )


def measurement(day: date, what: str, value: float | None, **more: Any) -> Measurement:
    """Return a row of the ledger as a tick's measuring leaves it, with no bound that it breached."""
    given: dict[str, Any] = {"n": ORDERS_A_TICK, "breached": False, "model_version": VERSION, "at": NOW, "sentence": ""} | more
    return Measurement(pipeline=pipeline.name, tick=day, what=what, value=value, **given)


def story() -> dict[date, pa.Table]:
    """Ten ticks: from the fifth on prices have doubled and scores no longer say anything."""
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    return {day: scored(day, **(_moved(day) if n >= 4 else {})) for n, day in enumerate(days)}


def _moved(day: date) -> dict[str, Any]:
    random = np.random.default_rng(day.toordinal() + 1)
    return {"price": random.lognormal(3.7, 0.6, ORDERS_A_TICK), "label": random.random(ORDERS_A_TICK) < 0.6}


def whole_lake(platform: Platform) -> None:
    """The lake of the whole story: predictions and outcomes of every tick."""
    for rows in story().values():
        score_tick(platform, rows)
        publish_outcomes(platform, rows)
    publish_outcomes(platform, scored(LAST + DAY))


def monitor(platform: Platform, day: date) -> Any:
    tick = pipeline.schedule.tick(day)
    measure(pipeline, tick, platform)
    return decide(pipeline, tick, platform)


def monitor_at(home: Path, ledger_url: str, days: list[date]) -> None:
    """Monitor these ticks; in a process of its own it has all that it needs."""
    for day in days:
        monitor(shop_platform(home, ledger_url=ledger_url), day)
