"""What the OpenAPI document promises holds for requests that nobody thought of: by its schemas, almost, and not at all."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openapi_spec_validator
import pyarrow.parquet as pq
import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from mlprod_tasks.serving.keys import make_key
from tests.support.fuzzed_shop import ASKED
from tests.support.service import EXPLAIN, SCORE, running
from tests.support.trained_shop import platform_at

MOMENT = "2024-02-12T09:30:00Z"
FUZZ_SECONDS = 60 if "MLPROD_HOSTILE_EXAMPLES" in os.environ else 15

ROW: dict[str, Any] = {
    "order_id": "o-1", "placed_at": "2024-02-12T09:30:00Z", "channel": "web", "amount": 80.5, "items": 2, "country": "CH",
    "packing": "box", "weight": 1.5, "lines": 2, "gift": False, "wished": "2024-02-14", "paid_at": "2024-02-12T09:31:00+01:00",
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A running service, a key that it knows, and the document that it gives of itself."""

    url: str
    key: str
    process: BaseProcess
    document: dict[str, Any]
    client: httpx.Client
    home: Path

    def ask(self, rows: list[Any], path: str = SCORE, moment: str = MOMENT) -> httpx.Response:
        # The standard library's JSON says what httpx refuses to, such as a lone surrogate.
        content = json.dumps({"rows": rows, "moment": moment}).encode()
        return self.client.post(path, content=content, headers={"authorization": f"Bearer {self.key}"})

    def conforms(self, answer: httpx.Response, path: str, method: str) -> None:
        """The answer is one that the document lists for the operation, and looks as it says."""
        listed = self.document["paths"][path][method]["responses"]
        assert str(answer.status_code) in listed, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        ((kind, _),) = listed[str(answer.status_code)]["content"].items()
        assert answer.headers["content-type"] == kind
        self.validator("paths", path, method, "responses", str(answer.status_code), "content", kind, "schema").validate(
            answer.json()
        )

    def validator(self, *where: str) -> jsonschema.Draft202012Validator:
        """Of the schema at this place of the document."""
        registry: Registry[Any] = Registry().with_resource("urn:document", Resource(self.document, DRAFT202012))
        pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in where)
        return jsonschema.Draft202012Validator({"$ref": f"urn:document#/{pointer}"}, registry=registry)

    @property
    def row(self) -> jsonschema.Draft202012Validator:
        """Of a row to be scored."""
        body = "paths", SCORE, "post", "requestBody", "content", "application/json", "schema"
        return self.validator(*body, "properties", "rows", "items")


@pytest.fixture(scope="module")
def served(promoted_home: Path, tmp_path_factory: pytest.TempPathFactory, fast_path: bool) -> Iterator[Served]:
    """A real process on a free port, which asks for keys."""
    home = tmp_path_factory.mktemp("fuzzed") / "var"
    shutil.copytree(promoted_home, home)
    key, _ = make_key((ASKED.name,), "the fuzzer", "ada", platform_at(home))
    with (
        running(home, ("tests.support.fuzzed_shop", "ASKED"), keys_needed=True, fast_path=fast_path) as (url, process),
        httpx.Client(base_url=url, trust_env=False, timeout=20) as client,
    ):
        yield Served(url, key, process, client.get("/openapi.json").json(), client, home)


def test_the_document_is_valid(served: Served) -> None:
    openapi_spec_validator.validate(served.document)
    assert served.row.is_valid(ROW)
    served.conforms(served.ask([ROW]), SCORE, "post")


def test_a_fuzzer_that_knows_the_document_alone_finds_no_answer_that_it_does_not_promise(
    served: Served, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {served.key}", "--seed", "1", "--no-color"]
    command += ["--max-examples", "30", "--max-time", str(FUZZ_SECONDS)]
    # A schema cannot say that a moment must have passed: what is valid by it may be refused, as the next test has it.
    command += ["--exclude-checks", "positive_data_acceptance"]
    (tmp_path / "schemathesis.toml").write_text(
        "[checks]\nnegative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 413, 422, 429]\n"
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100 + 2 * FUZZ_SECONDS)
    assert done.returncode == 0, _found(done.stdout + done.stderr)
    asked = re.search(r"(\d+) generated", done.stdout)
    assert asked is not None
    assert int(asked[1]) > 2 * FUZZ_SECONDS, done.stdout[-2000:]  # as many as a slow machine makes in that time


def _found(text: str) -> str:
    """What the fuzzer says, without the bodies of a thousand rows."""
    return "\n".join(line[:300] for line in text.splitlines())


def test_a_row_that_is_valid_by_the_schema_is_answered_or_a_field_of_it_is_named(served: Served) -> None:
    operation = schemathesis.openapi.from_dict(served.document)[SCORE]["POST"]
    statuses: list[int] = []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(schemathesis.GenerationMode.POSITIVE), own_moment=st.booleans())
    def check(case: Any, own_moment: bool) -> None:
        rows = case.body["rows"][:20]
        asked = case.body.get("moment") if own_moment else None
        answer = served.ask(rows, moment=asked or MOMENT)
        served.conforms(answer, SCORE, "post")
        statuses.append(answer.status_code)
        if answer.status_code == 200:
            assert len(answer.json()["rows"]) == len(rows)
            assert [one["key"]["order_id"] for one in answer.json()["rows"]] == [row["order_id"] for row in rows]
        else:
            assert answer.status_code == 422
            assert {one["field"] for one in answer.json()["problems"]} <= {"moment", *ROW}

    check()
    assert statuses.count(200) > 0.3 * len(statuses), "most of them were refused: this shows nothing"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
