"""A real MariaDB for tests, which lives as long as the session."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

SERVER = (
    "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0", "--default-time-zone=+05:00",
)  # fmt: skip


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MariaDB, the one that MLPROD_TEST_MARIADB names, else one on a free port, whose time zone is not UTC."""
    if given := os.environ.get("MLPROD_TEST_MARIADB"):
        yield given
        return
    binary = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("NO MARIADB: mariadbd is not installed, so sources there are NOT tested (apt-get install mariadb-server)")
    folder = tmp_path_factory.mktemp("mariadb")
    data, user = f"--datadir={folder / 'data'}", ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", *user]
    subprocess.run(install, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = [f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", f"--port={port}", *user]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([binary, "--no-defaults", data, *own, *SERVER], stdout=log, stderr=log)
    try:
        _wait(port, server, folder / "log")
        yield f"mysql://root@127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(30)


def _wait(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="root").close()
            return
        except pymysql.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")) from None
            time.sleep(0.05)


@pytest.fixture
def mariadb_database(mariadb_url: str) -> Iterator[str]:
    """A database of its own on that server, whose texts are Latin by default, dropped after the test."""
    from sqlalchemy import text

    from mlprod_tasks.platform.database import open_database

    name = f"test_{uuid.uuid4().hex[:12]}"
    with open_database(mariadb_url, writes=True).connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET latin1"))
    yield f"{mariadb_url}{name}"
    with open_database(mariadb_url, writes=True).connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
