"""A use case in a notebook: frames of every kind, versions and their evaluations, features tried in one call."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks import notebook, workflows
from mlprod_tasks.evaluation.compare_features import CannotCompare
from mlprod_tasks.notebook import UseCase, declare, use_case
from mlprod_tasks.notebook.frames import arrow, frame
from mlprod_tasks.notebook.versions import NoChampion
from mlprod_tasks.platform import names
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support import timeless_customers as timeless
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop, raw_tables

PHONE = declare.Expression("by_phone", "channel = 'phone'", "bool", "whether it was ordered by phone")


@pytest.fixture
def returns(shop: Shop) -> UseCase:
    return UseCase(shop.pipeline, shop.platform)


@pytest.fixture
def champion(promoted_shop: Shop) -> UseCase:
    return UseCase(promoted_shop.pipeline, promoted_shop.platform)


def test_labelled_rows_are_those_of_the_tables_with_what_was_known_then(returns: UseCase) -> None:
    made, outcomes = (table.to_pandas() for table in raw_tables())
    rows = returns.labelled("2024-01-20", "2024-01-21", as_of="2024-01-22")
    orders = made[made["tick"].astype(str).isin(["2024-01-20", "2024-01-21"])]
    assert sorted(rows["order_id"]) == sorted(orders["order_id"])
    known = outcomes[outcomes["settled_at"] < returns.pipeline.schedule.tick("2024-01-22").start].set_index("order_id")
    expected = [bool(known["returned"][one]) if one in known.index else None for one in rows["order_id"]]
    assert [None if pd.isna(one) else bool(one) for one in rows["label"]] == expected
    assert set(expected) == {True, False, None}, "a row of each kind is compared"
    amounts = orders.set_index("order_id")["amount"]
    pd.testing.assert_series_equal(rows.set_index("order_id")["amount"].sort_index(), amounts.sort_index())


def test_every_kind_of_frame_has_the_same_rows(returns: UseCase) -> None:
    as_arrow = returns.features("2024-01-20", kind="arrow")
    as_pandas, as_polars = (returns.features("2024-01-20", kind=kind) for kind in ("pandas", "polars"))
    assert isinstance(as_arrow, pa.Table)
    assert isinstance(as_polars, pl.DataFrame)
    assert as_arrow.num_rows == len(as_pandas) == as_polars.height == 120
    for name in as_arrow.column_names:
        values = as_arrow[name].to_pylist()
        assert as_polars[name].to_list() == values
        assert [None if pd.isna(one) else one for one in as_pandas[name]] == values
    assert as_pandas["items"].dtype == pd.Int64Dtype()  # some are missing, and the rest stay whole numbers
    assert [arrow(one)[0].num_rows for one in (as_arrow, as_pandas, as_polars)] == [120] * 3


def test_without_ticks_frames_have_the_newest_ones(returns: UseCase) -> None:
    ticks = returns.platform.lake.ticks(names.raw(SHOP, "orders"))
    assert set(returns.features()["tick"]) == ticks
    assert set(returns.labels()["tick"]) <= ticks
    assert len(returns.table("orders")) == len(raw_tables()[0])
    assert set(returns.table("returns", "2024-01-22")["tick"].astype(str)) == {"2024-01-22"}
    with pytest.raises(ValueError, match="first tick"):
        returns.features(last="2024-01-22")
    with pytest.raises(ValueError, match="first tick"):
        returns.table("orders", last="2024-01-22")
    with pytest.raises(KeyError, match="no table 'order'; it has orders, returns"):
        returns.table("order")


def test_rows_without_a_time_have_the_labels_that_they_train_with(tmp_path: Path) -> None:
    rows, platform = timeless.customers(), timeless.new_platform(tmp_path)
    pipeline = replace(timeless.BY_PART, tables=(timeless.CUSTOMERS,), features=timeless.BY_PART.features[:2])
    timeless.deliver(rows, tmp_path)
    workflows.ingest(pipeline, pipeline.schedule.range(timeless.FIRST), platform)
    opened = UseCase(pipeline, platform)
    known = dict(zip(rows["customer"][: timeless.KNOWN], rows["churned"], strict=False))
    labels = opened.labels()
    assert dict(zip(labels["customer"], labels["label"], strict=True)) == known
    labelled = opened.labelled().dropna(subset="label")
    assert dict(zip(labelled["customer"], labelled["label"], strict=True)) == known
    assert sorted(opened.features()["customer"]) == list(range(timeless.KNOWN, timeless.ROWS))


def test_the_example_of_the_room_can_be_declared() -> None:
    (example,) = re.findall(r"mlprod\.(declare\.Expression\(.*?\))\]", str(notebook.__doc__))
    assert eval(example, {"declare": declare}).name == "is_large"


def test_other_kinds_of_frames_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'pandas', 'polars' or 'arrow', not 'spark'"):
        frame(pa.table({"a": [1]}), "spark")
    with pytest.raises(TypeError, match="not list"):
        arrow([1])


def test_a_version_predicts_what_its_model_does_for_every_kind_of_frame(champion: UseCase) -> None:
    version = champion.model()
    assert version.ref.version == 1
    rows = champion.labelled("2024-01-20", "2024-01-24", kind="arrow")
    expected = version.fitted.predict(rows)
    for kind in ("arrow", "pandas", "polars"):
        predicted = version.predict(champion.features("2024-01-20", "2024-01-24", kind=kind))
        assert np.array_equal(np.asarray(predicted["score"]), expected.score)
    assert list(predicted["order_id"]) == rows["order_id"].to_pylist()
    known = rows["label"].is_valid().to_numpy()
    assert roc_auc_score(rows["label"].to_numpy()[known].astype(bool), expected.score[known]) > 0.6


def test_an_evaluation_is_that_of_the_training_and_trainings_are_listed(champion: UseCase) -> None:
    version = champion.model(1)
    listed = champion.trainings()
    assert list(listed["version"]) == [1]
    assert list(listed["champion"]) == [True]
    found = version.evaluation.evaluation
    assert found.training_id == listed["training"][0] == version.fitted.facts.training_id
    assert found.model["roc_auc"].value == pytest.approx(listed["roc_auc"][0])
    shown = version._repr_html_()
    assert f"{found.model['roc_auc'].value:.3f}" in shown
    assert TrainingFolder(champion.platform, found.training_id).model.is_dir()


def test_without_a_champion_that_is_said(returns: UseCase) -> None:
    assert returns.trainings().empty
    with pytest.raises(NoChampion, match="has no champion: train it first"):
        returns.model()


def test_a_feature_is_tried_in_one_call_and_shown_by_fold(returns: UseCase) -> None:
    without = UseCase(returns.pipeline, returns.platform)
    tried = without.compare(add=[PHONE], folds=2)
    by_fold = tried.frame()
    aucs = by_fold[by_fold["metric"] == "roc_auc"]
    assert len(aucs) == 2
    assert list(aucs["difference"]) == pytest.approx(list(aucs["changed"] - aucs["declared"]))
    assert tried.mean.value == pytest.approx(aucs["difference"].mean())
    assert tried.verdict == "no difference"  # the model already reads the channel
    assert "no difference can be told" in repr(tried)
    shown = tried._repr_html_()
    assert shown.count("<svg") == 3  # each fold, and the mean
    assert "<code>by_phone</code>" in shown
    assert "script" not in shown
    assert tried.by("log_loss").mean == tried.result.mean["log_loss"]
    with pytest.raises(KeyError, match="'auc' was not measured; there are roc_auc"):
        tried.by("auc")
    with pytest.raises(CannotCompare, match="give features"):
        without.compare()


def test_what_gets_worse_is_said_whichever_way_the_metric_points(returns: UseCase) -> None:
    tried = returns.compare(drop=["amount", "items"], folds=2)
    assert (tried.mean.value < 0, tried.verdict) == (True, "worse")
    of_loss = tried.by("log_loss")
    assert (of_loss.mean.value > 0, of_loss.verdict) == (True, "worse")
    assert 'class="worse"' in of_loss._repr_html_()


def test_a_use_case_is_opened_by_its_name(shop: Shop, monkeypatch, tmp_path) -> None:
    (tmp_path / "pipelines").mkdir()
    declaration = "from tests.support.shop import SHOP\n\npipeline = SHOP\n"
    (tmp_path / "pipelines" / "returns.py").write_text(f'"""Returns."""\n\n{declaration}')
    monkeypatch.setenv("MLPROD_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.setenv("MLPROD_HOME", str(shop.platform.settings.home))
    opened = use_case("returns")
    assert len(opened.features("2024-01-20")) == 120
    assert "Will" not in repr(opened)
    assert "weekday" in opened._repr_html_()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LookupError, match="there is no trial in trials/returns: run `mlprod try returns`"):
        use_case("returns", trial=True)
