"""The online store has late rows from the moment on from which batch uses them, and lets them go at the same moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.online.check import compared
from mlprod_tasks.online.features import OnlineFeatures
from mlprod_tasks.online.fill import fill_online
from tests.support.late_rows import TICKS, random_late_shop

Shop = Any  # of conftest.py


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("predict_at", [ml.AtTick(), ml.Before(ml.hours(26))], ids=["at the tick", "a day before"])
def test_the_store_answers_as_batch_does_before_and_after_rows_arrive(shop: Shop, seed: int, predict_at: Any) -> None:
    random_late_shop(shop, seed)
    pipeline = replace(shop.pipeline, predict_at=predict_at, serving=ml.Serving(look_back=ml.days(5)))
    for filled in (TICKS[4], TICKS[-1]):
        fill_online(pipeline, pipeline.schedule.tick(filled), shop.platform)
        for back in range(1, 4):
            checked = compared(pipeline, pipeline.schedule.tick(filled - timedelta(days=back)), shop.platform)
            assert (checked.rows, checked.share) == (6, 0.0), checked.examples or checked.unanswered


def test_a_late_row_waits_in_the_store_for_the_moment_from_which_it_may_be_used(shop: Shop) -> None:
    day, known = TICKS[0], datetime(2013, 6, 2, 9, tzinfo=UTC)
    paid = ("a", known, 1, "tea", 3.0, 1, None, None)
    shop.holds(payments=[paid, ("b", known, *paid[2:])], prices=[("tea", 1, known, 5.0)])
    usable = datetime(2013, 6, 4, 8, tzinfo=UTC)
    shop.arrives("payments", {"b": usable}).arrives("prices", {("tea", 1): usable})
    pipeline = replace(shop.pipeline, serving=ml.Serving(look_back=ml.days(2)))
    fill_online(pipeline, pipeline.schedule.tick(day), shop.platform)
    online = OnlineFeatures(pipeline, shop.platform.online_store)
    request = {"id": "x", "due": usable.isoformat(), "customer": 1, "product": "tea"}

    def answered(moment: datetime) -> tuple[Any, ...]:
        found = dict(zip(pipeline.feature_names, online.row(request, moment).values, strict=True))
        return found["customer_count_7d"], found["customer_mean_amount_7d"], found["price"]

    assert answered(usable - timedelta(microseconds=1)) == (1, 3.0, None)
    assert answered(usable) == (2, 3.0, 5.0)
    assert answered(known + timedelta(days=2, hours=1)) == (2, 3.0, 5.0)
    assert answered(known + timedelta(days=2, hours=1, microseconds=1)) == (2, 3.0, None)
