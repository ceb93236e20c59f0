"""A tick of the monitored shop that is large enough to be sampled in blocks, in two files, and its reference."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.experiment import ASSIGNED
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.profile import make_profile
from tests.support import monitored_shop as monitored

ROWS = 220_000
TICKS = [date(2024, 2, 1) + timedelta(days=n) for n in range(6)]
NOW = date(2024, 3, 5)
TOWNS = [f"town {k}" for k in range(60)]

pipeline = replace(
    monitored.pipeline,
    tables=(
        *monitored.pipeline.tables,
        ml.Table(
            "towns",
            ml.Database("shop", "towns"),
            key=("region",),
            columns=(ml.Column("region", "text", "key"), ml.Column("people", "int", "who live there", nullable=True)),
        ),
    ),
    features=(
        *monitored.pipeline.features,
        ml.Expression("asked", "amount", "float", "how many asked in its town yesterday"),
        ml.Lookup("towns", {"region": "region"}, {"people": "people"}),
    ),
)


def _columns(random: np.random.Generator, n: int) -> dict[str, Any]:
    shares = 1 / np.arange(1, len(TOWNS) + 1) ** 1.5
    return {
        "place": random.choice(TOWNS, n, p=shares / shares.sum()),
        "asked": (1000 * random.random(3))[random.integers(0, 3, n)],  # three values at each tick: it is watched as a series
        "people": pa.array(random.poisson(3_000, n), mask=random.random(n) < 0.05),
    }


@cache
def profile() -> ReferenceProfile:
    """The reference: quiet ticks."""
    ticks = [monitored.scored(day, 500, **_columns(np.random.default_rng(day.toordinal()), 500)) for day in TICKS]
    rows = pa.concat_tables(ticks)
    given = {name: rows[of].to_numpy(zero_copy_only=False) for name, of in (("decisions", "decision"), ("labels", "label"))}
    importance = {"price": 70.0, "place": 20.0, "items": 10.0}
    return make_profile(pipeline, rows, scores=rows["score"].to_numpy(), importance=importance, **given)


@cache
def rows(n: int = ROWS) -> pa.Table:
    """The tick, with values outside of the reference, nulls, infinities, fallbacks, and rows of an experiment."""
    random = np.random.default_rng(11)
    score = random.beta(2, 6, n)
    columns = _columns(random, n) | {
        "order_id": np.arange(n).astype(str),
        "placed_at": pa.array(np.full(n, np.datetime64(NOW, "us")), pa.timestamp("us", "UTC")),
        "tick": pa.array([NOW] * n, pa.date32()),
        "score": score,
        "decision": score >= 0.3,
        "fallback": random.random(n) < 0.02,
        "model_version": pa.array(np.where(random.random(n) < 0.99, monitored.VERSION, 2), pa.int32()),
        "price": pa.array(random.lognormal(3.2, 0.8, n), mask=random.random(n) < 0.1),
        "items": random.integers(1, 6, n),
        "experiment": pa.array(np.where(random.random(n) < 0.3, "prices", None), pa.string()),
        "propensity": pa.nulls(n, pa.float64()),
        "label": random.random(n) < score,
    }
    treated = random.random(n) < 0.5
    columns["variant"] = pa.array(
        [
            None if name is None else "cheap" if cheap else "control"
            for name, cheap in zip(columns["experiment"].to_pylist(), treated, strict=True)
        ],
        pa.string(),
    )
    odd = columns["price"].to_numpy(zero_copy_only=False).copy()
    odd[:6] = [np.inf, -np.inf, np.nan, 1e12, -5.0, 1e300]
    columns["price"] = pa.array(odd, mask=np.asarray(columns["price"].is_null()))
    table = pa.table(columns)
    # Somewhere in the middle no row has a price, and what the first file says of towns the second does not.
    without = np.zeros(n, bool)
    without[n // 2 : n // 2 + n // 10] = True
    price = pa.array(table["price"].to_numpy(), mask=np.asarray(table["price"].is_null()) | without)
    assert set(ASSIGNED) <= set(table.column_names)
    return table.set_column(table.column_names.index("price"), "price", price)
