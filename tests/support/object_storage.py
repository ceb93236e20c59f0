"""A real S3 server on this machine, and a proxy before it that is slow, refuses, or loses answers where a test says so."""

from __future__ import annotations

import http.client
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server_process import server_process

CONTROL = "/-/faults"
S3_LIBRARIES = Path(sys.prefix) / "s3-server"  # where `make install` puts moto and what it needs


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of a server."""

    name: str
    port: int

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self, port: int | None = None, key: str = "key", secret: str = "s3cret") -> str:
        """The URL of a connection to it, as Airflow writes it. port: of a proxy."""
        endpoint = f"http%3A%2F%2F127.0.0.1%3A{port or self.port}"
        return f"aws://{key}:{secret}@/?region_name=us-east-1&endpoint_url={endpoint}"

    def put(self, name: str, content: bytes) -> None:
        assert _ask(self.port, "PUT", f"/{self.name}/{name}", content)[0] == 200


def _ask(port: int, method: str, path: str, content: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, content)
    answer = connection.getresponse()
    said = answer.status, answer.read()
    connection.close()
    return said


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """A real S3 server, as long as the session lives."""
    with server_process("s3_server.py", S3_LIBRARIES) as port:
        yield port


@pytest.fixture
def bucket(s3_port: int) -> Bucket:
    """A bucket of the test's own."""
    return new_bucket(s3_port)


def new_bucket(port: int) -> Bucket:
    """Make an empty bucket."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    assert _ask(port, "PUT", f"/{name}")[0] == 200
    return Bucket(name, port)


@dataclass
class FaultyProxy:
    """A proxy before the server, as a process of its own: some calls of delta-rs keep Python's lock while they wait."""

    port: int

    def befall(self, fault: str | float, method: str = ".*", path: str = ".*", times: int = 1) -> None:
        """Let a fault befall the next requests whose method and path match; further ones are passed on as they are.

        fault: 'busy' is answered 503, 'lost' is done but not answered, 'cut' gets half of an answer, 'dropped' is neither done
        nor answered, 'unconditional' loses its condition, 'unimplemented' is answered 501 if it
        has one or asks for a copy; a number of seconds is waited before it is passed on.
        """
        said = json.dumps({"fault": fault, "method": method, "path": path, "times": times})
        assert _ask(self.port, "POST", CONTROL, said.encode())[0] == 200

    def seen(self) -> list[tuple[str, str, str | float | None]]:
        """All requests: method, path and what befell it."""
        return [tuple(one) for one in json.loads(_ask(self.port, "GET", CONTROL)[1])]  # type: ignore[misc]

    def befallen(self) -> int:
        return sum(fault is not None for _, _, fault in self.seen())


@contextmanager
def faulty_proxy(s3_port: int) -> Iterator[FaultyProxy]:
    """A proxy before the server without faults."""
    with server_process("faulty_proxy.py", S3_LIBRARIES, str(s3_port)) as port:
        yield FaultyProxy(port)


@pytest.fixture
def proxy(s3_port: int) -> Iterator[FaultyProxy]:
    """A proxy before the server without faults."""
    with faulty_proxy(s3_port) as made:
        yield made