# Where things break: ends of types, of the calendar, of Unicode.
EDGES = st.sampled_from(
    [2**63, -(2**63) - 1, 2**64, 10**400, 1e308, -0.0, 5e-324, 0, -1, 100.0000001, 99.5, "", "\x00", "\ud800", "x" * 10_001,
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2016-12-31T23:59:60Z", "0000-01-01", "2024-02-30",
     "2024-02-12T09:30:00", "9999-12-31", "2024-W07-1", "NaN", "CH ", "ch", [], {}]
)  # fmt: skip
NAMES = st.sampled_from([*ROW, "street", "settled", "tick", "Amount", ""])


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(name=NAMES, value=EDGES | JSON, left_out=st.booleans())
@example(name="street", value="a person's", left_out=False)
@example(name="settled", value=True, left_out=False)
@example(name="lines", value=33.0, left_out=False)
@example(name="placed_at", value="9999-12-31T23:59:59.999999-14:00", left_out=False)
def test_a_row_with_one_wrong_field_is_refused_for_that_field_alone(
    served: Served, name: str, value: Any, left_out: bool
) -> None:
    row = {key: old for key, old in ROW.items() if key != name} | ({} if left_out else {name: value})
    answer = served.ask([ROW, row])
    served.conforms(answer, SCORE, "post")
    if answer.status_code == 200:
        wrong = [error.message for error in served.row.iter_errors(row)]
        assert not wrong, f"this was answered: {wrong}"
        return
    assert answer.status_code == 422
    body_readable = answer.json()["error"] != "the body cannot be read"
    assert {(one["row"], one["field"]) for one in answer.json()["problems"]} == ({(1, name)} if body_readable else {(None, "")})
    if not body_readable:
        assert isinstance(value, str | float | int | list | dict), "only what is no JSON is no body"
        assert _beyond_json(value)


def _beyond_json(value: Any) -> bool:
    """Numbers and texts that JSON's grammar allows and no double and no Unicode text holds."""
    if isinstance(value, dict):
        return any(_beyond_json(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(_beyond_json, value))
    if isinstance(value, str):
        return any("\ud800" <= letter <= "\udfff" for letter in value)
    return isinstance(value, int) and abs(value) > 1.8e308


TOKEN = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=10)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]) | TOKEN
PATHS = st.sampled_from(
    [SCORE, EXPLAIN, "/v1/pipelines/returns", "/health", "/ready", "/openapi.json", "/metrics", f"{SCORE}/", "//", "/v1",
     "/v1/pipelines/other/score", "/v1/pipelines/../returns", "/%00", "/%ff%fe", "/v1/pipelines/returns%2fscore",
     f"{SCORE}?a=1"]
) | st.text("abc/.%20;?#é", max_size=20).map(lambda text: "/" + text)  # fmt: skip
HEADER_NAMES = st.sampled_from(
    [
        "authorization",
        "content-type",
        "accept",
        "content-encoding",
        "x-forwarded-for",
        "cookie",
        "upgrade",
        "connection",
        "range",
    ]
)
HEADER_VALUES = st.sampled_from(
    ["", "Bearer", "Bearer  x y", "Bearer x", "Basic eDp4", "gzip", "text/plain", "\xe9\xff", "websocket", "close", "a" * 5000]
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    method=METHODS,
    path=PATHS,
    headers=st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=3),
    body=st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode()),
    with_key=st.booleans(),
)
@example(method="POST", path="/health", headers=[], body=b"", with_key=False)
@example(method="TRACE", path="/metrics", headers=[], body=b"", with_key=False)
def test_nonsense_of_any_kind_gets_a_refusal_with_a_reason(
    served: Served, method: str, path: str, headers: list[tuple[str, str]], body: bytes, with_key: bool
) -> None:
    given_key = [("authorization", f"Bearer {served.key}")] if with_key else []
    sent = [(name, value.encode("latin-1")) for name, value in given_key + headers]
    answer = served.client.request(method, httpx.URL(served.url + path), headers=sent, content=body)
    told = served.document["paths"].get(answer.url.path, {})
    if method.lower() in told:
        served.conforms(answer, answer.url.path, method.lower())
        return
    open_to_all = (answer.url.path in ("/openapi.json", "/metrics") and method == "GET") or method == "HEAD"
    allowed = {200} if open_to_all else set()
    assert answer.status_code in allowed | {400, 401, 403, 404, 405}, answer.text[:300]
    if answer.status_code == 405:
        assert answer.headers["allow"]
    if answer.status_code not in (200, 400) and method != "HEAD":
        assert answer.json()["error"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(sent=st.binary(min_size=1, max_size=300) | st.binary(max_size=80).map(lambda rest: b"POST " + rest + b"\r\n\r\n"))
@example(sent=b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
@example(sent=f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
@example(
    sent=b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
def test_bytes_that_are_no_request_do_no_harm(served: Served, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := _received(connection):
            got += part
    statuses = [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3})", got)]
    assert all(status < 500 for status in statuses), got[:300]


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_after_all_of_it_the_process_answers_as_before_and_has_noted_it(served: Served) -> None:
    assert served.process.is_alive()
    first, second = served.ask([ROW]), served.ask([ROW])
    assert first.status_code == second.status_code == 200
    assert first.json()["rows"] == second.json()["rows"]
    served.process.terminate()
    served.process.join(timeout=30)
    assert served.process.exitcode in (0, -signal.SIGTERM)
    noted = [
        one for file in (served.home / "online_log").rglob("*.parquet") for one in pq.read_table(file)["request_id"].to_pylist()
    ]
    assert {first.json()["request_id"], second.json()["request_id"]} <= set(noted)
