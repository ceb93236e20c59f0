"""The fast path answers as the ASGI application does, in order, and leaves to it what it cannot do itself."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.serving.admission import Admission, RequestQueue
from mlprod_tasks.serving.app import ROWS_AT_ONCE, Service
from mlprod_tasks.serving.keys import make_key
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.scorer import Scorer
from tests.support.served import MOMENT, Served, http, read_answer, serving
from tests.support.service import ORDER, SCORE, orders_of
from tests.support.trained_shop import Shop


@pytest.fixture
def served(promoted_shop: Shop) -> Iterator[Served]:
    with serving(promoted_shop) as one:
        yield one


def of(body: bytes) -> dict[str, Any]:
    """An answer without what is its own each time."""
    told = json.loads(body)
    return {name: value for name, value in told.items() if name != "request_id"}


def test_both_ways_give_the_same_answer_count_the_same_and_log_the_same(served: Served, promoted_shop: Shop) -> None:
    rows, _ = orders_of(promoted_shop, "2024-02-12")
    body = {"rows": rows[:ROWS_AT_ONCE], "moment": MOMENT}
    sent = http(body)
    ((status, headers, fast),) = served.ask(sent)
    assert (status, headers[b"content-type"], served.by_asgi) == (200, b"application/json", 0)
    ((other_status, other_headers, other),) = served.ask(sent[:-5], sent[-5:], pause=0.2)
    assert (other_status, served.by_asgi) == (200, 1), "a body in two parts goes through ASGI"
    assert set(headers) == set(other_headers)
    assert of(fast) == of(other)
    assert served.service.metrics.requests == {("returns", "score", 200): 2}
    log = served.service.scorers["returns"].log
    assert log.flush()
    (file,) = log.folder.glob("*.parquet")
    logged = pq.read_table(file).drop_columns(["request_id", "at", "milliseconds"])
    assert logged.num_rows == 2 * len(body["rows"])
    assert logged.slice(0, len(body["rows"])).equals(logged.slice(len(body["rows"])))


def test_many_rows_other_paths_and_other_methods_go_through_asgi(served: Served) -> None:
    many = {"rows": [ORDER] * (ROWS_AT_ONCE + 1), "moment": MOMENT}
    ((status, _, body),) = served.ask(http(many))
    assert (status, len(json.loads(body)["rows"]), served.by_asgi) == (200, ROWS_AT_ONCE + 1, 1)
    assert served.ask(http(b"", path="/health", method="GET"))[0][0] == 200
    assert served.ask(http({}, method="PUT"))[0][0] == 405
    assert served.ask(http({"rows": [ORDER]}, path=f"{SCORE}?a=b"))[0][0] == 200
    assert served.by_asgi == 4


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", "", 422),
        (b"{", "", 422),
        ({"rows": []}, "", 422),
        ({"rows": [ORDER | {"amount": "much"}]}, "", 422),
        ({"rows": [ORDER], "moment": "2024-02-12T04:00:00"}, "", 422),
        (b" " * 2_000, "", 413),
        ({"rows": [ORDER]}, "Expect: 100-continue\r\n", 100),
    ],
)
def test_what_is_refused_is_refused_by_asgi_once(promoted_shop: Shop, body: Any, headers: str, status: int) -> None:
    with serving(promoted_shop, limits=Limits(body_bytes=1_000)) as served:
        ((told, _, _), *_) = served.ask(http(body, headers=headers))
        assert (told, served.by_asgi) == (status, 1)


def test_keys_and_their_rates_hold_on_the_fast_path_too(promoted_shop: Shop) -> None:
    key, _ = make_key(["returns"], "till", "ada", promoted_shop.platform)
    other, _ = make_key(["elsewhere"], "till", "ada", promoted_shop.platform)
    with serving(promoted_shop, keys_needed=True, limits=Limits(rows_a_second=0.001, burst=3)) as served:
        body = {"rows": [ORDER], "moment": MOMENT}
        bearer = "Authorization: Bearer {}\r\n".format
        assert [served.ask(http(body, headers=one))[0][0] for one in ("", bearer("mlprod_x"), bearer(other))] == [
            401,
            401,
            403,
        ]
        assert served.by_asgi == 3
        asked = [served.ask(http(body, headers=bearer(key)))[0] for _ in range(4)]
        assert [status for status, *_ in asked] == [200, 200, 200, 429]
        assert served.by_asgi == 4
        assert b"retry-after" in asked[-1][1]


def test_requests_in_one_go_are_answered_in_their_order_whichever_way_they_take(promoted_shop: Shop, fast_path: bool) -> None:
    keys = [f"o-{i}" for i in range(6)]
    good = [http({"rows": [ORDER | {"order_id": key}], "moment": MOMENT}) for key in keys]
    bad, other = http({"rows": []}), http(b"", path="/health", method="GET")
    sent = b"".join([good[0], good[1], bad, good[2], other, good[3], good[4], bad, good[5]])
    with serving(promoted_shop, fast_path=fast_path) as served:
        answers = served.ask(sent, answers=9)
    assert (served.by_asgi < 9) == fast_path, "both ways were taken, or ASGI alone"
    assert [status for status, *_ in answers] == [200, 200, 422, 200, 200, 200, 200, 422, 200]
    told = [json.loads(body)["rows"][0]["key"]["order_id"] for i, (_, _, body) in enumerate(answers) if i not in (2, 4, 7)]
    assert told == keys


def test_a_connection_with_a_request_on_its_way_is_not_idle(promoted_shop: Shop, fast_path: bool) -> None:
    with serving(promoted_shop, fast_path=fast_path) as served:
        served.server.config.timeout_keep_alive = 1
        whole = http({"rows": [ORDER], "moment": MOMENT})
        answers = served.ask(whole + whole[:-5], whole[-5:], answers=2, pause=1.5)
        assert [status for status, *_ in answers] == [200, 200]
        assert served.by_asgi == (1 if fast_path else 2)


def test_too_many_at_once_are_shed_and_their_places_given_back(promoted_shop: Shop, fast_path: bool) -> None:
    with serving(promoted_shop, fast_path=fast_path, limits=Limits(under_way=20)) as served:

        async def ask() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", limits=limits, timeout=30) as client:
                body = {"rows": [ORDER], "moment": MOMENT}
                served.service.admission.under_way = 20
                asking = [asyncio.ensure_future(client.post(SCORE, json=body)) for _ in range(5)]
                shed = await asyncio.gather(*asking)
                served.service.admission.under_way = 0
                return [*shed, await client.post(SCORE, json=body)]

        *shed, answered = asyncio.run(ask())
        assert [one.status_code for one in shed] == [503] * 5
        assert all(one.headers["retry-after"] for one in shed)
        assert answered.status_code == 200
        assert served.service.admission.under_way == 0


def test_an_error_on_the_fast_path_is_answered_by_asgi(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "answer_at_once", lambda *_: 1 / 0)
    assert served.ask(http({"rows": [ORDER], "moment": MOMENT}))[0][0] == 200
    assert served.by_asgi == 1
    assert served.service.admission.under_way == 0


def test_an_error_on_the_fast_path_is_paid_for_once(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = Scorer.score, [ValueError("the first time only")]

    def fails_once(self: Scorer, *given: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(self, *given)

    monkeypatch.setattr(Scorer, "score", fails_once)
    with serving(promoted_shop, limits=Limits(rows_a_second=0.001, burst=2)) as served:
        body = {"rows": [ORDER], "moment": MOMENT}
        assert [served.ask(http(body))[0][0] for _ in range(3)] == [200, 200, 429]
    assert not failures


def test_a_client_that_left_is_counted_and_not_scored(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RequestQueue.add
    held = threading.Event()

    def late(self: RequestQueue, answer: Any, loop: asyncio.AbstractEventLoop) -> bool:
        loop.call_later(0.3, held.set)
        return real(self, lambda: loop.call_later(0.3, answer), loop)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(RequestQueue, "add", late)
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=20)) as connection:
        connection.sendall(http({"rows": [ORDER], "moment": MOMENT}))
    assert held.wait(10)
    _until(lambda: served.service.metrics.requests[("returns", "score", 499)] == 1)
    assert served.service.scorers["returns"].counts.rows == 0


def test_a_request_that_waits_while_the_server_ends_is_answered(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestQueue, "_answer_some", lambda *_: None)  # its turn never comes
    with (
        serving(promoted_shop) as served,
        closing(socket.create_connection(("127.0.0.1", served.port), timeout=20)) as connection,
    ):
        connection.sendall(http({"rows": [ORDER], "moment": MOMENT}))
        _until(lambda: served.service.admission.under_way == 1)
        served.server.should_exit = True
        assert read_answer(connection.makefile("rb"))[0] == 200


def test_a_body_that_is_no_http_any_more_harms_nobody_else(promoted_shop: Shop, fast_path: bool) -> None:
    broken = f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    chunked = f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = json.dumps({"rows": [ORDER], "moment": MOMENT}).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:], b""))
    with serving(promoted_shop, fast_path=fast_path) as served:
        assert served.ask(broken)[0][0] == 400
        assert served.ask(chunked + parts)[0][0] == 200
    if fast_path:
        assert served.by_asgi == 0


def test_the_first_to_come_is_answered_first_a_few_at_a_time_and_a_failure_takes_nobody_along() -> None:
    seen: list[int] = []

    def answer(i: int) -> None:
        if i == 3:
            raise RuntimeError("this one cannot be answered")
        seen.append(i)

    async def ask() -> list[bool]:
        loop, queue = asyncio.get_running_loop(), RequestQueue(Admission(20))
        taken = [queue.add(partial(answer, i), loop) for i in range(25)]
        await asyncio.sleep(0)
        assert 0 < len(seen) < 19, "others are looked for in between"
        while len(seen) < 19:
            await asyncio.sleep(0)
        return [*taken, queue.add(partial(answer, 25), loop)]

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == [True] * 20 + [False] * 5 + [True]
    assert seen[:19] == [i for i in range(20) if i != 3]


def _until(true: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
