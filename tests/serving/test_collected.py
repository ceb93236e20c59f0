"""What a real service answered is in the lake, in the review queue and in the measurements, as it was answered."""

import pyarrow as pa

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.requests import measure_requests
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.rollout.routing import roll_out
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.review_queue import decide_review, open_reviews
from mlprod_tasks.serving.run import build_service
from tests.support.service import TICK, orders_of, post
from tests.support.trained_shop import Shop


def test_a_days_requests_are_collected_reviewed_and_measured(promoted_shop: Shop) -> None:
    shop = promoted_shop.declared(serving=ml.Serving(), watches=ml.REQUEST_WATCHES, rules=ml.REQUEST_RULES)
    pipeline, platform = shop.pipeline, shop.platform
    roll_out(pipeline, platform, mode="champion", by="ada", reason="a test", automation="band", band=(0.3, 0.5))
    service = build_service(platform, {pipeline.name: pipeline}, keys_needed=False)
    sent, batch = orders_of(shop, TICK)
    moment = shop.tick(TICK).start.isoformat()
    told = [one for i in (0, 60) for one in post(service, {"rows": sent[i : i + 60], "moment": moment}).json()["rows"]]
    service.scorers[pipeline.name].log.flush()

    done = collect(pipeline, platform)
    left = [one for one in told if one.get("review")]
    assert (done.rows, done.ticks, done.reviews) == (len(sent), (TICK,), len(left))
    rows = platform.lake.rows(names.requests(pipeline))
    by_key = {row["key_order_id"]: row for row in rows.to_pylist()}
    answered = [by_key[one["key"]["order_id"]] for one in told]
    assert [row["score"] for row in answered] == [one["score"] for one in told]
    assert [row["decision"] for row in answered] == [one.get("decision") for one in told]
    for name in pipeline.feature_names:
        expected = batch[name] if batch[name].type == pa.string() else batch[name].cast(pa.float64())
        assert [by_key[key][f"feature_{name}"] for key in batch["order_id"].to_pylist()] == expected.to_pylist()

    assert 0 < len(left) < len(sent)
    waiting = open_reviews(pipeline, platform)
    assert {one.key for one in waiting} == {one["key"]["order_id"] for one in left}
    first = waiting[0]
    decide_review(pipeline, first.request_id, first.row, True, "ada", platform)
    assert len(open_reviews(pipeline, platform)) == len(left) - 1

    measured = measure_requests(pipeline, shop.tick(TICK), platform)
    assert measured.rows == len(sent)
    found = {(row.what, row.slice): row for row in platform.ledger.all(Measurement)}
    assert found["online_errors", ""].value == 0.0
    assert found["online_score_psi", ""].value is not None
    # A tick has one weekday: a series, whose distribution on a day is compared with none.
    assert {slice for what, slice in found if what == "online_psi"} == set(pipeline.feature_names) - {"weekday"}
    # The same day scored in batch is one like those of the reference, and so is what was asked for.
    assert not [row.sentence for row in found.values() if row.breached and row.what != "online_latency"]
