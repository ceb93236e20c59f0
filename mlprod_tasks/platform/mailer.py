"""Send mail over SMTP: text and HTML with embedded pictures."""

from __future__ import annotations

import hashlib
import logging
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

from mlprod_tasks.platform.storable_text import one_line, visible

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 30
DOMAIN = "mlprod"  # of message ids
DEFAULT_PORT = {"smtp": 25, "smtps": 465}


class MailFailed(OSError):
    """The mail server did not accept a mail or could not be reached.

    The message says where, why and what to check.
    """


@dataclass(frozen=True)
class MailMessage:
    """One mail.

    pictures: PNGs by content id, shown in the HTML as <img src="cid:NAME">. attachments: HTML pages by file name. key: what it
    is about; if given, the same mail sent again has the same Message-ID, by which mail systems drop the second one.
    """

    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    pictures: tuple[tuple[str, bytes], ...] = ()
    attachments: tuple[tuple[str, str], ...] = ()
    key: str = ""


class Mailer:
    """Sends mails. connect: opens a session with the mail server and logs in if necessary."""

    def __init__(self, connect: Callable[[], smtplib.SMTP], sender: str) -> None:
        self._connect = connect
        self._sender = sender

    def send(self, mail: MailMessage) -> None:
        """Send the mail. Raises: MailFailed if the server does not accept it."""
        with self._connect() as server:
            try:
                refused = server.send_message(message(mail, self._sender))
            except (OSError, smtplib.SMTPException) as error:
                raise MailFailed(
                    f"the mail server did not accept {mail.subject!r} from {self._sender} to {', '.join(mail.to)}: "
                    f"{_answer_of(error)}. Check alert_to in the declaration and MLPROD_MAIL_FROM"
                ) from error
        for address, (code, reason) in refused.items():
            log.error("the mail server refused %s, one of several recipients: %s %s", address, code, _text(reason))


def connect(url: str) -> smtplib.SMTP:
    """Open smtp://user:password@host:port, or smtps:// for TLS from the start.

    `?starttls=true` upgrades a plain one.

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
        raise MailFailed(
            f"cannot {doing} at mail server {host}:{port}: {_answer_of(error)}. Check connection 'smtp'"
        ) from error
    return server


def _answer_of(error: Exception) -> str:
    """The server's answer as text, without the bytes and tuples of smtplib."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{address}: {code} {_text(reason)}" for address, (code, reason) in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def message(mail: MailMessage, sender: str) -> EmailMessage:
    """The mail in MIME: plain text, and HTML with pictures as the alternative."""
    mime = EmailMessage()
    mime["From"], mime["To"], mime["Subject"] = sender, ", ".join(mail.to), one_line(mail.subject)
    mime["Date"], mime["Message-ID"] = formatdate(), _id_of(mail, sender) if mail.key else make_msgid(domain=DOMAIN)
    mime.set_content(visible(mail.text))
    mime.add_alternative(visible(mail.html), subtype="html")
    html = mime.get_payload()[1]  # type: ignore[index]
    for name, png in mail.pictures:
        html.add_related(png, "image", "png", cid=f"<{name}>")  # type: ignore[union-attr]
    for name, page in mail.attachments:
        # As bytes: text would get different line ends, and the digests in the page's security policy would no longer match.
        mime.add_attachment(page.encode(), "text", "html", filename=name, params={"charset": "utf-8"})
    return mime


def _id_of(mail: MailMessage, sender: str) -> str:
    """The id of this very mail. Another installation's mail about the same has another sender or another text."""
    told = "\0".join((mail.key, sender, *mail.to, mail.subject, mail.text))
    return f"<{hashlib.sha256(told.encode(errors='surrogatepass')).hexdigest()[:32]}@{DOMAIN}>"
