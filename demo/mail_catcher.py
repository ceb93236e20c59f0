"""A mail server that keeps received mails in a folder and shows them on a page: the demo's outbox."""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import signal
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from mlprod_tasks.platform.files import write_bytes


class Outbox:
    """Mails as .eml files, numbered in the order of arrival."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def keep(self, content: bytes) -> None:
        with self._lock:
            name = f"{len(self.files()) + 1:04d}.eml"
            write_bytes(self.folder / name, content)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.eml"))

    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in self.files()]  # type: ignore[arg-type]


class MailCatcher:
    """The SMTP server and the page, both on threads of this process. Port 0 takes a free one."""

    def __init__(self, folder: Path, smtp_port: int = 0, http_port: int = 0, host: str = "127.0.0.1") -> None:
        self.outbox = Outbox(folder)
        self._smtp = _Smtp(_Keeper(self.outbox), hostname=host, port=smtp_port)
        self._page = ThreadingHTTPServer((host, http_port), _page(self.outbox))

    def __enter__(self) -> MailCatcher:
        self._smtp.start()
        threading.Thread(target=self._page.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._page.shutdown()
        self._page.server_close()
        self._smtp.stop()

    @property
    def smtp_port(self) -> int:
        return self._smtp.port

    @property
    def http_port(self) -> int:
        return int(self._page.server_address[1])


class _Keeper:
    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.outbox.keep(envelope.content)
        return "250 kept"


class _Smtp(Controller):
    """A controller that knows its port when it was started on port 0."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def _page(outbox: Outbox) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mails = outbox.mails()
            if (found := re.fullmatch(r"/(\d+)", self.path)) and 0 < int(found[1]) <= len(mails):
                self._answer(_html(mails[int(found[1]) - 1]))
            elif self.path == "/":
                self._answer(_list(mails))
            else:
                self.send_error(404)

        def _answer(self, page: str) -> None:
            body = page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Page


def _list(mails: list[EmailMessage]) -> str:
    rows = "".join(
        f'<tr><td>{i}</td><td><a href="/{i}">{escape(str(mail["Subject"]))}</a></td>'
        f"<td>{escape(str(mail['To']))}</td><td>{escape(str(mail['Date']))}</td></tr>"
        for i, mail in enumerate(mails, 1)
    )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:32px auto}table{border-collapse:collapse;width:100%}"
    )
    style += "h1{font-size:20px}td,th{padding:8px;text-align:left;border-bottom:1px solid #e6e9ec}"
    return (
        f'<!doctype html><html lang="en"><title>Outbox</title><style>{style}</style><body><h1>Outbox: {len(mails)} mails</h1>'
        f"<table><tr><th>#</th><th>subject</th><th>to</th><th>sent</th></tr>{rows}</table></body></html>"
    )


def _html(mail: EmailMessage) -> str:
    """The mail's HTML with its pictures embedded."""
    body = mail.get_body(("html", "plain"))
    assert body is not None
    html = body.get_content() if body.get_content_subtype() == "html" else f"<pre>{escape(body.get_content())}</pre>"
    for part in mail.walk():
        if part.get_content_maintype() == "image" and part["Content-ID"]:
            data = base64.b64encode(part.get_payload(decode=True)).decode()  # type: ignore[arg-type]
            html = html.replace(f"cid:{part['Content-ID'].strip('<>')}", f"data:{part.get_content_type()};base64,{data}")
    return str(html)


def main() -> None:
    """Catch mails until SIGTERM or SIGINT."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--smtp-port", type=int, default=1025)
    arguments.add_argument("--http-port", type=int, default=8025)
    arguments.add_argument("--folder", type=Path, default=Path("var/outbox"))
    arguments.add_argument("--host", default="127.0.0.1")
    given = arguments.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with MailCatcher(given.folder, given.smtp_port, given.http_port, given.host) as catcher:
        print(f"mail on port {catcher.smtp_port}, outbox at http://{given.host}:{catcher.http_port}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
