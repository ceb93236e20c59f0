"""A request is checked in one order, by functions that know nothing of HTTP."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.keys import make_key
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.messages import RequestRefused, Verb
from mlprod_tasks.serving.request_pipeline import EXPLAIN_COST, MomentCheck, RequestIds, RequestPipeline, decode
from mlprod_tasks.serving.run import build_service
from tests.support.service import ORDER
from tests.support.trained_shop import Shop

NOW = datetime(2024, 2, 12, 12, tzinfo=UTC)
MOMENT = "2024-02-12T04:00:00+00:00"


def refusal(step: Callable[..., Any], *given: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        step(*given)
    return refused.value


@pytest.mark.parametrize(
    ("body", "verb", "status"),
    [
        (b" " * 1_001 + b"{", "score", 413),
        (b"{", "score", 422),
        (b"[" * 900, "score", 422),
        (b'{"rows": []}', "score", 422),
        (b'{"rows": [{}, {}, {}, {}]}', "score", 413),
        (b'{"rows": [{}, {}]}', "explain", 413),
    ],
)
def test_a_body_is_refused_for_its_size_then_its_form_then_its_number_of_rows(body: bytes, verb: Verb, status: int) -> None:
    limits = Limits(body_bytes=1_000, rows=3, explained=1)
    assert refusal(decode, body, verb, limits).status == status
    assert len(decode(b'{"rows": [{}]}', verb, limits).rows) == 1


def test_a_moment_belongs_to_the_tick_that_it_lies_in_and_to_none_outside_of_the_schedule(shop_pipeline: Pipeline) -> None:
    moments = MomentCheck(shop_pipeline)
    for asked in (None, NOW, NOW.astimezone(timezone(timedelta(hours=3)))):
        moment, tick = moments.check(asked, NOW)
        assert (moment, tick) == (NOW, date(2024, 2, 12))
    assert moments.check(NOW - timedelta(days=1), NOW)[1] == date(2024, 2, 11)
    for wrong, reason in (
        (NOW.replace(tzinfo=None), "it has no time zone"),
        (NOW + timedelta(minutes=1), "it must be between 1971 and now"),
        (datetime(1970, 1, 1, tzinfo=UTC), "it must be between 1971 and now"),
        (datetime(2001, 1, 1, tzinfo=UTC), "it is outside the ticks of returns, 2024-01-01"),
    ):
        (problem,) = list(refusal(moments.check, wrong, NOW).problems or [])
        assert (problem.row, problem.field) == (None, "moment")
        assert problem.reason.startswith(reason)
    early = refusal(moments.check, None, datetime(2001, 1, 1, tzinfo=UTC)).problems
    assert "it defaults to now, and it is outside" in str(early)


def test_no_two_requests_have_the_same_id() -> None:
    ids = RequestIds()
    made = {ids.next() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(one) for one in made} == {32}


@pytest.fixture
def locked(promoted_shop: Shop) -> tuple[Service, str]:
    """A service that asks for keys and lets each score two rows, and a key."""
    key, _ = make_key(["returns"], "till", "ada", promoted_shop.platform)
    limits = Limits(rows_a_second=0.001, burst=2, rows=3)
    return build_service(promoted_shop.platform, {"returns": promoted_shop.pipeline}, limits=limits), key


def test_checks_refuse_in_one_order_whatever_else_is_wrong(locked: tuple[Service, str]) -> None:
    service, key = locked
    wrong = {"rows": [ORDER | {"amount": "much"}] * 4, "moment": "2999-01-01T00:00:00Z"}
    mended: list[tuple[int, Callable[[], Any]]] = [
        (413, lambda: wrong.update(rows=[ORDER | {"amount": "much"}] * 3)),
        (422, lambda: wrong.update(moment=MOMENT)),
        (422, lambda: wrong.update(rows=[ORDER] * 3)),
    ]
    loader = service.loader
    loaded, keys = loader.loaded, loader.keys
    loader.loaded, loader.keys = {"returns": replace(loaded["returns"], ledger_read=False)}, None
    assert refusal(ask, service.requests, "", wrong).status == 503, "keys that nobody could read"
    loader.keys = keys
    assert refusal(ask, service.requests, "", wrong).status == 401
    assert refusal(ask, service.requests, key, wrong).status == 503, "a rollout that nobody could read"
    loader.loaded = loaded
    for status, mend in mended:
        assert refusal(ask, service.requests, key, wrong).status == status
        mend()
    assert ask(service.requests, key, wrong), "more than the burst waits for a full bucket, which it was: nothing was taken"
    assert refusal(ask, service.requests, key, wrong).status == 429


def ask(steps: RequestPipeline, key: str, body: Any) -> Any:
    """Take a request through all checks."""
    raw = json.dumps(body).encode()
    key_id = steps.authorize([(b"authorization", b"Bearer " + key.encode())], "returns")
    steps.check_ready("returns")
    request = steps.validate(steps.decode(raw, "score"), "returns", "score", key_id, len(raw))
    steps.charge(request)
    return request


def test_a_request_is_scored_and_encoded_without_http(locked: tuple[Service, str]) -> None:
    service, key = locked
    steps = service.requests
    request = ask(steps, key, {"rows": [ORDER, ORDER | {"order_id": "o-2"}], "moment": MOMENT})
    assert (request.cost, request.tick, request.cacheable) == (2, date(2024, 2, 12), True)
    features = service.scorers["returns"].features_at_hand(request.rows, request.moment)
    assert features is not None
    results = steps.score(request, features, 0.0)
    assert service.scorers["returns"].log.waiting == 0, "nothing is answered yet"
    answer = json.loads(steps.encode(request, results))
    assert service.scorers["returns"].log.waiting == 2
    assert (answer["request_id"], answer["pipeline"]) == (request.request_id, "returns")
    assert [one["key"]["order_id"] for one in answer["rows"]] == ["o-1", "o-2"]
    assert [one.log_row.score for one in results] == [one["score"] for one in answer["rows"]]


def test_explaining_a_row_costs_as_much_as_scoring_many(locked: tuple[Service, str]) -> None:
    steps = locked[0].requests
    decoded = steps.decode(json.dumps({"rows": [ORDER] * 2}).encode(), "explain")
    assert steps.validate(decoded, "returns", "explain", "", 100).cost == 2 * EXPLAIN_COST
