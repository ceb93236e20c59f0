"""A server that speaks Snowflake's protocol, for the project's own driver."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server_process import server_process

LIBRARIES = Path(sys.prefix) / "snowflake-server"  # where `make install` puts fakesnow and what it needs


@dataclass(frozen=True)
class SnowflakeDatabase:
    """A database of a server, with an empty schema PUBLIC. url: of a connection to it."""

    url: str

    def run(self, *statements: str) -> None:
        from mlprod_tasks.platform.database import open_database

        with open_database(self.url).connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def snowflake_port() -> Iterator[int]:
    """A server that speaks Snowflake's protocol, as long as the session lives."""
    with server_process("snowflake_server.py", LIBRARIES) as port:
        yield port


@pytest.fixture
def snowflake(snowflake_port: int) -> SnowflakeDatabase:
    """A database of the test's own."""
    name = f"db_{uuid.uuid4().hex[:12]}"
    at = f"host=127.0.0.1&port={snowflake_port}&protocol=http"
    SnowflakeDatabase(f"snowflake://me:secret@account?{at}").run(f"CREATE DATABASE {name}", f"CREATE SCHEMA {name}.public")
    return SnowflakeDatabase(f"snowflake://me:secret@account/{name}/public?{at}")
