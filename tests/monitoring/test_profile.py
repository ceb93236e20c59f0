"""The reference profile of a test window."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.profile import important_features, make_profile, profile_of
from tests.support import monitored_shop as shop


def rows() -> pa.Table:
    return pa.concat_tables([shop.scored(day) for day in shop.REFERENCE])


def test_it_says_what_the_test_window_looked_like() -> None:
    made, window = shop.reference(), rows()
    label, score, decision = (window[name].to_numpy() for name in ("label", "score", "decision"))
    assert (made.first, made.last) == ("2024-02-01", "2024-02-14")
    assert made.rows_by_tick == (shop.ORDERS_A_TICK,) * 14
    assert (made.rows_per_tick, made.rows_per_tick_sd) == (shop.ORDERS_A_TICK, 0)
    assert made.label_rate == pytest.approx(label.mean())
    assert made.mean_score == pytest.approx(score.mean())
    assert made.roc_auc == pytest.approx(roc_auc_score(label, score))
    assert made.kpi == pytest.approx(np.where(decision, np.where(label, 10, -2), 0).mean())
    assert [column.name for column in made.columns] == ["price", "place", "items", "score"]
    assert all(sum(column.counts) == window.num_rows for column in made.columns)


def test_it_survives_json() -> None:
    made = shop.reference()
    written = json.loads(json.dumps(made.as_json(), allow_nan=False))
    assert ReferenceProfile.from_json(written) == made


def test_files_larger_than_memory_give_the_same_profile_as_a_table(tmp_path: Path) -> None:
    window = rows()
    files = []
    for day in shop.REFERENCE:
        files.append(str(tmp_path / f"{day}.parquet"))
        pq.write_table(window.filter(pa.compute.equal(window["tick"], pa.scalar(day))), files[-1])
    from_files = profile_of(shop.pipeline, files, {"price": 70.0, "place": 20.0, "items": 10.0})
    made = shop.reference()
    assert from_files.features == made.features
    assert (from_files.kpi, from_files.roc_auc) == pytest.approx((made.kpi, made.roc_auc))


def test_the_important_features_are_the_fewest_that_make_up_80_per_cent_of_the_gain() -> None:
    assert important_features({"a": 10, "b": 50, "c": 30, "d": 10}) == {"b", "c"}
    assert important_features({"a": 100, "b": 0}) == {"a"}
    assert important_features({}) == important_features({"a": 0.0}) == frozenset()
    assert {column.name for column in shop.reference().features if column.important} == {"price", "place"}


def test_outcomes_of_one_class_leave_the_auc_open() -> None:
    window = shop.scored(date(2024, 2, 1))
    n = window.num_rows
    made = make_profile(
        shop.pipeline, window, scores=window["score"].to_numpy(), decisions=[False] * n, labels=[False] * n, importance={}
    )
    assert (made.roc_auc, made.label_rate) == (None, 0.0)


def test_a_quiet_tick_of_the_reference_lies_close_to_the_others() -> None:
    price = shop.reference().features[0]
    assert len(price.tick_psi) == 14
    assert max(price.tick_psi) < 0.1


def test_a_window_without_rows_is_refused() -> None:
    window = rows().slice(0, 0)
    with pytest.raises(ValueError, match="the test window has none"):
        make_profile(shop.pipeline, window, scores=[], decisions=[], labels=[], importance={})
