"""The small shop again, where what happens to an order is one of several classes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import Platform, names
from tests.support.shop import RETURNS, SHOP, with_columns
from tests.support.trained_shop import Shop, fill, platform_at, raw_tables

KEPT, SIZE, BROKEN = "kept", "zu groß / zu klein", 'it\'s "broken"'
CLASSES = (KEPT, SIZE, BROKEN)
REASONS = replace(
    SHOP,
    doc="Why will an order come back, if it does?",
    task="multiclass",
    tables=(SHOP.tables[0], with_columns(RETURNS, ml.Column("reason", "text", nullable=True))),
    label=ml.Label("returns", {"order_id": "order_id"}, "reason", delay=ml.days(2), doc="why it came back", kind="class"),
    fallback=ml.ShareTable(by=("channel",)),
    value=ml.ClassValue(right=1, wrong=-1, pairs={KEPT: {BROKEN: -5}}, predict="worth", unit="CHF"),
    gates=(
        ml.AtMost("log_loss", 1.0),
        ml.AtLeast("macro_auc", 0.6),
        ml.BetterThanBaseline("log_loss"),
        ml.NotWorseThanChampion("log_loss", tolerance=0.1),
    ),
    kpi=ml.Kpi("right", "100 * avg((prediction = outcome)::INT)", "right predictions of 100"),
    watches=ml.WATCHES,
    rules=ml.RULES,
)

SERVED_REASONS = replace(REASONS, serving=ml.Serving())


def reasons(made: pa.Table, outcomes: pa.Table, seed: int = 5) -> pa.Table:
    """The table of returns with a reason: dear orders do not fit, those by phone break."""
    random = np.random.default_rng(seed)
    by_key = {key: at for at, key in enumerate(made["order_id"].to_pylist())}
    at = np.array([by_key[key] for key in outcomes["order_id"].to_pylist()])
    amount = made["amount"].fill_null(60.0).to_numpy()[at]
    by_phone = np.array([channel == "phone" for channel in made["channel"].to_pylist()])[at]
    pull = np.stack((np.full(len(at), 1.0), 0.02 * (amount - 60), 2.0 * by_phone - 1), axis=1)
    chosen = (pull + random.gumbel(size=pull.shape)).argmax(axis=1)
    return outcomes.append_column("reason", pa.array([CLASSES[one] for one in chosen]))


def reason_shop(filled_home: Path, folder: Path, *, returns: pa.Table | None = None, pipeline: ml.Pipeline = REASONS) -> Shop:
    """A shop of classes on a copy of a home with the small shop's orders; its registry and ledger are empty.

    returns: the table of outcomes, with `reason`; by default `reasons`.
    """
    shutil.copytree(filled_home, folder / "var", ignore=shutil.ignore_patterns("lake"))
    platform: Platform = platform_at(folder / "var")
    made, outcomes = raw_tables()
    fill(platform, made, returns if returns is not None else reasons(made, outcomes))
    assert platform.lake.exists(names.raw(pipeline, "returns"))
    return Shop(pipeline, platform)
