"""The KPI of a tick whose decisions are worth something else in each row."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
T = monitored.FIRST
BY_PRICE = replace(monitored.pipeline, value=ml.ValueFunction(act="CASE WHEN outcome THEN price ELSE -2 END"))


def kpi_of(platform: Platform) -> Measurement:
    measure(BY_PRICE, BY_PRICE.schedule.tick(T + 2 * DAY), platform)
    row = platform.ledger.get(Measurement, "shop", T, "kpi", "")
    assert row is not None
    return row


@pytest.fixture
def judged(shop: Platform) -> Platform:
    for n in range(3):
        monitored.score_tick(shop, monitored.scored(T + n * DAY))
    monitored.publish_outcomes(shop, monitored.scored(T))
    monitored.note_published(shop, T + 2 * DAY, 0)
    return shop


def test_the_kpi_is_computed_from_the_features_kept_with_the_predictions(judged: Platform) -> None:
    rows = monitored.scored(T)
    decision, label, price = (rows[name].to_numpy(zero_copy_only=False) for name in ("decision", "label", "price"))
    expected = np.where(decision, np.where(label, price, -2), 0).mean()
    row = kpi_of(judged)
    assert row.value == pytest.approx(expected / monitored.reference().kpi)


def test_predictions_kept_before_the_feature_was_declared_have_no_kpi_and_it_is_said(judged: Platform) -> None:
    rows = monitored.scored(T).drop_columns(["label", "price"])
    name = names.predictions(monitored.pipeline)
    judged.lake.replace_ticks(name, monitored.pipeline.schedule.range(T), rows)
    row = kpi_of(judged)
    assert row.value is None
    assert row.breached
    assert "value.act" in row.sentence
