"""What the readings would have been on each of the reference's own ticks."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.history import TOGETHER
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.profile import make_profile
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.statistics import distances
from tests.support import monitored_shop as monitored

DAY = monitored.REFERENCE[3]


@cache
def rows_of(day: date) -> pa.Table:
    rows = monitored.scored(day, n=300 + 10 * day.day)
    if day == DAY:  # a tick of its own kind: dearer, often without a price, often sent back
        random = np.random.default_rng(1)
        price = [None if random.random() < 0.25 else value * 1.3 for value in rows["price"].to_pylist()]
        rows = rows.set_column(rows.column_names.index("price"), "price", pa.array(price, pa.float64()))
        rows = rows.set_column(rows.column_names.index("label"), "label", pa.array(random.random(rows.num_rows) < 0.5))
    return rows


@cache
def profile(days: tuple[date, ...] = monitored.REFERENCE) -> ReferenceProfile:
    rows = pa.concat_tables([rows_of(day) for day in days])
    return make_profile(
        monitored.pipeline,
        rows,
        scores=rows["score"].to_numpy(),
        decisions=rows["decision"].to_numpy(),
        labels=rows["label"].to_numpy(),
        importance={"price": 70.0, "place": 20.0, "items": 10.0},
    )


def value(subject: str, day: date = DAY) -> float:
    history = profile().history
    assert history is not None
    found = history.values[subject][history.days.index(day)]
    assert found is not None
    return found


def others(name: str) -> list[Any]:
    return [value for day in monitored.REFERENCE if day != DAY for value in rows_of(day)[name].to_pylist()]


def test_each_tick_is_held_against_the_others_alone() -> None:
    rows = rows_of(DAY)
    assert value("volume") == pytest.approx(
        rows.num_rows / np.mean([rows_of(d).num_rows for d in monitored.REFERENCE if d != DAY])
    )
    assert value("label_rate") == pytest.approx(np.mean(rows["label"].to_numpy()) / np.mean(others("label")))
    nulls = rows["price"].null_count / rows.num_rows
    assert value("null_share/price") == pytest.approx(nulls)
    assert value("null_share/price", monitored.REFERENCE[0]) == pytest.approx(
        -rows["price"].null_count / (sum(rows_of(d).num_rows for d in monitored.REFERENCE[1:]))
    )
    assert value("roc_auc") == pytest.approx(roc_auc_score(rows["label"].to_numpy(), rows["score"].to_numpy()))
    assert value("calibration") == pytest.approx(np.mean(rows["label"].to_numpy()) - np.mean(rows["score"].to_numpy()))


def test_a_ticks_psi_is_that_of_its_rows_in_the_references_bins_against_the_others() -> None:
    column = next(column for column in profile().features if column.name == "price")
    edges = [-np.inf, *column.bins.coarse_edges, np.inf]

    def counts(values: list[float | None]) -> list[int]:
        known = np.array([value for value in values if value is not None])
        # A value on an edge lies in the bin below it, as (edge, edge] has it.
        return [
            len(values) - len(known),
            0,
            *(int(((known > a) & (known <= b)).sum()) for a, b in pairwise(edges)),
        ]

    expected = distances.corrected_psi(counts(others("price")), counts(rows_of(DAY)["price"].to_pylist()))
    assert value("feature_psi/price") == pytest.approx(expected)
    assert expected > 0.25


def test_everything_that_a_tick_is_measured_by_has_a_history() -> None:
    history = profile().history
    assert history is not None
    assert history.days == monitored.REFERENCE
    whats = {subject.partition("/")[0] for subject in history.values}
    assert whats >= {
        "volume", "null_share", "feature_psi", "feature_js", "feature_wasserstein", "new_categories", "lost_categories",
        "out_of_range", "domain_auc", "score_psi", "score_wasserstein", "decision_share", "estimated_roc_auc", "label_coverage",
        "label_rate", "roc_auc", "precision", "recall", "value", "calibration", "residual_drift", "estimate_error", "kpi",
    }  # fmt: skip
    assert all(len(values) == len(monitored.REFERENCE) for values in history.values.values())
    assert {subject for subject in history.values if subject.startswith("feature_psi")} == {
        "feature_psi/price", "feature_psi/place", "feature_psi/items",
    }  # fmt: skip


def test_the_domain_classifier_is_trained_for_a_few_ticks_only() -> None:
    days = tuple(date(2024, 2, 1 + n) for n in range(TOGETHER + 5))
    history = profile(days).history
    assert history is not None
    known = [value for value in history.values["domain_auc"] if value is not None]
    assert len(known) == TOGETHER
    assert None not in history.values["roc_auc"]


def test_a_reference_of_two_ticks_has_none() -> None:
    assert profile(monitored.REFERENCE[:2]).history is None


def test_the_history_is_kept_with_the_model_and_a_profile_from_before_is_read_without_one() -> None:
    written = json.loads(json.dumps(profile().as_json()))
    assert ReferenceProfile.from_json(written).history == profile().history
    del written["history"]
    assert ReferenceProfile.from_json(written).history is None


def test_a_further_tick_is_held_to_bounds_that_are_learned_from_it(make_shop: Callable[..., Platform]) -> None:
    shop, day = make_shop(), monitored.FIRST
    learned = replace(
        monitored.pipeline,
        watches=(ml.Watch("feature_psi", learned=ml.Learned()), ml.Watch("roc_auc", learned=ml.Learned())),
        rules=(ml.Rule("inputs", "feature_psi", "alert"), ml.Rule("ranking", "roc_auc", "alert")),
    )
    shop.registry.profiles[monitored.VERSION] = monitored.reference().as_json()  # type: ignore[attr-defined]
    rows = monitored.scored(day)
    monitored.score_tick(shop, rows)
    measure(learned, learned.schedule.tick(day), shop)
    quiet = shop.ledger.get(Measurement, "shop", day, "feature_psi", "price")
    assert quiet is not None
    assert (quiet.breached, quiet.cause) == (False, "")
    assert 0 < quiet.high < 0.25, "an ordinary tick of this shop lies well below the usual bound"
    monitored.score_tick(shop, rows.set_column(rows.column_names.index("price"), "price", [rows["price"].to_numpy() * 1.3]))
    measure(learned, learned.schedule.tick(day), shop)
    moved = shop.ledger.get(Measurement, "shop", day, "feature_psi", "price")
    assert moved is not None
    assert (moved.breached, moved.cause, moved.high) == (True, "covariate shift", quiet.high)
    assert "learned from the reference's own ticks" in moved.sentence
