"""Letters over real SMTP: what is sent arrives whole, and what fails says why."""

import email
import email.policy
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlprod_tasks.platform.mailer import Mailer, MailFailed, MailMessage, connect, message

DAY = timedelta(days=1)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LETTER = MailMessage(
    ("a@example.com", "b@example.com"), "late: Zürich", "text: 3 % späte", "<p>html: 3 %</p>", (("plot", PNG),)
)


class Inbox:
    """Keeps what the server was handed; refuses whoever is called nobody@..."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if b"refuse me" in (envelope.content or b""):
            return "554 we do not like this"
        self.envelopes.append(envelope)
        return "250 OK"

    @property
    def mails(self) -> list[EmailMessage]:
        return [email.message_from_bytes(e.content or b"", policy=email.policy.default) for e in self.envelopes]  # type: ignore[arg-type,misc]


class Server(Controller):
    def __init__(self, inbox: Inbox, **options: Any) -> None:
        self.options = options
        super().__init__(inbox, hostname="127.0.0.1", port=0)

    def factory(self) -> SMTP:
        return SMTP(self.handler, **self.options)

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]

    def _trigger_server(self) -> None:
        # The controller tries its own address, which is not known before the system has chosen the port.
        self.port = int(self.address.rpartition(":")[2])
        super()._trigger_server()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def serve(inbox: Inbox) -> Iterator[Callable[..., str]]:
    """Start a server with aiosmtpd's options, or with TLS from the start; its host and port."""
    servers = []

    def start(smtps: ssl.SSLContext | None = None, **options: Any) -> str:
        server = Server(inbox, **options)
        server.ssl_context = smtps
        server.start()
        servers.append(server)
        return server.address

    yield start
    for server in servers:
        server.stop()


def login(server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data == LoginPassword(b"us er", b"p@ss"), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + made.public_bytes(Encoding.PEM))
    return pem


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def send(url: str, letter: MailMessage = LETTER, sender: str = "mlprod@example.com") -> None:
    Mailer(lambda: connect(url), sender).send(letter)


def test_a_letter_arrives_with_text_html_and_picture(serve: Callable[..., str], inbox: Inbox) -> None:
    send(f"smtp://{serve()}")
    (mail,) = inbox.mails
    assert (mail["Subject"], mail["From"], mail["To"]) == ("late: Zürich", "mlprod@example.com", "a@example.com, b@example.com")
    assert inbox.envelopes[0].rcpt_tos == ["a@example.com", "b@example.com"]
    assert mail["Date"]
    assert mail["Message-ID"]
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().strip() == "text: 3 % späte"
    assert html.get_content().strip() == "<p>html: 3 %</p>"
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert (picture["Content-ID"], picture.get_content()) == ("<plot>", PNG)


def test_a_subject_of_several_lines_stays_one_header(serve: Callable[..., str], inbox: Inbox) -> None:
    send(f"smtp://{serve()}", MailMessage(("a@example.com",), "bad\r\nBcc: thief@example.com\n\nbody", "t", "<p>h</p>"))
    (mail,) = inbox.mails
    assert mail["Subject"] == "bad Bcc: thief@example.com body"
    assert mail["Bcc"] is None
    assert inbox.envelopes[0].rcpt_tos == ["a@example.com"]


def test_what_no_mail_can_carry_arrives_as_an_escape(serve: Callable[..., str], inbox: Inbox) -> None:
    send(
        f"smtp://{serve()}",
        MailMessage(("a@example.com",), "key 'o\0' \ud800", "text\0 \ud83d\nZürich", "<p>html\0 \udfff</p>"),
    )
    (mail,) = inbox.mails
    assert mail["Subject"] == "key 'o\\x00' \\ud800"
    text, html = (part.get_content().split() for part in mail.iter_parts())
    assert (text, html) == (["text\\x00", "\\ud83d", "Zürich"], ["<p>html\\x00", "\\udfff</p>"])


def test_an_address_of_several_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline|carriage"):
        message(MailMessage(("a@example.com\nBcc: thief@example.com",), "s", "t", "h"), "mlprod@example.com")


def test_two_letters_have_two_ids(serve: Callable[..., str], inbox: Inbox) -> None:
    url = f"smtp://{serve()}"
    send(url)
    send(url)
    assert len({mail["Message-ID"] for mail in inbox.mails}) == 2


