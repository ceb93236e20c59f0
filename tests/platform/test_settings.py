"""Settings: where things are when nothing is said, and what is said when something is missing."""

import sys
import tomllib
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import EXTRAS, WAREHOUSES, DatabaseUnsupported, SettingMissing, from_environment
from tests.support.paths import REPOSITORY


def test_everything_lies_below_home_when_nothing_else_is_said(tmp_path: Path) -> None:
    settings = from_environment({"MLPROD_HOME": str(tmp_path / "mine")})
    home = tmp_path / "mine"
    assert (settings.home, settings.staging, settings.lake) == (home, home / "staging", str(home / "lake"))
    assert settings.ledger_url == f"sqlite:///{home / 'ledger.db'}"
    assert settings.mlflow_url == f"sqlite:///{home / 'mlflow.db'}"


def test_home_is_var_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = from_environment({})
    assert (settings.home, settings.pipelines) == (tmp_path / "var", tmp_path / "pipelines")
    assert settings.expectations == tmp_path / "great_expectations"


def test_each_place_can_be_chosen(tmp_path: Path) -> None:
    given = {
        "MLPROD_HOME": str(tmp_path),
        "MLPROD_LAKE": "s3://bucket/lake",
        "MLPROD_LEDGER_URL": "postgresql://db/ledger",
        "MLPROD_PIPELINES": "/etc/pipelines",
        "MLPROD_EXPECTATIONS": "/etc/expectations",
        "MLPROD_MAIL_FROM": "ml@example.com",
        "MLPROD_MLFLOW_BASE_URL": "https://mlflow.example.com",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    settings = from_environment(given)
    assert (settings.lake, settings.ledger_url, settings.mlflow_url) == (
        "s3://bucket/lake",
        "postgresql://db/ledger",
        "http://mlflow:5000",
    )
    assert (settings.pipelines, settings.expectations) == (Path("/etc/pipelines"), Path("/etc/expectations"))
    assert (settings.mail_from, settings.mlflow_base_url) == (
        "ml@example.com",
        "https://mlflow.example.com",
    )


def test_a_connection_is_found_by_its_name_in_capitals() -> None:
    settings = from_environment({"MLPROD_CONNECTION_BUSINESS": "sqlite:///b.db"})
    assert settings.connection("business") == settings.connection("Business") == "sqlite:///b.db"


@pytest.mark.parametrize("given", [{}, {"MLPROD_CONNECTION_BUSINESS": ""}], ids=["not set", "empty"])
def test_a_connection_that_is_missing_is_named_with_the_variable_to_set(given: dict[str, str]) -> None:
    with pytest.raises(SettingMissing, match="connection 'business' is not configured: set MLPROD_CONNECTION_BUSINESS"):
        from_environment(given).connection("business")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///b.db",
        "postgres://a@b/c",
        "postgresql://a@b/c",
        "postgresql+psycopg2://a@b/c",
        "sqlite+pysqlite:///b.db",
        "mysql://a@b/c",
        "mysql+pymysql://a@b/c",
        "mariadb://a@b/c",
    ],
)
def test_tables_may_lie_in_sqlite_postgresql_mariadb_and_mysql(url: str) -> None:
    assert from_environment({"MLPROD_CONNECTION_BUSINESS": url}).database("business") == url


@pytest.mark.parametrize(
    "url",
    [
        "oracle://me:verysecret@db/shop",
        "mysql+asyncmy://me:verysecret@db/shop",
        "mssql+pyodbc://me:verysecret@db/shop",
        "postgresql+asyncpg://me:verysecret@db",
        "/folder",
    ],
)
def test_another_database_is_refused_by_its_connection_s_name_and_shows_no_password(url: str) -> None:
    settings = from_environment({"MLPROD_CONNECTION_BUSINESS": url})
    for asked in (settings.database, settings.source):
        with pytest.raises(DatabaseUnsupported, match=r"connection 'business' .*SQLite .*PostgreSQL .*only") as error:
            asked("business")
        assert "verysecret" not in str(error.value)


@pytest.mark.parametrize("kind", WAREHOUSES)
def test_a_warehouse_is_a_source_and_nothing_is_written_to_it(kind: str) -> None:
    url = f"{kind}://me:verysecret@there/shop"
    settings = from_environment({"MLPROD_CONNECTION_BUSINESS": url})
    assert settings.source("business") == url
    with pytest.raises(
        DatabaseUnsupported, match=rf"connection 'business' .*{WAREHOUSES[kind]} is only read from.*Name a connection"
    ) as error:
        settings.database("business")
    assert "verysecret" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in WAREHOUSES if kind in EXTRAS])
def test_without_the_driver_of_a_warehouse_its_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, extra = EXTRAS[kind]
    monkeypatch.setitem(sys.modules, module, None)
    settings = from_environment({"MLPROD_CONNECTION_BUSINESS": f"{kind}://me:verysecret@there/shop"})
    with pytest.raises(DatabaseUnsupported, match=rf"driver is not installed here: pip install 'mlprod\[{extra}\]'"):
        settings.source("business")
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert module.replace("_", "-") in declared[extra][0]


def test_without_the_driver_of_mariadb_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    settings = from_environment({"MLPROD_CONNECTION_BUSINESS": "mysql://me:verysecret@db/shop"})
    with pytest.raises(
        DatabaseUnsupported, match=r"connection 'business' .*driver is not installed here: pip install 'mlprod\[mysql\]'"
    ):
        settings.database("business")


def test_connections_may_come_from_elsewhere() -> None:
    settings = from_environment({}, connection=lambda name: f"from airflow: {name}")
    assert settings.connection("business") == "from airflow: business"


def test_a_variable_that_is_set_to_nothing_counts_as_not_set(tmp_path: Path) -> None:
    # As docker compose hands on what its .env leaves empty.
    empty = dict.fromkeys(("MLPROD_LAKE", "MLPROD_LEDGER_URL", "MLFLOW_TRACKING_URI", "MLPROD_MAIL_FROM"), "")
    chosen = {"MLPROD_HOME": str(tmp_path)}
    settings, default = from_environment(chosen | empty), from_environment(chosen)
    assert settings == default


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    given = {
        "MLPROD_HOME": str(tmp_path),
        "MLPROD_PSEUDONYM_KEY": "hush",
        "MLPROD_CONNECTION_BUSINESS": "postgresql://a:hush@b/c",
    }
    assert "hush" not in repr(from_environment(given))
    assert "hush" not in repr(Platform(from_environment(given)))


def test_a_ledgers_password_is_not_shown(tmp_path: Path) -> None:
    settings = from_environment({"MLPROD_LEDGER_URL": "postgresql://me:hush@db/x", "MLFLOW_TRACKING_URI": "http://me:hush@m"})
    assert "hush" not in repr(settings)
