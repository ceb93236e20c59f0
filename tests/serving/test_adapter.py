"""Adapted scores on request: the bits of the batch, as soon as the batch's state is in the lake."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import names
from mlprod_tasks.scoring.prediction_log import log_folder
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.run import build_service
from tests.support.clock import SetClock
from tests.support.moved_shop import ADAPT
from tests.support.service import orders_of, post

TICK = "2024-02-11"


@pytest.mark.parametrize("adapt", [ADAPT, replace(ADAPT, prior=1e6, learners=(ml.RowByRow(("amount",), rate=0.02),))])
def test_requests_are_answered_as_the_batch_was_once_its_state_is_there(make_moved, adapt):
    shop = make_moved(adapt=adapt).declared(serving=ml.Serving())
    shop = replace(shop, platform=replace(shop.platform, clock=SetClock(datetime(2024, 2, 11, 12, tzinfo=UTC))))
    sent, _ = orders_of(shop, TICK)
    body = {"rows": sent, "moment": shop.tick(TICK).start.isoformat()}
    service = build_service(shop.platform, {"returns": shop.pipeline}, keys_needed=False)
    before = [row["score"] for row in post(service, body).json()["rows"]]
    score(shop.pipeline, shop.tick(TICK), shop.platform)
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline)).sort_by("order_id").to_pylist()
    assert before == [row["raw_score"] for row in batch]
    service.loader.load_models()
    answered = post(service, body).json()["rows"]
    assert [(row["score"], row["decision"]) for row in answered] == [(row["score"], row["decision"]) for row in batch]
    assert before != [row["score"] for row in batch]
    told = post(service, {**body, "rows": sent[:2]}, verb="explain").json()["rows"]
    assert [row["score"] for row in told] == [row["score"] for row in batch[:2]]
    service.scorers["returns"].log.flush()
    logged = [
        row for file in log_folder(shop.pipeline, shop.platform).glob("*.parquet") for row in pq.read_table(file).to_pylist()
    ]
    of_state = [(row["score"], row["raw_score"]) for row in logged if row["adaptation"] == TICK]
    assert sorted(of_state) == sorted((row["score"], row["raw_score"]) for row in batch)
    assert sorted(row["score"] for row in logged if row["adaptation"] is None) == sorted(before)