def test_a_letter_about_the_same_has_the_same_id_when_it_is_sent_again_and_another_one_has_not(
    serve: Callable[..., str], inbox: Inbox
) -> None:
    url, letter = f"smtp://{serve()}", replace(LETTER, key="orders/2024-02-12/decision")
    for one in (letter, letter, replace(letter, text="other"), replace(letter, key="orders/2024-02-13/decision")):
        send(url, one)
    first, again, *others = (mail["Message-ID"] for mail in inbox.mails)
    assert first == again
    assert len({first, *others}) == 3


def test_it_logs_in_with_what_the_url_says(serve: Callable[..., str], inbox: Inbox) -> None:
    address = serve(authenticator=login, auth_require_tls=False, auth_required=True)
    send(f"smtp://us%20er:p%40ss@{address}")
    assert len(inbox.mails) == 1


def test_a_wrong_password_is_told_without_being_told(serve: Callable[..., str], inbox: Inbox) -> None:
    address = serve(authenticator=login, auth_require_tls=False, auth_required=True)
    with pytest.raises(
        MailFailed, match=f"cannot log in as 'us er' at mail server {address}: 535 .*Check connection 'smtp'"
    ) as no:
        send(f"smtp://us%20er:secret@{address}")
    assert "secret" not in str(no.value)
    assert inbox.mails == []


def test_a_server_that_knows_no_login_is_told(serve: Callable[..., str]) -> None:
    with pytest.raises(MailFailed, match=r"cannot log in as 'me' at mail server .*not supported"):
        send(f"smtp://me:secret@{serve()}")


def test_start_tls_encrypts(
    serve: Callable[..., str],
    inbox: Inbox,
    tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    send(f"smtp://us%20er:p%40ss@{serve(tls_context=tls, require_starttls=True, authenticator=login)}?starttls=true")
    assert len(inbox.mails) == 1


def test_a_server_without_tls_is_told(serve: Callable[..., str], inbox: Inbox) -> None:
    with pytest.raises(MailFailed, match=r"cannot start TLS at mail server 127.0.0.1:.*STARTTLS extension not supported"):
        send(f"smtp://{serve()}?starttls=true")
    assert inbox.mails == []


def test_a_certificate_that_nobody_signed_is_told(serve: Callable[..., str], inbox: Inbox, tls: ssl.SSLContext) -> None:
    with pytest.raises(MailFailed, match=r"cannot start TLS at mail server .*certificate"):
        send(f"smtp://{serve(tls_context=tls)}?starttls=true")
    with pytest.raises(MailFailed, match=r"cannot open a session at mail server .*certificate"):
        send(f"smtps://{serve(smtps=tls)}")
    assert inbox.mails == []


def test_tls_from_the_start_encrypts(
    serve: Callable[..., str], inbox: Inbox, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    send(f"smtps://{serve(smtps=tls)}")
    assert len(inbox.mails) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(MailFailed, match=r"cannot open a session at mail server 127.0.0.1:1: ConnectionRefusedError"):
        send("smtp://127.0.0.1:1")


@pytest.mark.parametrize("url", ["http://mail.example.com", "mail.example.com:25", ""])
def test_a_connection_that_is_no_mail_server_is_told(url: str) -> None:
    with pytest.raises(MailFailed, match="connection 'smtp' must be smtp://host:port"):
        connect(url)


def test_a_letter_that_the_server_refuses_is_told(serve: Callable[..., str]) -> None:
    letter = MailMessage(("a@example.com",), "a subject", "refuse me", "<p>h</p>")
    with pytest.raises(MailFailed, match=r"did not accept 'a subject' from .* to a@example.com: 554 we do not like this"):
        send(f"smtp://{serve()}", letter)


def test_recipients_that_are_all_refused_are_told(serve: Callable[..., str]) -> None:
    with pytest.raises(MailFailed, match=r"nobody@example.com: 550 no such mailbox. Check alert_to"):
        send(f"smtp://{serve()}", MailMessage(("nobody@example.com",), "s", "t", "h"))


def test_one_recipient_of_two_that_is_refused_does_not_go_unsaid(
    serve: Callable[..., str], inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    send(f"smtp://{serve()}", MailMessage(("a@example.com", "nobody@example.com"), "s", "t", "h"))
    assert inbox.envelopes[0].rcpt_tos == ["a@example.com"]
    assert "refused nobody@example.com, one of several recipients: 550 no such mailbox" in caplog.text
