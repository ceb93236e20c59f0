"""What a client may send over a connection that must not count, on the fast path and without it."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprod_tasks.serving.duplicate_fields import certainly_once, field_given_twice
from mlprod_tasks.serving.keys import make_key
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.messages import RequestRefused, ScoreRequest
from mlprod_tasks.serving.request_pipeline import decode
from mlprod_tasks.serving.scorer import Scorer
from tests.support.served import MOMENT, Served, http, read_answer, serving
from tests.support.service import ORDER, SCORE
from tests.support.trained_shop import Shop

GOOD = {"rows": [ORDER], "moment": MOMENT}


@pytest.fixture
def served(promoted_shop: Shop, fast_path: bool) -> Iterator[Served]:
    with serving(promoted_shop, fast_path=fast_path, limits=Limits(body_bytes=10_000)) as one:
        yield one


def chunked(body: bytes, trailer: str, headers: str = "") -> bytes:
    head = f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
    return head + b"%x\r\n%s\r\n0\r\n" % (len(body), body) + f"{trailer}\r\n".encode()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_key_in_a_trailer_opens_nothing(promoted_shop: Shop, fast_path: bool, parts: int) -> None:
    key, _ = make_key(["returns"], "till", "ada", promoted_shop.platform)
    bearer = f"Authorization: Bearer {key}\r\n"
    body = json.dumps(GOOD).encode()
    with serving(promoted_shop, fast_path=fast_path, keys_needed=True) as served:
        for trailer, headers, status in ((bearer, "", 401), ("", bearer, 200), ("Authorization: Bearer x\r\n", bearer, 200)):
            sent = chunked(body, trailer, headers)
            pieces = [sent] if parts == 1 else [sent[:-60], sent[-60:]]
            assert served.ask(*pieces, pause=0.1 * (parts - 1))[0][0] == status
        assert served.ask(http(GOOD, headers=bearer + "Authorization: Bearer x\r\n"))[0][0] == 400
        assert served.ask(http(GOOD, headers="Authorization: Bearer x\r\n" + bearer))[0][0] == 400


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n", 413),
        (f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n", 413),
        (f"PUT {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n", 405),
        ("GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n", 200),
        ("POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 404),
        (f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\nContent-Encoding: gzip\r\n\r\n", 415),
    ],
)
def test_after_an_answer_to_a_body_that_was_not_sent_no_request_is_taken_for_it(served: Served, head: str, status: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as connection:
        connection.sendall(head.encode())
        file = connection.makefile("rb")
        told, headers, _ = read_answer(file)
        assert (told, headers.get(b"connection")) == (status, b"close")
        connection.sendall(http(GOOD))
        try:
            rest = file.read()
        except ConnectionError:
            rest = b""
        assert rest == b"", "the connection ends, so the client sends the request again over another one"
    assert served.service.metrics.requests[("returns", "score", 200)] == 0
    assert served.ask(http(GOOD))[0][0] == 200


def test_a_client_that_sends_all_of_a_body_that_is_too_large_reads_why(served: Served) -> None:
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as connection:
        connection.sendall(f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n".encode())
        for _ in range(30):
            connection.sendall(b" " * 100_000)
            time.sleep(0.005)
        file = connection.makefile("rb")
        assert read_answer(file)[0] == 413
        assert file.read() == b""


def test_a_body_that_came_whole_leaves_the_connection_open(served: Served) -> None:
    answers = served.ask(http({}, method="PUT") + http({"rows": []}), http(GOOD), answers=3, pause=0.2)
    assert [(status, headers.get(b"connection")) for status, headers, _ in answers] == [(405, None), (422, None), (200, None)]


def twice(row: int | None, field: str) -> dict[str, Any]:
    return {
        "error": "a field is given twice", "problems": [{"row": row, "field": field, "reason": "is given twice"}]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "row", "field"),
    [
        ('{"rows": [%s], "moment": "%s", "rows": [%s]}', None, "rows"),
        ('{"rows": [%s], "moment": "%s", "moment" : null}', None, "moment"),
        ('{"rows": [%s, {"order_id": "a", "amount": 1, "amount": 80}], "moment": "%s"}', 1, "amount"),
        ('{"rows": [%s, {"order_id": "a", "am\\u006funt" :1, "amount": 80}], "moment": "%s"}', 1, "amount"),
        ('{"rows": [%s, {"order_id": "a", "items": {"x": 1, "x": 2}}], "moment": "%s"}', None, "x"),
    ],
)
def test_a_field_that_is_given_twice_is_refused_with_its_name(served: Served, raw: str, row: int | None, field: str) -> None:
    order = json.dumps(ORDER)
    body = raw % ((order, MOMENT, order) if raw.count("%s") == 3 else (order, MOMENT) if raw.count("%s") == 2 else (order,))
    ((status, _, told),) = served.ask(http(body.encode()))
    assert (status, json.loads(told)) == (422, twice(row, field))


@pytest.mark.parametrize("order_id", [':"', '":', '" :', 'a":"b', '{":1,":1}', '\\":'])
def test_a_text_that_looks_like_fields_is_a_text(served: Served, order_id: str) -> None:
    ((status, _, told),) = served.ask(http({"rows": [ORDER | {"order_id": order_id}] * 2, "moment": MOMENT}))
    assert (status, json.loads(told)["rows"][0]["key"]) == (200, {"order_id": order_id})


def test_a_compressed_body_is_named_as_such(served: Served) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    for headers in ("", "Content-Encoding: gzip\r\n", "Content-Encoding: br\r\n"):
        ((status, told, text),) = served.ask(http(body, headers=headers))
        assert (status, told[b"accept-encoding"]) == (415, b"identity")
        assert b"send it uncompressed" in text
    assert served.ask(http(GOOD, headers="Content-Encoding: identity\r\n"))[0][0] == 200


@pytest.mark.parametrize("text", ["o\\u0000", "o\\ud800"])
def test_text_that_cannot_be_stored_everywhere_is_refused_and_not_logged(served: Served, text: str) -> None:
    raw = json.dumps({"rows": [ORDER | {"order_id": "MARK"}], "moment": MOMENT}).replace("MARK", text).encode()
    assert served.ask(http(raw))[0][0] == 422
    assert served.ask(http(GOOD))[0][0] == 200
    log = served.service.scorers["returns"].log
    assert log.flush()
    (file,) = log.folder.glob("*.parquet")
    assert pq.read_table(file)["key"].to_pylist() == ["o-1"]


NAMES = st.text('ab:" \\', max_size=3)
SPACE = st.sampled_from(["", " ", "\n"])


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bool]:
    """The text of a row, and whether one of its objects gives a name twice."""
    pairs = draw(st.lists(st.tuples(NAMES, st.integers(0, 9) | NAMES), max_size=4))
    parts = [f"{json.dumps(name)}{draw(SPACE)}:{draw(SPACE)}{json.dumps(value)}" for name, value in pairs]
    return "{" + ",".join(parts) + "}", len({name for name, _ in pairs}) < len(pairs)


@settings(max_examples=300, deadline=None)
@given(st.lists(objects(), min_size=1, max_size=3), st.sampled_from(["", ',"moment":null', f',"moment": "{MOMENT}"']))
def test_exactly_the_bodies_with_a_field_twice_are_found(rows: list[tuple[str, bool]], moment: str) -> None:
    body = f'{{"rows":[{",".join(text for text, _ in rows)}]{moment}}}'.encode()
    double = any(flag for _, flag in rows)
    problem = field_given_twice(body)
    assert (problem is not None) == double
    if certainly_once(body, msgspec.json.decode(body, type=ScoreRequest)):
        assert not double


@pytest.mark.parametrize("depth", [10, 400, 900, 1_500, 50_000])
@pytest.mark.parametrize("number", ["1", "9" * 4_299, "9" * 4_400, "1e9999"])
def test_a_very_long_number_or_a_deep_body_is_read_or_refused(depth: int, number: str) -> None:
    body = '{"rows": [{"amount" : ' + '{"a" :' * depth + number + "}" * depth + "}]}"
    assert status_of(body.encode()) in (200, 422)


def status_of(body: bytes) -> int:
    try:
        decode(body, "score", Limits())
    except RequestRefused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError])
def test_an_error_is_logged_with_its_place_and_without_what_it_quotes(
    served: Served, kind: type[Exception], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quotes(*_: Any) -> None:
        raise kind("Zoë Unmistakable")

    monkeypatch.setattr(Scorer, "score", quotes)
    ((status, _, told),) = served.ask(http(GOOD))
    assert status == 500
    text = caplog.text + "".join(str(one.exc_info) for one in caplog.records)
    assert "Unmistakable" not in text + told.decode()
    assert f"{kind.__name__} in quotes (" in text
    assert "request_pipeline.py" in text
