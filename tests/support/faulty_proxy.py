"""An HTTP proxy before a server on this machine: `faulty_proxy.py PORT` prints its own port.

What befalls which requests is posted to /-/faults as JSON, and read there; see `FaultyProxy`.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTROL = "/-/faults"
HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
UNIMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>A header implies functionality that is missing</Message></Error>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_port = 0
    faults: list[dict[str, Any]] = []  # noqa: RUF012  # of the process
    seen: list[tuple[str, str, Any]] = []  # noqa: RUF012
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == CONTROL:
            self._control(body)
            return
        fault = self._befalls()
        if isinstance(fault, int | float):
            time.sleep(fault)
        if fault == "busy":
            self._answer(503, {}, BUSY)
            return
        if fault == "unimplemented" and (self.headers.get("If-None-Match") or self.headers.get("X-Amz-Copy-Source")):
            self._answer(501, {}, UNIMPLEMENTED)
            return
        if fault == "dropped":
            self.close_connection = True
            return
        answer, content = self._ask(body, fault)
        if fault == "lost":
            self.close_connection = True
            return
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, headers, content, length, half=fault == "cut")

    def _befalls(self) -> str | float | None:
        with self.lock:
            found = next(
                (
                    one
                    for one in self.faults
                    if one["times"] and re.fullmatch(one["method"], self.command) and re.search(one["path"], self.path)
                ),
                None,
            )
            fault: str | float | None = None
            if found:
                found["times"] -= 1
                fault = found["fault"]
            self.seen.append((self.command, self.path, fault))
            return fault

    def _ask(self, body: bytes, fault: str | float | None) -> tuple[http.client.HTTPResponse, bytes]:
        dropped = "if-none-match" if fault == "unconditional" else ""
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != dropped}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def _control(self, body: bytes) -> None:
        with self.lock:
            if self.command == "POST":
                self.faults[:] = [json.loads(body)]
            said = json.dumps(self.seen).encode()
        self._answer(200, {}, said)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, length: str | None = None, *, half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request


if __name__ == "__main__":
    Handler.server_port = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()  # until the tests close it, or end
