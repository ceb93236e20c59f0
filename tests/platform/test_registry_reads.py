"""What is read of a registry without MLflow's library is what MLflow's own client reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from demo.airflow_api import poll
from demo.local_airflow import LOOPBACK, free_port
from mlprod_tasks.platform.registry_reads import ClientReads, RegistryReads, RestReads, SqlReads, StoredVersion, open_reads

TAGS = {"mlprod.digest": "d" * 64, "ä": "ö, 'quoted'", "empty": ""}


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """Two versions of a model, the second is champion; a third one is deleted, with its alias."""
    home = tmp_path_factory.mktemp("registry")
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    run = client.create_run(client.create_experiment("e", artifact_location=(home / "artifacts").as_uri())).info.run_id
    client.create_registered_model("returns")
    for tags in (TAGS, {}, {"gone": "yes"}):
        client.create_model_version("returns", f"runs:/{run}/model", run, tags=tags)
    client.set_registered_model_alias("returns", "champion", "2")
    client.set_registered_model_alias("returns", "late", "3")
    client.delete_model_version("returns", "3")
    return home / "mlflow.db"


@pytest.fixture(scope="module")
def server(database) -> Iterator[str]:
    """The address of an MLflow server on that database."""
    url = f"http://{LOOPBACK}:{free_port()}"
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", LOOPBACK, "--workers", "1"]
    command += ["--port", url.rsplit(":", 1)[1], "--backend-store-uri", f"sqlite:///{database}"]
    log = database.with_name("server.log")
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=database.parent, stdout=out, stderr=out, start_new_session=True)
    try:
        poll(lambda: _answers(url), seconds=90, waiting_for=lambda: log.read_text(errors="replace"))
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it only reads, and its workers do not end with it
        process.wait(timeout=60)


def _answers(url: str) -> bool | None:
    try:
        RestReads(url).version("returns", 1)
    except OSError:
        return None
    return True


def held_to(reads: RegistryReads, database: Path) -> None:
    """Compare every read with that of MLflow's own client."""
    own = ClientReads(MlflowClient(f"sqlite:///{database}"))
    for version in (1, 2, 3, 4):
        assert reads.version("returns", version) == own.version("returns", version)
    for alias in ("champion", "late", "nobody"):
        assert reads.by_alias("returns", alias) == own.by_alias("returns", alias)
    assert reads.version("other", 1) is None is own.version("other", 1)
    assert reads.by_alias("other", "champion") is None is own.by_alias("other", "champion")
    first = reads.version("returns", 1)
    assert isinstance(first, StoredVersion)
    assert (first.version, dict(first.tags)) == (1, TAGS)
    assert reads.version("returns", 3) is None, "it is deleted"


def test_a_database_is_read_as_the_client_reads_it(database):
    reads = open_reads(f"sqlite:///{database}", lambda: pytest.fail("the client is not needed"))
    assert isinstance(reads, SqlReads)
    held_to(reads, database)


def test_a_server_is_read_as_the_client_reads_it(database, server, monkeypatch):
    monkeypatch.setenv("HOME", str(database.parent))  # where a login for MLflow's client might be
    reads = open_reads(server, lambda: pytest.fail("the client is not needed"))
    assert isinstance(reads, RestReads)
    held_to(reads, database)


def test_an_alias_that_is_moved_is_seen_at_the_next_read(database):
    reads, client = SqlReads(f"sqlite:///{database}"), MlflowClient(f"sqlite:///{database}")
    assert reads.known()
    for version in (1, 2):
        client.set_registered_model_alias("returns", "champion", str(version))
        found = reads.by_alias("returns", "champion")
        assert found is not None
        assert found.version == version


@pytest.mark.parametrize(
    "lacking", ["ALTER TABLE model_version_tags RENAME COLUMN value TO content", "DROP TABLE model_versions"]
)
def test_a_database_of_another_schema_is_left_to_the_client(lacking, database, tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    (tmp_path / "other.db").write_bytes(database.read_bytes())
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(lacking))
    client = MlflowClient(f"sqlite:///{database}")
    assert isinstance(open_reads(url, lambda: client), ClientReads)


def test_a_server_that_only_the_client_can_log_in_to_is_left_to_it(database, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token")
    client = MlflowClient(f"sqlite:///{database}")
    assert isinstance(open_reads("http://127.0.0.1:9", lambda: client), ClientReads)


def test_the_schema_without_workspaces_is_read_too(database, tmp_path):
    """As MLflow had it before it knew workspaces."""
    url = f"sqlite:///{tmp_path / 'older.db'}"
    own = sa.create_engine(f"sqlite:///{database}", poolclass=sa.NullPool)
    older = sa.create_engine(url, poolclass=sa.NullPool)
    with own.connect() as read, older.begin() as write:
        for name in ("model_versions", "model_version_tags", "registered_model_aliases"):
            rows = [dict(row._mapping) for row in read.execute(sa.text(f"SELECT * FROM {name}"))]
            columns = [column for column in rows[0] if column != "workspace"]
            write.execute(sa.text(f"CREATE TABLE {name} ({', '.join(columns)})"))
            fill = f"INSERT INTO {name} VALUES ({', '.join(f':{column}' for column in columns)})"
            write.execute(sa.text(fill), rows)
    held_to(open_reads(url, lambda: pytest.fail("the client is not needed")), database)
