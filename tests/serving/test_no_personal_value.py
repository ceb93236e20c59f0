"""Planted personal values stand in no file, log, mail or database, whatever is ingested, trained, asked and collected."""

import gzip
import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from benchmarks.byte_search import forms, places, unkeyed_hashes
from mlprod_tasks import steps, workflows
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.notifications import digest
from mlprod_tasks.notifications.events import Failure, tell_failure
from mlprod_tasks.notifications.uncollected import tell_uncollected
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.platform.pseudonym import pseudonym
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.rollout.routing import roll_out
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.prediction_log import log_folder
from tests.support.keys import PSEUDONYM_KEY
from tests.support.personal_shop import OF_PERSONS, PLANTED, address, fill_source, person
from tests.support.service import EXPLAIN, ORDER, SCORE, running
from tests.support.trained_shop import Shop

BAD_DAY, MOMENT = "2024-02-13", "2024-02-12T09:30:00Z"
ONE = person(4711)


class Inbox:
    """Writes each mail to a file instead of sending it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        yield self

    def send_message(self, mail: Any) -> dict[str, Any]:
        for number, part in enumerate(mail.walk()):
            payload = part.get_payload(decode=True) or b""
            headers = "".join(f"{name}: {value}\n" for name, value in part.items()).encode()
            (self.folder / f"{len(list(self.folder.iterdir()))}-{number}.mail").write_bytes(headers + payload)
        return {}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation writes in its life: home with lake, ledger, MLflow, online store and log, mails, printed text."""
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def platform(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    source = fill_source(tmp_path_factory.mktemp("source") / "shop.db", BAD_DAY)
    given = {
        "MLPROD_HOME": str(root / "var"), "MLPROD_PIPELINES": str(root), "MLPROD_EXPECTATIONS": str(root / "gx"),
        "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY, "MLPROD_CONNECTION_SHOP": source,
    }  # fmt: skip
    inbox: Any = Inbox(root / "mails")
    return Platform(from_environment(given), connect_mail=inbox)


def batch(platform: Platform) -> None:
    """Ingest, train, score, monitor and mail, with one tick that is refused."""
    schedule = OF_PERSONS.schedule
    workflows.ingest(OF_PERSONS, schedule.range("2024-01-01", "2024-02-11"), platform)
    with pytest.raises(TablesFailed) as failed:
        workflows.ingest(OF_PERSONS, schedule.range("2024-02-12", "2024-02-13"), platform)
    assert tell_failure(OF_PERSONS, Failure("k", "ingest audit", failed.value), platform)
    assert Shop(OF_PERSONS, platform).promoted("one").moved
    scored = schedule.range("2024-02-10", "2024-02-11")
    workflows.score(OF_PERSONS, scored, platform)
    workflows.monitor(OF_PERSONS, scored, platform)
    workflows.verify(OF_PERSONS, scored, platform)
    digest.tell_digest(OF_PERSONS, schedule.tick("2024-02-11"), platform)
    steps.fill_online(OF_PERSONS, schedule.tick("2024-02-11"), platform)
    steps.check_online(OF_PERSONS, schedule.tick("2024-02-11"), platform)
    roll_out(OF_PERSONS, platform, mode="champion", by="ada", reason="", automation="assist")


def ask(url: str) -> None:
    """Send good requests and every kind of bad one, each with a person's name or address in it."""
    good = ORDER | {"order_id": ONE}
    mail = address(4711)
    bodies: list[Any] = [
        {"rows": [good | {"order_id": person(i)} for i in range(3)], "moment": MOMENT},
        {"rows": [good] * 60, "moment": MOMENT},
        *({"rows": [good | wrong], "moment": MOMENT} for wrong in (
            {"order_id": [ONE]}, {"order_id": f"{ONE}\0"}, {"amount": ONE}, {"items": mail}, {"placed_at": ONE}, {ONE: 1},
            {"email": mail}, {"channel": {"of": ONE}}, {"amount": 1e308}, {"items": 2**70},
        )),
        {"rows": [good], "moment": ONE}, {"rows": [good], ONE: mail}, {"rows": ONE}, [ONE], ONE,
        {"rows": [good] * 1_001},
    ]  # fmt: skip
    text = json.dumps({"rows": [good], "moment": MOMENT})
    raw = [json.dumps(one).encode() for one in bodies]
    raw += [text[:-5].encode(), text.replace('"order_id"', f'"order_id": "{ONE}", "order_id"').encode(), ONE.encode("utf-16")]
    raw += [gzip.compress(text.encode()), text.encode("latin-1", "replace") + b"\xff", b"\xff" + text.encode()]
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        statuses = {client.post(path, content=body).status_code for path in (SCORE, EXPLAIN) for body in raw}
        assert {200, 413, 415, 422} <= statuses
        for path in (f"/{quote(ONE)}", f"/v1/pipelines/{quote(mail)}/score", f"{SCORE}?who={quote(ONE)}"):
            client.get(path, headers={"Authorization": f"Bearer {mail}", "User-Agent": mail, "Cookie": mail})
            client.post(path, content=text.encode(), headers={"Referer": mail})
        client.request(PLANTED.upper(), SCORE, content=ONE.encode())
    for broken in (
        f"GET {mail} HTTP/1.1\r\n\r\n",
        f"{mail}\r\n\r\n",
        f"POST {SCORE} HTTP/1.1\r\nContent-Length: {mail}\r\n\r\n",
    ):
        _send(url, broken.encode())
    head = f"POST {SCORE} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n"
    _send(url, head.encode() + text.encode())  # the rest never comes


def _send(url: str, raw: bytes) -> None:
    at = urlsplit(url)
    with closing(socket.create_connection((at.hostname, at.port), timeout=2)) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        try:
            connection.recv(10_000)
        except OSError:
            return


def test_a_planted_person_stands_nowhere_after_a_normal_and_a_hostile_day(
    root: Path,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    batch(platform)
    for fast_path in (True, False):
        use_case = ("tests.support.personal_shop", "OF_PERSONS")
        with running(root / "var", use_case, fast_path=fast_path, logs="DEBUG") as (url, process):
            ask(url)
            process.terminate()
            process.join(timeout=30)
        os.rename(root / "service.log", root / f"service-{fast_path}.log")
    folder = log_folder(OF_PERSONS, platform)
    (folder / "broken.parquet").write_bytes(b"PAR1")
    done = collect(OF_PERSONS, platform)
    tell_uncollected(OF_PERSONS, done.causes, platform)
    steps.measure_collected(OF_PERSONS, platform)
    ours = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]  # those are the client's
    (root / "logged.txt").write_text("\n".join(map(logging.Formatter().format, ours)))
    (root / "printed.txt").write_text("".join(capfd.readouterr()))

    hashed = pseudonym(ONE, PSEUDONYM_KEY)
    rows = platform.lake.rows(names.requests(OF_PERSONS))
    assert hashed in set(rows["key"].to_pylist()), "the requests were logged, by the hash"
    assert any(one.key == hashed for one in platform.ledger.all(Review))
    assert len(list((root / "mails").iterdir())) > 3
    assert places(root, [hashed.encode()]), "the search finds what is there"
    assert places(root, [*forms(PLANTED), *unkeyed_hashes(ONE)]) == []
    for key in (PSEUDONYM_KEY, hashlib.sha256(PSEUDONYM_KEY.encode()).hexdigest()):
        assert places(root, [key.encode()]) == []


def test_the_search_finds_a_value_however_it_is_written(tmp_path: Path) -> None:
    from base64 import b64encode

    import pyarrow as pa
    import pyarrow.parquet as pq

    mail = address(1)
    for i, raw in enumerate(
        [mail.encode(), mail.upper().encode(), mail.encode("utf-16"), b64encode(b"a" + mail.encode()), quote(ONE).encode(),
         b64encode(b"ab" + mail.encode()), b64encode(mail.encode()), mail.encode().hex().encode(), gzip.compress(mail.encode())]
    ):  # fmt: skip
        (tmp_path / f"{i}").write_bytes(raw)
    pq.write_table(pa.table({"a": [mail] * 1_000}), tmp_path / "9", compression="zstd")
    assert {place.partition(":")[0] for place in places(tmp_path, forms(PLANTED))} == {str(i) for i in range(10)}
