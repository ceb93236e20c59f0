"""Settings from environment variables: folders, databases and servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

PREFIX = "MLPROD_"
CONNECTIONS = "connections.env"
LAKE_COPIES_GB = 10.0
MEASURE_ROWS = 20_000_000
SCORE_ROWS = 2_000_000
EVENT_ROWS = 10_000_000
LAKE_CONNECTION = "lake"


# Drivers that reading and writing are tested with.
OF_MYSQL = ("mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql")
DATABASES = ("sqlite", "sqlite+pysqlite", "postgres", "postgresql", "postgresql+psycopg2", *OF_MYSQL)
# What is only read from, with its name.
WAREHOUSES = {"snowflake": "Snowflake", "bigquery": "BigQuery", "redshift": "Redshift", "mssql": "SQL Server"}
# The drivers that are extras: what is imported, and the extra.
EXTRAS = {
    **dict.fromkeys(OF_MYSQL, ("pymysql", "mysql")),
    "snowflake": ("adbc_driver_snowflake", "snowflake"),
    "bigquery": ("adbc_driver_bigquery", "bigquery"),
    "mssql": ("pymssql", "mssql"),
}


# Where features, training rows and the scores of large ticks are computed.
ENGINES = ("local", "spark")


def missing_driver(kind: str) -> str | None:
    """The extra that brings the driver of a kind of database, if it is not installed; None if it is."""
    module, extra = EXTRAS.get(kind, ("", ""))
    return extra if module and find_spec(module) is None else None


class DatabaseUnsupported(ValueError):
    """A connection's database is of another kind than those that are read, or its driver is not installed.

    The message names it without its password.
    """


class SettingMissing(LookupError):
    """A required setting or connection is missing.

    The message says which, and how to set it.
    """


@dataclass(frozen=True)
class Settings:
    """The settings of one installation.

    connection: finds a connection's URL by name, in the environment or, in a task, in Airflow's connections. URLs may contain
    passwords, so they are looked up when needed and never stored. measure_rows: a tick of more rows is measured on Spark, if
    that is the engine. score_rows: a tick of more rows is scored in pieces. event_rows: of more events than that, trailing
    features of a tick are computed in parts, and it is scored in pieces. pod_templates: the folder with a pod template for each
    queue, where Airflow runs each task in a pod.
    """

    home: Path
    lake: str
    ledger_url: str = field(repr=False)
    mlflow_url: str = field(repr=False)
    pipelines: Path
    expectations: Path
    mlflow_base_url: str
    mail_from: str
    pseudonym_key: str = field(repr=False)
    online_url: str = field(repr=False)
    engine: str
    spark_master: str
    connection: Callable[[str], str] = field(repr=False, compare=False)
    lake_copies_gb: float = LAKE_COPIES_GB
    measure_rows: int = MEASURE_ROWS
    score_rows: int = SCORE_ROWS
    event_rows: int = EVENT_ROWS
    pod_templates: Path | None = None

    def database(self, connection: str) -> str:
        """The URL of a connection to a database that is read from and written to.

        Raises: SettingMissing, DatabaseUnsupported.
        """
        url = self.source(connection)
        if (kind := url.partition(":")[0]) in WAREHOUSES:
            raise DatabaseUnsupported(
                f"connection {connection!r} is a URL of {kind!r}, but {WAREHOUSES[kind]} is only read from, as the source of "
                "tables: predictions are written to, and business metrics read from, SQLite, PostgreSQL, MariaDB and MySQL. "
                "Name a connection to one of them, and let the warehouse load from there or from the lake's Delta table"
            )
        return url

    def source(self, connection: str) -> str:
        """The URL of a connection to a database or warehouse that tables are read from.

        Raises: SettingMissing, DatabaseUnsupported.
        """
        url = self.connection(connection)
        kind = url.partition(":")[0]
        if kind not in DATABASES and kind not in WAREHOUSES:
            raise DatabaseUnsupported(
                f"connection {connection!r} is a URL of {kind!r}, but tables are read from SQLite (sqlite:///path), PostgreSQL "
                "(postgresql://user@host/database), MariaDB and MySQL (mysql://user@host/database) and "
                f"{', '.join(WAREHOUSES.values())} only. Copy the table to one of them, or deliver it as CSV or Parquet files"
            )
        if (extra := missing_driver(kind)) is not None:
            raise DatabaseUnsupported(
                f"connection {connection!r} is a URL of {kind!r}, whose driver is not installed here: "
                f"pip install 'mlprod[{extra}]'"
            )
        return url

    @property
    def lake_copies_bytes(self) -> int:
        """The bound of the local copies of files of a lake in object storage."""
        return int(self.lake_copies_gb * 10**9)

    def lake_connection(self) -> str | None:
        """The URL of the connection that says how to reach a lake in object storage; None if the environment does."""
        try:
            return self.connection(LAKE_CONNECTION)
        except SettingMissing:
            return None

    @property
    def connections_file(self) -> Path:
        """The file of connections beside the declarations, as lines NAME=VALUE; the environment goes before it."""
        return self.pipelines / CONNECTIONS

    @property
    def staging(self) -> Path:
        """The folder where extracted rows wait for their audit."""
        return self.home / "staging"


def from_environment(environment: Mapping[str, str] | None = None, connection: Callable[[str], str] | None = None) -> Settings:
    """Read settings from MLPROD_* variables.

    Paths that are unset or empty are below MLPROD_HOME (default ./var).
    """
    variables = os.environ if environment is None else environment
    given = {name: value for name, value in variables.items() if value}
    home = Path(given.get(f"{PREFIX}HOME", "var")).resolve()
    pipelines = Path(given.get(f"{PREFIX}PIPELINES", "pipelines")).resolve()
    return Settings(
        home=home,
        lake=given.get(f"{PREFIX}LAKE", str(home / "lake")),
        ledger_url=given.get(f"{PREFIX}LEDGER_URL", f"sqlite:///{home / 'ledger.db'}"),
        mlflow_url=given.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
        pipelines=pipelines,
        expectations=Path(given.get(f"{PREFIX}EXPECTATIONS", "great_expectations")).resolve(),
        mlflow_base_url=given.get(f"{PREFIX}MLFLOW_BASE_URL", ""),
        mail_from=given.get(f"{PREFIX}MAIL_FROM", "mlprod@localhost"),
        pseudonym_key=given.get(f"{PREFIX}PSEUDONYM_KEY", ""),
        online_url=given.get(f"{PREFIX}ONLINE_URL", f"sqlite:///{home / 'online.db'}"),
        lake_copies_gb=_positive(given, f"{PREFIX}LAKE_COPIES_GB", LAKE_COPIES_GB),
        measure_rows=int(_positive(given, f"{PREFIX}MEASURE_ROWS", MEASURE_ROWS)),
        engine=_one_of(ENGINES, f"{PREFIX}ENGINE", given),
        spark_master=given.get(f"{PREFIX}SPARK_MASTER", ""),
        score_rows=int(_positive(given, f"{PREFIX}SCORE_ROWS", SCORE_ROWS)),
        event_rows=int(_positive(given, f"{PREFIX}EVENT_ROWS", EVENT_ROWS)),
        pod_templates=Path(templates).resolve() if (templates := given.get(f"{PREFIX}POD_TEMPLATES")) else None,
        connection=connection or (lambda name: connection_from_environment(name, variables, pipelines / CONNECTIONS)),
    )


def _positive(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {given[name]!r}, but must be a number above 0")
    return value


def _one_of(known: tuple[str, ...], variable: str, given: Mapping[str, str]) -> str:
    value = given.get(variable, known[0])
    if value not in known:
        raise ValueError(f"{variable} is {value!r}: it is one of {', '.join(known)}")
    return value


def connection_from_environment(name: str, environment: Mapping[str, str], file: Path | None = None) -> str:
    """The URL of a connection, from MLPROD_CONNECTION_<NAME>; from a line of that name in `file` if it is not set.

    Raises: SettingMissing.
    """
    variable = f"{PREFIX}CONNECTION_{name.upper()}"
    if not environment.get(variable) and file is not None and variable in (kept := _lines(file)):
        return kept[variable]
    if not environment.get(variable):
        raise SettingMissing(
            f"connection {name!r} is not configured: set {variable} to its URL (sqlite:///path, "
            "postgresql://user@host/database, or a folder for files)"
        )
    return environment[variable]


def _lines(file: Path) -> dict[str, str]:
    """The lines NAME=VALUE of a file; none if it is missing."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {
        name.strip(): value.strip() for name, sign, value in (line.partition("=") for line in lines) if sign and value.strip()
    }
