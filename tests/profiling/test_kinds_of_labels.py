"""The profile of use cases that predict classes and numbers: the label, what features tell of it, leak suspects."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from mlprod_tasks import declaration as ml
from mlprod_tasks.profiling.feature_profile import profile_features
from mlprod_tasks.profiling.labelled_features import LabelledFeatures, labelled_features
from mlprod_tasks.profiling.profile_page import write_profile
from tests.support.reason_shop import CLASSES, reason_shop
from tests.support.refund_shop import refund_shop
from tests.support.trained_shop import Shop

FIRST, LAST, AS_OF = "2024-01-03", "2024-02-05", "2024-02-10"


def rows_of(shop: Shop) -> LabelledFeatures:
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    return labelled_features(shop.pipeline, ticks, shop.tick(AS_OF), shop.platform)


def test_classes_are_shown_by_their_shares_and_a_feature_that_tells_them_is_named(filled_home: Path, tmp_path: Path) -> None:
    shop = reason_shop(filled_home, tmp_path)
    rows = rows_of(shop)
    found = profile_features(shop.pipeline, rows)
    assert found.label is not None
    outcomes = rows.table["label"].drop_null().to_pylist()
    assert dict(found.label.top) == {name: outcomes.count(name) for name in CLASSES}
    assert found.label.column.kind == "text"
    assert max(found.power, key=lambda name: found.power[name]) in ("amount", "channel")
    page = write_profile(shop.pipeline, shop.platform, tmp_path / "profile.html", rows.ticks).read_text(encoding="utf-8")
    assert "zu groß / zu klein" in page


def test_of_numbers_power_is_a_rank_correlation_and_what_is_the_number_is_suspected(filled_home: Path, tmp_path: Path) -> None:
    shop = refund_shop(filled_home, tmp_path)
    rows = rows_of(shop)
    leaking = replace(shop.pipeline, features=(*shop.pipeline.features, ml.Expression("leak", "items * 1.0", "float", "money")))
    table = rows.table.append_column("leak", rows.table["label"])
    found = profile_features(leaking, LabelledFeatures(table, rows.ticks))
    assert found.label is not None
    assert (found.label.column.kind, found.label.least) == ("float", 0.0)
    assert list(found.warnings) == ["leak"]
    assert "tells the outcome almost alone" in found.warnings["leak"]
    later = table.to_pandas().dropna(subset=["label", "amount"])
    later = later.iloc[len(later) // 2 :]
    # By bins, and with missing amounts, it is a little less than that of the values.
    assert found.power["amount"] == pytest.approx(spearmanr(later["amount"], later["label"]).statistic, abs=0.1)
    assert found.power["leak"] > 0.95
