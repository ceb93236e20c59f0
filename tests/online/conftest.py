"""The real year and the small shop of the feature tests, and the three kinds of store, each a real one."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mlprod_tasks.platform.online_store import OnlineStore, open_store
from tests.conftest import shop as orders_shop
from tests.features.conftest import Shop, put, real_year, shop

__all__ = ["Shop", "orders_pipeline", "put", "real_year", "shop"]
orders_pipeline = pytest.fixture(scope="session", name="orders_pipeline")(orders_shop.__wrapped__)


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


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'online.db'}"
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_database"))
    url = str(request.getfixturevalue("redis_url"))
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[OnlineStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()
