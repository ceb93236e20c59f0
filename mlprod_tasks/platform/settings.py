"""Settings from environment variables: folders, databases and servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "MLPROD_"


class SettingMissing(LookupError):
    """A setting or connection that a step needs is missing. Says which, and how to set it."""


@dataclass(frozen=True)
class Settings:
    """The settings of one installation.

    `connection` finds a connection's URL by name: in the environment here, in Airflow's connections in a task. A URL may hold
    a password, so it is looked up when it is needed and never stored.
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
    connection: Callable[[str], str] = field(repr=False, compare=False)

    @property
    def staging(self) -> Path:
        """Where extracted rows wait for their audit."""
        return self.home / "staging"


def from_environment(environment: Mapping[str, str] | None = None, connection: Callable[[str], str] | None = None) -> Settings:
    """Settings from MLPROD_* variables; paths that are not set, or empty, are below MLPROD_HOME (./var)."""
    variables = os.environ if environment is None else environment
    given = {name: value for name, value in variables.items() if value}
    home = Path(given.get(f"{PREFIX}HOME", "var")).resolve()
    return Settings(
        home=home,
        lake=given.get(f"{PREFIX}LAKE", str(home / "lake")),
        ledger_url=given.get(f"{PREFIX}LEDGER_URL", f"sqlite:///{home / 'ledger.db'}"),
        mlflow_url=given.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
        pipelines=Path(given.get(f"{PREFIX}PIPELINES", "pipelines")).resolve(),
        expectations=Path(given.get(f"{PREFIX}EXPECTATIONS", "great_expectations")).resolve(),
        mlflow_base_url=given.get(f"{PREFIX}MLFLOW_BASE_URL", ""),
        mail_from=given.get(f"{PREFIX}MAIL_FROM", "mlprod@localhost"),
        pseudonym_key=given.get(f"{PREFIX}PSEUDONYM_KEY", ""),
        online_url=given.get(f"{PREFIX}ONLINE_URL", f"sqlite:///{home / 'online.db'}"),
        connection=connection or (lambda name: connection_from_environment(name, variables)),
    )


def connection_from_environment(name: str, environment: Mapping[str, str]) -> str:
    """The URL of a connection: MLPROD_CONNECTION_<NAME>.

    Raises: SettingMissing.
    """
    variable = f"{PREFIX}CONNECTION_{name.upper()}"
    if not environment.get(variable):
        raise SettingMissing(
            f"connection {name!r} is not configured: set {variable} to its URL (a SQLAlchemy URL, or a folder for files)"
        )
    return environment[variable]
