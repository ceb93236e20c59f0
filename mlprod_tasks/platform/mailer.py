"""Mail over SMTP: text and HTML, with pictures inside."""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 30
DEFAULT_PORT = {"smtp": 25, "smtps": 465}


class MailFailed(OSError):
    """The mail server did not take a letter, or could not be reached. Says where, why, and what to look at."""


@dataclass(frozen=True)
class MailMessage:
    """One mail.

    pictures: PNGs by content id, shown in the HTML as <img src="cid:NAME">. attachments: HTML pages by file name.
    """

    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    pictures: tuple[tuple[str, bytes], ...] = ()
    attachments: tuple[tuple[str, str], ...] = ()


class Mailer:
    """Sends letters. `connect` opens a session with the mail server, logged in where it must be."""

    def __init__(self, connect: Callable[[], smtplib.SMTP], sender: str) -> None:
        self._connect = connect
        self._sender = sender

    def send(self, letter: MailMessage) -> None:
        """Hand the letter to the server. Raises: MailFailed where it does not take it."""
        with self._connect() as server:
            try:
                refused = server.send_message(message(letter, self._sender))
            except (OSError, smtplib.SMTPException) as error:
                raise MailFailed(
                    f"the mail server did not take {letter.subject!r} from {self._sender} to {', '.join(letter.to)}: "
                    f"{_told(error)}. Check alert_to in the declaration and MLPROD_MAIL_FROM"
                ) from error
        for address, (code, reason) in refused.items():
            log.error("the mail server refused %s, one of several recipients: %s %s", address, code, _text(reason))


def connect(url: str) -> smtplib.SMTP:
    """Open smtp://user:password@host:port, or smtps:// for TLS from the start; `?starttls=true` upgrades a plain one.

    Raises: MailFailed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps"):
        raise MailFailed("connection 'smtp' must be smtp://host:port or smtps://host:port")
    host, port, context = parts.hostname or "localhost", parts.port or DEFAULT_PORT[parts.scheme], ssl.create_default_context()
    doing = "open a session"
    server: smtplib.SMTP | None = None
    try:
        if parts.scheme == "smtps":
            server = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
            if parse_qs(parts.query).get("starttls") == ["true"]:
                doing = "start TLS"
                server.starttls(context=context)
        if parts.username:
            doing = f"log in as {unquote(parts.username)!r}"
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except (OSError, smtplib.SMTPException) as error:
        if server is not None:
            server.close()
        raise MailFailed(f"cannot {doing} at mail server {host}:{port}: {_told(error)}. Check connection 'smtp'") from error
    return server


def _told(error: Exception) -> str:
    """What the server said, without the bytes and tuples that smtplib wraps it in."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{address}: {code} {_text(reason)}" for address, (code, reason) in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def message(letter: MailMessage, sender: str) -> EmailMessage:
    """The letter in MIME: plain text first, HTML with its pictures as the richer alternative."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(letter.to), " ".join(letter.subject.split())
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="mlprod")
    mail.set_content(letter.text)
    mail.add_alternative(letter.html, subtype="html")
    html = mail.get_payload()[1]  # type: ignore[index]
    for name, png in letter.pictures:
        html.add_related(png, "image", "png", cid=f"<{name}>")  # type: ignore[union-attr]
    for name, page in letter.attachments:
        # As bytes: as text its line ends would change, and with them the digests in its security policy.
        mail.add_attachment(page.encode(), "text", "html", filename=name, params={"charset": "utf-8"})
    return mail
