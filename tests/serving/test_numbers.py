"""The service answers with numbers and their intervals as batch scoring does, and decides nothing on them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import names
from mlprod_tasks.promotion.fallback_switch import switch_to_fallback
from mlprod_tasks.rollout.routing import CannotRollOut, roll_out
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service
from tests.support.refund_shop import REFUNDS, refund_shop
from tests.support.service import TICK, get, orders_of, post
from tests.support.trained_shop import Shop, platform_at

COVERED = replace(REFUNDS, serving=ml.Serving(), model=replace(REFUNDS.model, coverage=0.9))
COUNTED = ml.LightGBM(max_trees=30, min_data_in_leaf=20, objective="poisson")


@pytest.fixture(scope="module")
def number_home(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose champion predicts refunds, with intervals."""
    shop = refund_shop(filled_home, tmp_path_factory.mktemp("numbers"), pipeline=COVERED)
    assert shop.promoted("one").moved
    return shop.platform.settings.home


@pytest.fixture
def shop(number_home: Path, tmp_path: Path) -> Shop:
    shutil.copytree(number_home, tmp_path / "var")
    return Shop(COVERED, platform_at(tmp_path / "var"))


def served(shop: Shop, pipeline: Pipeline | None = None) -> Service:
    return build_service(shop.platform, {"returns": pipeline or shop.pipeline}, keys_needed=False)


def test_a_request_predicts_bit_for_bit_as_the_batch_does_number_and_interval(shop: Shop) -> None:
    score(shop.pipeline, shop.tick(TICK), shop.platform)
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline), [shop.tick(TICK).name]).sort_by("order_id").to_pylist()
    sent, _ = orders_of(shop, TICK)
    body = {"rows": sorted(sent, key=lambda row: row["order_id"]), "moment": shop.tick(TICK).start.isoformat()}
    service = served(shop)
    told = post(service, body).json()["rows"]
    ends = ("prediction_low", "prediction_high")
    assert [[one["prediction"], *(one[end] for end in ends)] for one in told] == [
        [row["score"], *(row[end] for end in ends)] for row in batch
    ]
    assert all(one[ends[0]] < one["prediction"] < one[ends[1]] for one in told)
    assert set(told[0]) == {"key", "prediction", *ends, "version", "route"}, "nothing is decided"
    few = json.dumps(body | {"rows": body["rows"][:3]}).encode()
    at_once = service.answer_at_once("", "returns", [], few, 0.0)
    assert at_once is not None, "it takes the fast path like any other"
    assert json.loads(at_once)["rows"] == told[:3]


def test_the_log_keeps_predictions_with_their_intervals(shop: Shop) -> None:
    service, (sent, _) = served(shop), orders_of(shop, TICK)
    told = post(service, {"rows": sent[:7], "moment": shop.tick(TICK).start.isoformat()}).json()["rows"]
    service.scorers["returns"].log.flush()
    assert collect(shop.pipeline, shop.platform).rows == 7
    logged = shop.platform.lake.rows(names.requests(shop.pipeline)).sort_by("row").to_pylist()
    columns = {"prediction": "score", "prediction_low": "prediction_low", "prediction_high": "prediction_high"}
    for name, column in columns.items():
        assert [row[column] for row in logged] == [one[name] for one in told]
    assert {(row["decision"], row["review"]) for row in logged} == {(None, False)}


def test_the_fallback_answers_with_a_mean_and_without_interval(shop: Shop) -> None:
    switch_to_fallback(shop.pipeline, "ada", shop.platform, reason="odd numbers")
    service, (sent, batch) = served(shop), orders_of(shop, TICK)
    told = post(service, {"rows": sent[:20], "moment": shop.tick(TICK).start.isoformat()}).json()["rows"]
    kept = service.loader.loaded["returns"].fallback
    assert kept is not None
    assert [one["prediction"] for one in told] == kept.predict(batch.slice(0, 20)).score.tolist()
    assert {(one["route"], one["fallback"], "prediction_low" in one) for one in told} == {("fallback", True, False)}


@pytest.mark.parametrize("link", ["identity", "log"])
def test_what_features_add_leads_from_the_base_to_the_prediction(filled_home: Path, tmp_path: Path, link: str) -> None:
    model = replace(COVERED.model, candidates=(COUNTED,)) if link == "log" else COVERED.model
    shop = refund_shop(filled_home, tmp_path, pipeline=replace(COVERED, model=model, gates=(ml.AtMost("mae", 60.0),)))
    assert shop.promoted("one").moved
    sent, _ = orders_of(shop, TICK)
    body = {"rows": sent[:4], "moment": shop.tick(TICK).start.isoformat()}
    service = served(shop)
    told = post(service, body, verb="explain").json()["rows"]
    assert [one["prediction"] for one in told] == [one["prediction"] for one in post(service, body).json()["rows"]]
    assert {one["link"] for one in told} == {link}
    added = np.array([one["base"] + sum(part["adds"] for part in one["features"]) for one in told])
    assert np.allclose(np.exp(added) if link == "log" else added, [one["prediction"] for one in told], rtol=1e-9)


def test_the_openapi_document_describes_numbers(shop: Shop) -> None:
    schemas = get(served(shop), "/openapi.json").json()["components"]["schemas"]
    assert "ScoredRow" not in schemas
    assert {"prediction", "prediction_low", "prediction_high"} < set(schemas["PredictedRow"]["properties"])
    assert "link" in schemas["ExplainedNumber"]["properties"]


def test_nothing_is_left_to_people_on_numbers(shop: Shop) -> None:
    with pytest.raises(CannotRollOut, match=r"is not for predicted numbers: make it 'full'$"):
        roll_out(shop.pipeline, shop.platform, mode="champion", by="Ada", reason="", automation="assist")
