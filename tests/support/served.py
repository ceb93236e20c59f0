"""The service behind its real server, in a thread of the test's process, and what goes over its connections."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import uvicorn

from demo.local_airflow import free_port
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service, uvicorn_config
from tests.support.service import SCORE
from tests.support.trained_shop import Shop

MOMENT = "2024-02-12T04:00:00+00:00"


class Served:
    """A service behind its real server, in a thread of this process."""

    def __init__(self, service: Service, fast_path: bool) -> None:
        self.service, self.port = service, free_port()
        self.by_asgi = 0  # requests that took the other way
        self.server = uvicorn.Server(uvicorn_config(service, "127.0.0.1", self.port, fast_path=fast_path))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def ask(self, *sent: bytes, answers: int = 1, pause: float = 0.0) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        """Send parts over one connection and read so many answers: status, headers, body of each."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=20)) as connection:
            for part in sent:
                connection.sendall(part)
                time.sleep(pause)
            file = connection.makefile("rb")
            return [read_answer(file) for _ in range(answers)]


def read_answer(file: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.partition(b": ")
        headers[name] = value
    return status, headers, file.read(int(headers.get(b"content-length", 0)))


def http(body: Any, *, path: str = SCORE, method: str = "POST", headers: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(raw)}\r\n{headers}\r\n".encode() + raw


@contextmanager
def serving(shop: Shop, *, fast_path: bool = True, **given: Any) -> Iterator[Served]:
    service = build_service(shop.platform, {"returns": shop.pipeline}, **{"keys_needed": False, **given})
    served = Served(service, fast_path)
    real = service.__class__.__call__

    async def counted(self: Service, scope: Any, receive: Any, send: Any) -> None:
        served.by_asgi += 1
        await real(self, scope, receive, send)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "__call__", counted)
        served.thread.start()
        while not served.server.started:
            time.sleep(0.01)
        try:
            yield served
        finally:
            served.server.should_exit = True
            served.thread.join(timeout=20)
    assert not served.thread.is_alive()
