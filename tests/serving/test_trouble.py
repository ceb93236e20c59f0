"""The service while something around it hangs, fails or asks too much: others are answered, and what it says is true."""

import asyncio
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.online.features import OnlineFeatures
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.routing import roll_out
from mlprod_tasks.serving import admission
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.keys import make_key
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.run import build_service
from tests.support.clock import SetMonotonic
from tests.support.failing_row import FailingRow
from tests.support.service import ORDER, get, metric, post
from tests.support.trained_shop import Shop


async def at_once(service: Service, asked: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    """Requests side by side: method, path and body of each."""
    transport = httpx.ASGITransport(app=service)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://served", timeout=30) as client:
        return await asyncio.gather(*(client.request(method, path, json=body) for method, path, body in asked))


def test_a_replica_that_could_not_read_how_it_is_to_answer_is_not_ready_and_decides_nothing(
    promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, platform = promoted_shop.pipeline, promoted_shop.platform
    roll_out(pipeline, platform, mode="champion", by="ada", reason="people decide", automation="assist")
    real = routing.current
    monkeypatch.setattr(routing, "current", lambda *_: (_ for _ in ()).throw(ConnectionError("a blip")))
    service = build_service(platform, {"returns": pipeline}, keys_needed=False)
    assert get(service, "/ready").json() == {"status": "not ready", "lacking": ["returns"]}
    refused = post(service, {"rows": [ORDER]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    monkeypatch.setattr(routing, "current", real)
    service.loader.read_ledger()
    assert get(service, "/ready").status_code == 200
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert (told["decision"], told["review"]) == (None, True)


def test_a_key_is_not_refused_before_keys_were_ever_read(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = make_key(["returns"], "till", "ada", promoted_shop.platform)
    service = build_service(promoted_shop.platform, {"returns": promoted_shop.pipeline})
    service.loader.keys = None
    assert post(service, {"rows": [ORDER]}, key=key).status_code == 503
    assert get(service, "/ready").json()["lacking"] == ["API keys"]
    service.loader.read_ledger()
    assert post(service, {"rows": [ORDER]}, key=key).status_code == 200


def test_one_use_case_that_cannot_be_read_holds_up_no_other(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, platform = promoted_shop.pipeline, promoted_shop.platform
    other = replace(pipeline, name="other")
    service = build_service(platform, {"other": other, "returns": pipeline}, keys_needed=False)
    real = routing.current

    def current(asked: ml.Pipeline, *rest: Any) -> Any:
        if asked.name == "other":
            raise ConnectionError("a row that nobody can read")
        return real(asked, *rest)

    monkeypatch.setattr(routing, "current", current)
    roll_out(pipeline, platform, mode="champion", by="ada", reason="people decide", automation="assist")
    service.loader.read_ledger()
    assert post(service, {"rows": [ORDER]}).json()["rows"][0]["review"]


def test_those_who_ask_for_reviews_keep_no_features_waiting(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, platform = promoted_shop.pipeline, promoted_shop.platform
    service = build_service(platform, {"returns": pipeline}, keys_needed=False)
    scorer = service.scorers["returns"]
    store = platform.online_store
    monkeypatch.setattr(type(store), "remote", True)
    scorer.online = OnlineFeatures(pipeline, store)
    hangs = threading.Event()
    monkeypatch.setattr(type(platform.ledger), "all", lambda *_, **__: hangs.wait(10) and [])
    reviews = [("GET", f"/v1/pipelines/returns/reviews/{n:032x}", None) for n in range(100)]
    scores = [("POST", "/v1/pipelines/returns/score", {"rows": [ORDER | {"order_id": f"o-{n}"}]}) for n in range(40)]
    try:
        answered = asyncio.run(at_once(service, reviews + scores))
    finally:
        hangs.set()
    assert {one.status_code for one in answered[:100]} == {503}
    assert {(one.status_code, one.json()["rows"][0]["route"]) for one in answered[100:]} == {(200, "champion")}


def test_what_people_decided_is_told_to_who_asks_by_the_request(service: Service, promoted_shop: Shop) -> None:
    platform = promoted_shop.platform
    moment = datetime(2024, 2, 12, 9, tzinfo=UTC)
    mine = {"pipeline": "returns", "request_id": "a" * 32, "key": "o-1", "model_version": 1, "predict_at": moment, "at": moment}
    platform.ledger.put(Review(**mine, row=0, score=0.4, decision=True, by="grace", reason="known", decided_at=moment))
    platform.ledger.put(Review(**mine, row=2, score=0.5))
    told = get(service, f"/v1/pipelines/returns/reviews/{'a' * 32}").json()
    assert [(one["row"], one["decision"], one["reason"]) for one in told["rows"]] == [(0, True, "known"), (2, None, "")]
    assert "grace" not in str(told), "who decided is for the ledger"
    assert get(service, f"/v1/pipelines/returns/reviews/{'b' * 32}").status_code == 404


class Broken:
    """A model that can do nothing, and a single row of it."""

    feature_names = ("channel",)

    def __call__(self, values: Any) -> Any:
        raise RuntimeError("the amount 80.5 of Jane Doe")

    predict = contributions = __call__


def broken(service: Service) -> None:
    loaded = service.loader.loaded["returns"]
    assert loaded.champion is not None
    worse = replace(loaded.champion, row=Broken(), model=Broken())  # type: ignore[arg-type]
    service.loader.loaded = {"returns": replace(loaded, champion=worse)}


def test_a_model_that_fails_explains_nothing_and_says_so(service: Service) -> None:
    broken(service)
    told = post(service, {"rows": [ORDER]}, verb="explain")
    assert told.status_code == 200
    assert told.json()["rows"][0]["reason"] == "the model failed (RuntimeError)"


def test_answers_that_were_kept_do_not_hide_that_the_model_fails(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    known = ORDER | {"order_id": "o-known"}
    assert post(service, {"rows": [known]}).json()["rows"][0]["route"] == "champion"
    loaded = service.loader.loaded["returns"]
    assert loaded.champion is not None
    failing = replace(loaded.champion, row=FailingRow(loaded.champion.row))  # type: ignore[arg-type]
    service.loader.loaded = {"returns": replace(loaded, champion=failing)}
    rows = [ORDER | {"amount": float(n)} for n in range(20)]
    for n, row in enumerate(rows):
        post(service, {"rows": [row]})
        if n < 4:
            assert post(service, {"rows": [known]}).json()["rows"][0]["route"] == "champion"
    assert failing.breaker.open
    assert service.scorers["returns"].counts.errors == failing.breaker.failures
    assert "RuntimeError in _fail" in caplog.text
    assert "Jane Doe" not in caplog.text


def test_answers_to_very_long_rows_are_not_kept(service: Service) -> None:
    scorer = service.scorers["returns"]
    for _ in range(2):
        assert post(service, {"rows": [ORDER | {"order_id": "o" * 9_000}]}).status_code == 200
    assert (scorer.counts.hits, len(scorer._cache)) == (0, 0)
    for _ in range(2):
        post(service, {"rows": [ORDER]})
    assert (scorer.counts.hits, len(scorer._cache)) == (1, 1)


def test_a_refusal_is_told_late_unless_that_holds_a_great_body_and_never_counts_as_an_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "DELAY_SECONDS", 0.3)
    service.admission.under_way = service.limits.under_way
    for padding, late in ((0, True), (20_000, False)):
        began = time.monotonic()
        assert post(service, {"rows": [ORDER]}, raw=b'{"rows": []}' + b" " * padding).status_code == 503
        assert (time.monotonic() - began > 0.25) == late
    service.admission.under_way = 0
    assert post(service, {"rows": [ORDER]}).status_code == 200
    assert metric(service, "mlprod_request_seconds_count", pipeline="returns", kind="score") == 1
    assert metric(service, "mlprod_requests_total", pipeline="returns", kind="score", status="503") == 2


def test_an_explanation_costs_its_key_what_it_takes(promoted_shop: Shop) -> None:
    service = build_service(
        promoted_shop.platform, {"returns": promoted_shop.pipeline}, keys_needed=False, limits=Limits(rows_a_second=1, burst=60)
    )
    assert post(service, {"rows": [ORDER]}, verb="explain").status_code == 200
    assert post(service, {"rows": [ORDER]}, verb="explain").status_code == 429
    assert post(service, {"rows": [ORDER] * 9}).status_code == 200


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("explain", {"rows": [ORDER] * 21}, 413),
        ("explain", {"rows": [ORDER | {"amount": "much"}]}, 422),
        ("explain", {"rows": [ORDER], "moment": "2999-01-01T00:00:00Z"}, 422),
        ("explain", {"rows": []}, 422),
        ("score", {"rows": [ORDER] * 1_001}, 413),
        ("score", {"rows": [ORDER | {"amount": "much"}] * 60}, 422),
        ("score", {"rows": [ORDER] * 60, "moment": "2999-01-01T00:00:00Z"}, 422),
    ],
)
def test_a_request_that_is_refused_costs_its_key_nothing(promoted_shop: Shop, verb: str, body: Any, status: int) -> None:
    service = slow_for_each_key(promoted_shop)
    assert post(service, body, verb=verb).status_code == status
    assert post(service, {"rows": [ORDER]}, verb="explain").status_code == 200
    assert post(service, {"rows": [ORDER] * 10}).status_code == 200
    assert post(service, {"rows": [ORDER]}).status_code == 429, "what was answered is paid for"


@pytest.mark.parametrize("verb", ["score", "explain"])
def test_a_request_whose_features_fail_costs_its_key_nothing(
    promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    service = slow_for_each_key(promoted_shop)

    async def fails(*_: Any) -> Any:
        raise RuntimeError("out of range")

    with monkeypatch.context() as patched:
        patched.setattr(service.scorers["returns"].online, "within", fails)
        assert post(service, {"rows": [ORDER]}, verb=verb).status_code == 500
    assert post(service, {"rows": [ORDER] * 60}).status_code == 200


def test_reviews_that_cannot_be_read_cost_their_key_nothing(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    service = slow_for_each_key(promoted_shop)
    with monkeypatch.context() as patched:
        patched.setattr(type(promoted_shop.platform.ledger), "all", lambda *_, **__: 1 / 0)
        for _ in range(61):
            assert get(service, f"/v1/pipelines/returns/reviews/{'a' * 32}").status_code == 503
    assert post(service, {"rows": [ORDER] * 60}).status_code == 200


def slow_for_each_key(shop: Shop) -> Service:
    """A service that lets a key score 60 rows at once, and hardly any more after that."""
    limits = Limits(rows_a_second=0.001, burst=60)
    return build_service(shop.platform, {"returns": shop.pipeline}, keys_needed=False, limits=limits)


def test_a_failure_that_many_waited_for_counts_once(promoted_shop: Shop) -> None:
    pipeline = replace(promoted_shop.pipeline, serving=ml.Serving(look_up_within=timedelta(milliseconds=20)))
    clock = SetMonotonic()
    held = OnlineFeatures(pipeline, promoted_shop.platform.online_store, monotonic=clock)._cache
    for _ in range(30):
        held.without_the_store([], 0.02)
    assert held._down_until == 1.0
    clock.seconds = 1.5
    held.without_the_store([], 0.02)
    assert held._down_until == 1.5 + 2.0
