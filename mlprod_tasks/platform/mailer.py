"""Mail over SMTP: text and HTML, with pictures inside."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

CONNECTION = "smtp"
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Letter:
    """One mail. `pictures` are PNGs by content id, shown in the HTML as <img src="cid:NAME">."""

    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    pictures: tuple[tuple[str, bytes], ...] = ()


class Mailer:
    """Sends letters through connection 'smtp': smtp://user:password@host:port, smtps:// for TLS from the start.

    `?starttls=true` upgrades a plain connection.
    """

    def __init__(self, connection: Callable[[str], str], sender: str) -> None:
        self._connection = connection
        self._sender = sender

    def send(self, letter: Letter) -> None:
        """Hand the letter to the server. Raises: OSError or smtplib.SMTPException where it does not take it."""
        url = urlsplit(self._connection(CONNECTION))
        host, tls = url.hostname or "localhost", url.scheme == "smtps"
        context = ssl.create_default_context()
        if tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, url.port or 465, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, url.port or 25, timeout=TIMEOUT_SECONDS)
        with server:
            if not tls and parse_qs(url.query).get("starttls") == ["true"]:
                server.starttls(context=context)
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(message(letter, self._sender))


def message(letter: Letter, sender: str) -> EmailMessage:
    """The letter in MIME: plain text first, HTML with its pictures as the richer alternative."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(letter.to), " ".join(letter.subject.split())
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="mlprod")
    mail.set_content(letter.text)
    mail.add_alternative(letter.html, subtype="html")
    html = mail.get_payload()[1]  # type: ignore[index]
    for name, png in letter.pictures:
        html.add_related(png, "image", "png", cid=f"<{name}>")  # type: ignore[union-attr]
    return mail
