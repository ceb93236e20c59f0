"""The platform as Airflow configures it: connections from Airflow, the rest from the environment."""

from __future__ import annotations

import os
import smtplib
import sys
from functools import cache

from mlprod_airflow import queues
from mlprod_tasks.declaration import DeclarationError, Pipeline, load
from mlprod_tasks.declaration.load import refused_together
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.object_storage.addresses import TYPES, is_remote, with_user
from mlprod_tasks.platform.settings import SettingMissing, connection_from_environment, from_environment

MAIL_CONNECTION = "smtp_default"
# Airflow's connection types and their names in SQLAlchemy; other types have the same name in both.
DRIVERS = {"postgres": "postgresql+psycopg2", "postgresql": "postgresql+psycopg2"}


@cache
def platform() -> Platform:
    """The platform of this process, created on the first call."""
    return Platform(from_environment(connection=connection_url), connect_mail=mail_server, attempt=attempt)


def declared() -> list[Pipeline]:
    """All valid use cases. A refused one must not remove the DAGs of the others: see `refusals`."""
    return [pipeline for pipeline in _read().values() if isinstance(pipeline, Pipeline)]


def served() -> list[Pipeline]:
    """All valid use cases that answer requests."""
    return [pipeline for pipeline in declared() if pipeline.serving is not None]


def refusals() -> list[DeclarationError]:
    """The errors of the declarations that were refused."""
    return [error for error in _read().values() if isinstance(error, DeclarationError)]


@cache
def _read() -> dict[str, Pipeline | DeclarationError]:
    by_name: dict[str, Pipeline | DeclarationError] = {}
    for path in sorted(from_environment().pipelines.glob("[!_]*.py")):
        try:
            by_name[path.stem] = load(path)
        except DeclarationError as error:
            by_name[path.stem] = error
    for name, one in by_name.items():
        if isinstance(one, Pipeline) and (problem := queues.refused(one)) is not None:
            by_name[name] = problem
    together = refused_together(one for one in by_name.values() if isinstance(one, Pipeline))
    return by_name | together


def connection_url(name: str) -> str:
    """The URL of a connection: MLPROD_CONNECTION_<NAME> if that is set, else Airflow's connection of that name."""
    try:
        return connection_from_environment(name, os.environ)
    except SettingMissing:
        return _airflow_url(name)


def _airflow_url(name: str) -> str:
    from airflow.sdk import Connection
    from sqlalchemy import URL

    try:
        connection = Connection.get(name)
    except Exception as error:
        raise SettingMissing(
            f"connection {name!r} does not exist: add it in Airflow (Admin, Connections) or set "
            f"MLPROD_CONNECTION_{name.upper()}"
        ) from error
    extra = connection.extra_dejson
    if path := str(extra.get("path") or ""):  # a folder of files
        return with_user(path, connection.login, connection.password, extra) if is_remote(path) else path
    if connection.conn_type in TYPES:
        return with_user(f"{connection.conn_type.replace('_', '-')}:///", connection.login, connection.password, extra)
    driver = DRIVERS.get(connection.conn_type, connection.conn_type)
    if driver == "sqlite":
        return f"sqlite:///{connection.host or connection.schema}"
    url = URL.create(driver, connection.login, connection.password, connection.host, connection.port, connection.schema)
    if driver == "snowflake":
        from mlprod_tasks.platform.warehouses.snowflake import with_extra_fields

        url = with_extra_fields(url, extra)
    return url.render_as_string(hide_password=False)


def attempt() -> int:
    """The number of this try of the task, from 1 on; 1 outside of a task."""
    if "airflow.sdk" not in sys.modules:  # no task runs without it, and it takes a second to import
        return 1
    from airflow.sdk import get_current_context

    try:
        return int(get_current_context()["ti"].try_number)
    except RuntimeError:
        return 1


def mail_server() -> smtplib.SMTP:
    """A session with the mail server of Airflow's SMTP connection; the provider handles login, TLS and retries."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    client = SmtpHook(MAIL_CONNECTION).get_conn()._smtp_client
    assert isinstance(client, smtplib.SMTP)
    return client
