"""Measuring ticks of a real lake into a real ledger."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.kinds import KINDS, of_family
from mlprod_tasks.monitoring.measure import Measured, PredictionsMissing, measure
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement, Publication, Scoring
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
T = monitored.FIRST


def run(platform: Platform, day: date) -> Measured:
    return measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), platform)


def found(platform: Platform, day: date, what: str, name: str = "") -> Measurement:
    row = platform.ledger.get(Measurement, "shop", day, what, name)
    assert row is not None
    return row


def with_outcomes(platform: Platform, rows: pa.Table, lost: int = 0) -> None:
    """A tick with its outcomes (without the first `lost`), and the next two ticks, so that they are complete."""
    monitored.score_tick(platform, rows)
    monitored.publish_outcomes(platform, rows.slice(lost))
    monitored.note_published(platform, rows["tick"][0].as_py() + 2 * DAY, 0)
    for n in (1, 2):
        monitored.score_tick(platform, monitored.scored(rows["tick"][0].as_py() + n * DAY))


def test_a_quiet_tick_breaches_nothing(shop: Platform) -> None:
    quiet = [T + n * DAY for n in range(4)]
    for day in quiet:
        monitored.score_tick(shop, monitored.scored(day))
        monitored.publish_outcomes(shop, monitored.scored(day))
    monitored.publish_outcomes(shop, monitored.scored(T - DAY))
    reports = [run(shop, day) for day in quiet]
    assert [report.breaches for report in reports] == [(), (), (), ()]
    assert [report.judged for report in reports] == [(), (), (str(T),), (str(T + DAY),)]


def test_inputs_are_measured_at_once_against_the_version_that_scored(shop: Platform) -> None:
    monitored.score_tick(shop, monitored.scored(T))
    report = run(shop, T)
    rows = shop.ledger.all(Measurement, tick=T)
    assert {row.what for row in rows} >= {"feature_psi", "score_psi", "null_share", "volume", "fallback_share"}
    assert {KINDS[row.what].family for row in rows} == {"input", "health"}
    assert {row.slice for row in rows if row.what == "feature_psi"} == {"price", "place", "items"}
    assert {row.model_version for row in rows} == {monitored.VERSION}
    assert (report.rows, report.measurements) == (monitored.ORDERS_A_TICK, len(rows))
    volume = found(shop, T, "volume")
    assert (volume.value, volume.reference, volume.low, volume.high) == (1.0, monitored.ORDERS_A_TICK, 0.5, 1.5)


def test_a_moved_feature_is_breached_and_the_sentence_says_what_value_and_bound(shop: Platform) -> None:
    rows = monitored.scored(T)
    monitored.score_tick(shop, rows.set_column(rows.column_names.index("price"), "price", [rows["price"].to_numpy() * 3]))
    run(shop, T)
    row = found(shop, T, "feature_psi", "price")
    assert row.breached
    assert row.value > row.high >= 0.25
    assert row.sentence.startswith(f"{T}: PSI of feature price is {row.value:.4g}, above the bound {row.high:.4g}")
    assert not found(shop, T, "feature_psi", "place").breached


def test_only_important_features_are_held_to_the_bound_and_the_others_are_still_measured(shop: Platform) -> None:
    monitored.score_tick(
        shop,
        monitored.scored(T, items=np.full(monitored.ORDERS_A_TICK, 3), place=["east"] * monitored.ORDERS_A_TICK),
    )
    run(shop, T)
    unimportant, important = found(shop, T, "feature_psi", "items"), found(shop, T, "feature_psi", "place")
    assert unimportant.value > 1
    assert (unimportant.breached, unimportant.high) == (False, None)
    assert important.breached, "a category that the reference never saw is a move"


def test_nulls_and_volume_are_watched(shop: Platform) -> None:
    rows = monitored.scored(T, n=900)
    price = pa.array([None if i % 2 else value for i, value in enumerate(rows["price"].to_pylist())], pa.float64())
    monitored.score_tick(shop, rows.set_column(rows.column_names.index("price"), "price", price))
    run(shop, T)
    nulls, volume = found(shop, T, "null_share", "price"), found(shop, T, "volume")
    assert (nulls.breached, nulls.value) == (True, 0.5)
    assert (volume.breached, volume.value) == (True, 900 / monitored.ORDERS_A_TICK)


def test_the_fallbacks_rows_are_told_apart_from_the_models(shop: Platform) -> None:
    rows = monitored.scored(T, fallback=np.arange(monitored.ORDERS_A_TICK) < 100)
    moved = pa.array(
        [1e6 if flag else value for flag, value in zip(*(rows[c].to_pylist() for c in ("fallback", "price")), strict=True)]
    )
    monitored.score_tick(shop, rows.set_column(rows.column_names.index("price"), "price", moved))  # fmt: skip
    run(shop, T)
    share = found(shop, T, "fallback_share")
    assert (share.value, share.breached) == (0.25, True)
    assert not found(shop, T, "feature_psi", "price").breached


def test_a_tick_answered_by_the_fallback_alone_has_no_drift_and_says_why(shop: Platform) -> None:
    rows = monitored.scored(T, fallback=np.ones(monitored.ORDERS_A_TICK, bool))
    with_outcomes(shop, rows.drop_columns(["items"]))
    run(shop, T)
    psi = found(shop, T, "feature_psi", "items")
    assert (psi.value, psi.breached) == (None, False)
    assert "the fallback answered every row" in psi.sentence
    run(shop, T + 2 * DAY)
    assert found(shop, T, "roc_auc").value is None
    assert found(shop, T, "kpi").value is not None, "what it was worth happened all the same"


def test_a_feature_that_the_predictions_lost_is_a_breach_without_a_value(shop: Platform) -> None:
    monitored.score_tick(
        shop, monitored.scored(T).drop_columns(["tick"]).append_column("tick", pa.array([T] * 400, pa.date32()))
    )
    shop.registry.profiles[monitored.VERSION]["features"][0]["bins"]["column"] = "weight"  # type: ignore[attr-defined]
    run(shop, T)
    lost = found(shop, T, "feature_psi", "weight")
    assert (lost.value, lost.breached) == (None, True)
    assert "the reference has this column, but the predictions do not" in lost.sentence


def test_outcomes_are_measured_when_their_labels_are_complete_and_as_sklearn_would(shop: Platform) -> None:
    rows = monitored.scored(T)
    with_outcomes(shop, rows, lost=40)
    for day in (T, T + DAY):
        run(shop, day)
    assert not shop.ledger.all(Measurement, Measurement.what.in_(of_family("outcome")))
    report = run(shop, T + 2 * DAY)
    assert report.judged == (str(T),)
    label, score, decision = (rows[name].to_numpy()[40:] for name in ("label", "score", "decision"))
    assert found(shop, T, "label_coverage").value == pytest.approx(0.9)
    assert found(shop, T, "roc_auc").value == pytest.approx(roc_auc_score(label, score))
    assert found(shop, T, "calibration").value == pytest.approx(label.mean() - score.mean())
    kpi = found(shop, T, "kpi")
    assert kpi.value * kpi.reference == pytest.approx(np.where(decision, np.where(label, 10, -2), 0).mean())
    rate = found(shop, T, "label_rate")
    assert rate.value * rate.reference == pytest.approx(label.mean())
    assert (rate.low, rate.high, rate.breached) == (None, None, False), "measured, though not watched"


def test_a_tick_without_outcomes_is_said_to_be_one(shop: Platform) -> None:
    rows = monitored.scored(T)
    with_outcomes(shop, rows, lost=rows.num_rows - 1)
    monitored.score_tick(shop, monitored.scored(T, n=300))  # the one order with an outcome is gone from the predictions
    run(shop, T + 2 * DAY)
    coverage = found(shop, T, "label_coverage")
    assert (coverage.value, coverage.breached) == (0.0, True)
    auc = found(shop, T, "roc_auc")
    assert (auc.value, auc.breached) == (None, False)
    assert "none of its 300 rows has an outcome, although all are due" in auc.sentence


def test_outcomes_of_one_class_have_no_auc_and_say_so(shop: Platform) -> None:
    with_outcomes(shop, monitored.scored(T, label=np.zeros(monitored.ORDERS_A_TICK, bool)))
    run(shop, T + 2 * DAY)
    auc = found(shop, T, "roc_auc")
    assert (auc.value, auc.breached) == (None, False)
    assert "0 outcomes of one class are too few to rank" in auc.sentence
    assert found(shop, T, "calibration").breached


def test_too_few_rows_say_nothing_about_a_distribution(shop: Platform) -> None:
    monitored.score_tick(shop, monitored.scored(T, n=20))
    run(shop, T)
    psi = found(shop, T, "feature_psi", "price")
    assert (psi.value, psi.breached) == (None, False)
    assert "20 rows are too few" in psi.sentence
    assert found(shop, T, "volume").breached


def test_outcomes_wait_for_every_partition_of_labels_and_follow_when_it_comes(shop: Platform) -> None:
    rows = monitored.scored(T)
    with_outcomes(shop, rows)
    for row in shop.ledger.all(monitored.Publication, tick=T + DAY):
        with shop.ledger.session() as session:
            session.delete(session.merge(row))
    report = run(shop, T + 2 * DAY)
    assert report.waiting == (str(T),)
    assert f"wait for the publication of returns at {T + DAY}" in found(shop, T, "roc_auc").sentence
    monitored.publish_outcomes(shop, rows)
    report = run(shop, T + DAY)  # the run that follows the ingest of that partition
    assert str(T) in report.judged
    assert found(shop, T, "roc_auc").value is not None


def test_a_tick_that_was_not_scored_is_refused_with_what_to_do(shop: Platform) -> None:
    with pytest.raises(PredictionsMissing, match=f"tick {T} has no predictions in 'shop/predictions': score it first"):
        run(shop, T)
    monitored.score_tick(shop, monitored.scored(T + DAY))
    with pytest.raises(PredictionsMissing):
        run(shop, T)


def test_a_tick_that_was_scored_without_rows_breaches_the_volume_and_nothing_else(shop: Platform) -> None:
    monitored.score_tick(shop, monitored.scored(T + DAY))
    empty = {"pipeline": "shop", "tick": T, "model_version": monitored.VERSION, "rows": 0, "fallback_rows": 0}
    shop.ledger.put(Scoring(**empty, fallback_reason=None, features_digest="d", delta_version=0, at=monitored.NOW))
    report = run(shop, T)
    assert (report.rows, report.judged) == (0, ())
    assert {row.what for row in shop.ledger.all(Measurement, tick=T) if KINDS[row.what].family == "input"} == {
        "volume",
        "freshness",
    }
    row = found(shop, T, "volume")
    assert (row.value, row.breached) == (0.0, True)


def test_a_tick_that_may_be_empty_raises_no_alarm_but_one_that_is_not_published_does(shop: Platform) -> None:
    monitored.score_tick(shop, monitored.scored(T + DAY))
    empty = {"pipeline": "shop", "tick": T, "model_version": monitored.VERSION, "rows": 0, "fallback_rows": 0}
    shop.ledger.put(Scoring(**empty, fallback_reason=None, features_digest="d", delta_version=0, at=monitored.NOW))
    entity = replace(monitored.pipeline.entity_table, may_be_empty=(f"{T:%A}".lower(),))
    others = tuple(entity if table.name == entity.name else table for table in monitored.pipeline.tables)
    watches = (*monitored.pipeline.watches, ml.Watch("freshness", high=48))
    declared = replace(monitored.pipeline, tables=others, watches=watches)
    measure(declared, declared.schedule.tick(T), shop)
    row = found(shop, T, "volume")
    assert (row.value, row.n, row.breached) == (None, 0, False)
    assert found(shop, T, "freshness", entity.name).breached  # not published at all
    nothing = {"pipeline": "shop", "table_name": entity.name, "tick": T, "rows": 0, "delta_version": 0}
    shop.ledger.put(Publication(**nothing, at=monitored.NOW))
    assert measure(declared, declared.schedule.tick(T), shop).rows == 0
    assert not found(shop, T, "freshness", entity.name).breached


def test_measuring_again_replaces(shop: Platform) -> None:
    with_outcomes(shop, monitored.scored(T))
    days = [T, T + DAY, T + 2 * DAY]
    for day in days:
        run(shop, day)
    before = plain(shop)
    for day in (*days, *days[::-1]):
        run(shop, day)
    assert plain(shop) == before


def test_a_negative_reference_kpi_gives_no_ratio(make_shop: Callable[..., Platform]) -> None:
    platform = make_shop()
    platform.registry.profiles[monitored.VERSION]["kpi"] = -3.0  # type: ignore[attr-defined]
    with_outcomes(platform, monitored.scored(T))
    run(platform, T + 2 * DAY)
    kpi = found(platform, T, "kpi")
    assert (kpi.value, kpi.breached) == (None, False)
    assert "so there is no ratio" in kpi.sentence


def plain(platform: Platform) -> list[dict[str, Any]]:
    rows = platform.ledger.all(Measurement)
    return [{name: value for name, value in vars(row).items() if name not in ("at", "_sa_instance_state")} for row in rows]


def test_everything_that_can_be_watched_is_measured_and_has_words() -> None:
    from typing import get_args

    from mlprod_tasks.declaration.monitoring import Watched

    assert tuple(KINDS) == get_args(Watched)
