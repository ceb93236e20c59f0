"""Read a model registry's versions and aliases without MLflow's library, whose import takes three seconds.

A registry in a database is read by SQL, a server by its REST API (2.0). Both are read anew at each call, so that an alias moved
in MLflow's UI is seen at once. Anything else (another scheme, an unknown schema, a way to log in that only MLflow knows)
is left to MLflow's own client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnClause, Connection, NullPool, column, create_engine, inspect, select, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient

TIMEOUT, RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # MLflow's own settings
RETRIED = (408, 429, 500, 502, 503, 504)  # statuses that MLflow's client retries
DELETED = "Deleted_Internal"  # the stage of a deleted version
WORKSPACE = "default"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# Settings of MLflow's client that change how a server is reached, and that are not implemented here.
ONLY_MLFLOW = (
    "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE", "MLFLOW_CUSTOM_ROUTE",
)  # fmt: skip
VERSIONS, TAGS, ALIASES = "model_versions", "model_version_tags", "registered_model_aliases"
COLUMNS = {
    VERSIONS: {"name", "version", "run_id", "current_stage"},
    TAGS: {"name", "version", "key", "value"},
    ALIASES: {"name", "version", "alias"},
}


@dataclass(frozen=True)
class StoredVersion:
    """A model version as the registry has it."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]


class RegistryReads(Protocol):
    """Reads a registry.

    The errors are those of its library: of SQLAlchemy, requests or MLflow.
    """

    def version(self, name: str, version: int) -> StoredVersion | None:
        """That version; None if the registry has no such version."""

    def by_alias(self, name: str, alias: str) -> StoredVersion | None:
        """The version that has the alias; None if there is no such alias or model."""


def open_reads(url: str, client: Callable[[], MlflowClient]) -> RegistryReads:
    """Return the lightest way to read the registry at `url`.

    client: called only if it has to be MLflow's own.
    """
    if url.startswith("http"):
        return ClientReads(client()) if _only_mlflow_logs_in() else RestReads(url)
    if not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).is_file():
        reads = SqlReads(url)
        if reads.known():
            return reads
    return ClientReads(client())  # which makes the tables of a new database


class SqlReads:
    """Reads MLflow's tables in a database."""

    def __init__(self, url: str) -> None:
        # Without a pool: task processes are forked from one that may have read already.
        self._engine = create_engine(url, poolclass=NullPool)
        self._workspaces = False

    def known(self) -> bool:
        """Whether the database has the tables and columns that are read here."""
        with self._engine.connect() as connection:
            look = inspect(connection)
            if not all(look.has_table(name) for name in COLUMNS):
                return False
            there = {name: {one["name"] for one in look.get_columns(name)} for name in COLUMNS}
        self._workspaces = all("workspace" in columns for columns in there.values())
        return all(wanted <= there[name] for name, wanted in COLUMNS.items())

    def version(self, name: str, version: int) -> StoredVersion | None:
        with self._engine.connect() as connection:
            return self._version(connection, name, version)

    def by_alias(self, name: str, alias: str) -> StoredVersion | None:
        with self._engine.connect() as connection:
            row = self._rows(connection, ALIASES, ["version"], name=name, alias=alias)
            return self._version(connection, name, int(row[0][0])) if row else None

    def _version(self, connection: Connection, name: str, version: int) -> StoredVersion | None:
        rows = self._rows(connection, VERSIONS, ["run_id", "current_stage"], name=name, version=version)
        if not rows or rows[0][1] == DELETED:
            return None
        tags = self._rows(connection, TAGS, ["key", "value"], name=name, version=version)
        return StoredVersion(name, version, rows[0][0] or "", {key: value or "" for key, value in tags})

    def _rows(self, connection: Connection, of: str, wanted: list[str], **where: Any) -> list[Any]:
        where |= {"workspace": WORKSPACE} if self._workspaces else {}
        columns: dict[str, ColumnClause[Any]] = {name: column(name) for name in (*wanted, *where)}
        query = select(*(columns[name] for name in wanted)).select_from(table(of, *columns.values()))
        for name, value in where.items():
            query = query.where(columns[name] == value)
        return list(connection.execute(query))


class RestReads:
    """Reads an MLflow server."""

    def __init__(self, url: str) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        self._url = f"{url.rstrip('/')}/api/2.0/mlflow"
        self._session = requests.Session()
        self._timeout = float(os.environ.get(TIMEOUT, "30"))
        retry = Retry(int(os.environ.get(RETRIES, "2")), status_forcelist=RETRIED, backoff_factor=1, raise_on_status=False)
        self._session.mount(self._url, HTTPAdapter(max_retries=retry))
        user, password = (os.environ.get(name) for name in LOGIN)
        if user and password:
            self._session.auth = (user, password)

    def version(self, name: str, version: int) -> StoredVersion | None:
        return self._get("model-versions/get", name=name, version=str(version))

    def by_alias(self, name: str, alias: str) -> StoredVersion | None:
        return self._get("registered-models/alias", name=name, alias=alias)

    def _get(self, path: str, **query: str) -> StoredVersion | None:
        answer = self._session.get(f"{self._url}/{path}", params=query, timeout=self._timeout)
        if answer.status_code in (400, 404) and _error_code(answer) in ABSENT:
            return None
        answer.raise_for_status()
        found = answer.json()["model_version"]
        tags = {one["key"]: one.get("value", "") for one in found.get("tags", ())}
        return StoredVersion(found["name"], int(found["version"]), found.get("run_id", ""), tags)


class ClientReads:
    """Reads through MLflow's own client."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def version(self, name: str, version: int) -> StoredVersion | None:
        return self._stored(lambda: self._client.get_model_version(name, str(version)))

    def by_alias(self, name: str, alias: str) -> StoredVersion | None:
        return self._stored(lambda: self._client.get_model_version_by_alias(name, alias))

    def _stored(self, read: Callable[[], Any]) -> StoredVersion | None:
        from mlflow.exceptions import MlflowException

        try:
            return stored_version(read())
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise


def stored_version(version: Any) -> StoredVersion:
    """Return MLflow's own ModelVersion as a StoredVersion."""
    return StoredVersion(version.name, int(version.version), version.run_id or "", dict(version.tags))


def _only_mlflow_logs_in() -> bool:
    return any(os.environ.get(name) for name in ONLY_MLFLOW) or (Path.home() / ".mlflow" / "credentials").is_file()


def _error_code(answer: Any) -> str:
    try:
        return str(answer.json().get("error_code", ""))
    except ValueError:
        return ""
