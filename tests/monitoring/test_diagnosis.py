"""The kind of shift in words, from the measurements of one tick."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.diagnosis import (
    CONCEPT_SHIFT,
    COVARIATE_SHIFT,
    DATA_FAULT,
    PIPELINE_FAULT,
    PRIOR_SHIFT,
    REMEDIES,
    UPSTREAM_SHIFT,
    causes,
    diagnose,
    remedy,
)
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored

T = date(2024, 3, 1)
PIPELINE = replace(
    monitored.pipeline, monitoring=ml.Monitoring(upstream=(ml.Upstream("credit", ("items",)),))
)  # items is the score of another use case


def row(what: str, slice: str = "", value: float | None = 1.0, breached: bool = True, **others: Any) -> Measurement:
    at = datetime(2024, 3, 2, tzinfo=UTC)
    return Measurement(
        pipeline="shop", tick=T, what=what, slice=slice, at=at, value=value, n=400, breached=breached, model_version=3, **others
    )


HOLDS = row("estimate_error", "roc_auc", -0.01, breached=False, interval_low=-0.05, interval_high=0.03)
FELL_SHORT = row("estimate_error", "roc_auc", -0.2, breached=False, interval_low=-0.25, interval_high=-0.15)


def kinds(*rows: Measurement) -> dict[tuple[str, str], str]:
    return causes(PIPELINE, rows)


def outcome(*rows: Measurement) -> str:
    """What the outcomes of a tick are called."""
    (kind,) = {kind for (what, _), kind in kinds(*rows).items() if KINDS[what].family == "outcome"}
    return kind


def test_where_nothing_is_breached_nothing_is_diagnosed() -> None:
    assert diagnose(PIPELINE, [row("volume", breached=False), HOLDS]) == ()


@pytest.mark.parametrize(
    "what",
    ["volume", "freshness", "null_share", "new_categories", "lost_categories", "out_of_range", "type_changes", "join_coverage"],
)
def test_what_only_a_fault_does_to_data_is_called_one(what: str) -> None:
    slice = {"feature": "price", "table": "orders"}.get(KINDS[what].by, "")
    assert kinds(row(what, slice)) == {(what, slice): DATA_FAULT}


def test_a_features_drift_is_a_covariate_shift_unless_the_feature_itself_is_broken() -> None:
    found = kinds(row("feature_psi", "price"), row("feature_psi", "place"), row("null_share", "place"))
    assert found["feature_psi", "price"] == COVARIATE_SHIFT
    assert found["feature_psi", "place"] == DATA_FAULT, "its nulls are its drift"
    assert kinds(row("feature_psi", "price", value=None))["feature_psi", "price"] == DATA_FAULT, "the column is gone"


def test_scores_move_for_the_reason_that_features_do() -> None:
    assert kinds(row("score_psi"))["score_psi", ""] == COVARIATE_SHIFT
    assert kinds(row("score_psi"), row("feature_psi", "price"))["score_psi", ""] == COVARIATE_SHIFT
    assert kinds(row("score_psi"), row("feature_psi", "price"), row("null_share", "place"))["score_psi", ""] == DATA_FAULT
    assert kinds(row("score_psi"), row("feature_psi", "items"))["score_psi", ""] == f"{UPSTREAM_SHIFT} credit"


def test_a_feature_that_is_another_use_cases_score_points_there() -> None:
    found = kinds(row("feature_psi", "items"), row("feature_psi", "price"), row("upstream", "credit"))
    assert found["feature_psi", "items"] == found["upstream", "credit"] == f"{UPSTREAM_SHIFT} credit"
    assert found["feature_psi", "price"] == COVARIATE_SHIFT


def test_outcomes_that_left_scores_alike_everywhere_while_ranking_holds_are_a_prior_shift() -> None:
    regions = row("residual_drift", "price", 0.11, interval_low=0.08, interval_high=0.14)
    assert outcome(row("calibration", value=0.1), row("label_rate", value=1.6), HOLDS, regions) == PRIOR_SHIFT
    assert outcome(row("label_rate", value=0.5), HOLDS, row("calibration", value=0.01, breached=False)) == PRIOR_SHIFT


def test_outcomes_that_left_scores_in_one_region_are_a_concept_shift() -> None:
    region = row("residual_drift", "price", 0.4, interval_low=0.3, interval_high=0.5)
    assert outcome(row("calibration", value=0.1), region, HOLDS) == CONCEPT_SHIFT


def test_ranking_worse_than_calibrated_scores_promised_is_a_concept_shift() -> None:
    assert outcome(row("roc_auc", value=0.5), FELL_SHORT) == CONCEPT_SHIFT
    assert outcome(row("label_rate"), FELL_SHORT) == CONCEPT_SHIFT
    assert outcome(row("roc_auc", value=0.5)) == CONCEPT_SHIFT, "without an estimate the breach itself must do"


def test_worse_ranking_that_scores_promised_comes_from_other_rows() -> None:
    assert outcome(row("roc_auc", value=0.5), HOLDS, row("feature_psi", "price")) == COVARIATE_SHIFT


def test_broken_inputs_explain_any_outcome_and_inputs_are_explained_without_outcomes() -> None:
    rows = [row("null_share", "price"), row("roc_auc", value=0.5), FELL_SHORT]
    assert outcome(*rows) == DATA_FAULT
    assert kinds(*rows)["null_share", "price"] == kinds(rows[0])["null_share", "price"]
    assert outcome(row("feature_psi", "items"), row("kpi", value=0.1), FELL_SHORT) == f"{UPSTREAM_SHIFT} credit"


def test_labels_that_do_not_come_are_a_data_fault_and_say_nothing_of_the_concept() -> None:
    assert kinds(row("label_coverage", value=0.1), HOLDS) == {("label_coverage", ""): DATA_FAULT}


@pytest.mark.parametrize(("what", "slice"), [("fallback_share", ""), ("replayed", ""), ("canned", ""), ("duration", "score")])
def test_the_pipelines_own_trouble_is_called_that(what: str, slice: str) -> None:
    assert kinds(row(what, slice)) == {(what, slice): PIPELINE_FAULT}


def test_late_data_is_the_sources_fault() -> None:
    assert kinds(row("data_delay", "orders")) == {("data_delay", "orders"): DATA_FAULT}


def test_a_diagnosis_says_what_it_is_which_features_and_what_helps_the_worst_first() -> None:
    found = diagnose(
        PIPELINE,
        [
            row("feature_psi", "price"), row("null_share", "place"), row("feature_psi", "place"), row("roc_auc", value=0.5),
            row("feature_psi", "items", breached=False), row("fallback_share"),
        ],
    )  # fmt: skip
    assert [one.kind for one in found] == [PIPELINE_FAULT, DATA_FAULT, COVARIATE_SHIFT]
    fault = found[1]
    assert fault.sentence.startswith("The data itself looks wrong (place): null share, feature psi, roc auc")
    assert fault.remedy == remedy(DATA_FAULT)
    assert "a training on this data would learn the fault" in fault.remedy
    assert [(one.what, one.slice) for one in found[2].measurements] == [("feature_psi", "price")]


def test_every_kind_has_a_remedy_and_no_two_the_same() -> None:
    assert set(REMEDIES) == {DATA_FAULT, COVARIATE_SHIFT, PRIOR_SHIFT, CONCEPT_SHIFT, PIPELINE_FAULT, UPSTREAM_SHIFT}
    assert len(set(REMEDIES.values())) == len(REMEDIES)
    assert remedy(f"{UPSTREAM_SHIFT} credit") == REMEDIES[UPSTREAM_SHIFT]


@given(st.sets(st.tuples(st.sampled_from(sorted(KINDS)), st.booleans(), st.sampled_from(["price", "place", "items"]))))
def test_every_breach_has_one_cause_and_nothing_else_has_any(drawn: set[tuple[str, bool, str]]) -> None:
    by_key = {(what, slice if KINDS[what].by else ""): breached for what, breached, slice in sorted(drawn)}
    rows = [row(what, slice, breached=breached) for (what, slice), breached in by_key.items()]
    found = causes(PIPELINE, rows)
    assert set(found) == {key for key, breached in by_key.items() if breached}
    assert {remedy(kind) for kind in found.values()} <= set(REMEDIES.values())
    together = [(one.what, one.slice) for diagnosis in diagnose(PIPELINE, rows) for one in diagnosis.measurements]
    assert sorted(together) == sorted(found)


def test_the_ledger_has_the_same_causes_in_whatever_order_ticks_are_measured(make_shop: Callable[..., Platform]) -> None:
    """Outcomes are explained by the inputs of their tick, whichever of the two is measured first."""
    days = [monitored.FIRST + timedelta(days=n) for n in range(3)]
    random = np.random.default_rng(0)
    rows = monitored.scored(days[0], label=random.random(monitored.ORDERS_A_TICK) < 0.9)
    prices = [None if n % 2 else value for n, value in enumerate(rows["price"].to_pylist())]
    rows = rows.set_column(rows.column_names.index("price"), "price", pa.array(prices, pa.float64()))
    found = []
    for order in (days, days[::-1]):
        shop = make_shop(f"shop-{order[0]}")
        for one in (rows, *map(monitored.scored, days[1:])):
            monitored.score_tick(shop, one)
            monitored.publish_outcomes(shop, one)
        for day in order:
            measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
        breached = [one for one in shop.ledger.all(Measurement, tick=days[0]) if one.breached]
        found.append({(one.what, one.slice): one.cause for one in breached})
    assert found[0] == found[1]
    assert found[0]["null_share", "price"] == found[0]["calibration", ""] == DATA_FAULT
