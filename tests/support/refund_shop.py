"""The small shop again, where what comes back is counted in money: a number is predicted, not a yes or no."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import Platform, names
from tests.support.shop import RETURNS, SHOP, with_columns
from tests.support.trained_shop import Shop, fill, platform_at, raw_tables

REFUND = ml.Column("refund", "float", "what was paid back", nullable=True)
REFUNDS = replace(
    SHOP,
    doc="How much of an order will be paid back?",
    task="regression",
    tables=(SHOP.tables[0], with_columns(RETURNS, REFUND)),
    label=ml.Label("returns", {"order_id": "order_id"}, "refund", delay=ml.days(2), doc="money paid back", kind="number"),
    fallback=ml.MeanTable(by=("channel",)),
    value=ml.PredictionValue("-abs(prediction - outcome)", "CHF"),
    gates=(
        ml.AtMost("mae", 30.0),
        ml.AtLeast("r2", 0.2),
        ml.BetterThanBaseline("rmse"),
        ml.NotWorseThanChampion("mae", tolerance=5.0),
    ),
    kpi=ml.Kpi("error_per_order", "avg(abs(prediction - outcome))", "how far predictions are off", "CHF"),
)


def refunds(made: pa.Table, outcomes: pa.Table, seed: int = 5) -> pa.Table:
    """The table of returns with what was paid back: more for dear orders and by phone, never less than nothing."""
    random = np.random.default_rng(seed)
    by_key = {key: at for at, key in enumerate(made["order_id"].to_pylist())}
    at = np.array([by_key[key] for key in outcomes["order_id"].to_pylist()])
    amount = made["amount"].fill_null(60.0).to_numpy()[at]
    by_phone = np.array([channel == "phone" for channel in made["channel"].to_pylist()])[at]
    paid = np.maximum(0.0, 0.3 * amount + 25 * by_phone + random.normal(0, 12, len(at)))
    return outcomes.append_column("refund", pa.array(paid))


def refund_shop(filled_home: Path, folder: Path, *, returns: pa.Table | None = None, pipeline: ml.Pipeline = REFUNDS) -> Shop:
    """A shop of numbers on a copy of a home with the small shop's orders; its registry and ledger are empty.

    returns: the table of outcomes, with `refund`; by default `refunds`.
    """
    shutil.copytree(filled_home, folder / "var", ignore=shutil.ignore_patterns("lake"))
    platform: Platform = platform_at(folder / "var")
    made, outcomes = raw_tables()
    fill(platform, made, returns if returns is not None else refunds(made, outcomes))
    assert platform.lake.exists(names.raw(pipeline, "returns"))
    return Shop(pipeline, platform)
