"""Look over an installation: versions, folders, databases, connections."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mlprod_tasks.declaration import Invariance, Pipeline, Rate, Trailing, ValueFunction, load_all
from mlprod_tasks.declaration.table import Database
from mlprod_tasks.platform import Platform

PACKAGES = ("apache-airflow", "mlflow", "great-expectations", "deltalake", "duckdb", "lightgbm", "pandas", "sqlalchemy")


@dataclass(frozen=True)
class DiagnosisItem:
    """One thing that was looked at. `told` says how it is, or what to do."""

    what: str
    ok: bool
    told: str


def check_installation(platform: Platform) -> list[DiagnosisItem]:
    """Look at everything; a check that raises is a finding, never an end."""
    return list(_findings(platform))


def _findings(platform: Platform) -> Iterator[DiagnosisItem]:
    settings = platform.settings
    yield DiagnosisItem("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} (3.11 or newer is needed)")
    for package in PACKAGES:
        yield _checked(package, partial(importlib.metadata.version, package), "run `make install`")
    yield _checked("home folder", lambda: _writable(platform), "set MLPROD_HOME to a folder that can be written")
    yield _checked(
        "ledger",
        lambda: f"{platform.ledger.engine.url!r} answers" if platform.ledger.answers() else "",
        "check MLPROD_LEDGER_URL",
    )
    yield _checked(
        "model registry", lambda: "answers" if platform.registry.answers() else "does not answer", "check MLFLOW_TRACKING_URI"
    )
    yield _checked(
        "mail", lambda: _mail(platform), "set Airflow connection smtp_default, or MLPROD_CONNECTION_SMTP=smtp://host:port"
    )
    try:
        pipelines = load_all(settings.pipelines)
    except Exception as error:
        yield DiagnosisItem("pipelines", False, str(error))
        return
    yield DiagnosisItem(
        "pipelines", bool(pipelines), ", ".join(pipelines) or f"no file in {settings.pipelines}; set MLPROD_PIPELINES"
    )
    for pipeline in pipelines.values():
        if any(column.personal == "hash" for table in pipeline.tables for column in table.columns):
            yield DiagnosisItem(
                f"{pipeline.name}: pseudonym key",
                bool(settings.pseudonym_key),
                "set MLPROD_PSEUDONYM_KEY" if not settings.pseudonym_key else "is set",
            )
        yield _checked(f"{pipeline.name}: SQL", partial(read_sql, pipeline), "correct it in the declaration")
        for connection in _connections(pipeline):
            look = partial(_reached, platform, pipeline, connection)
            yield _checked(f"{pipeline.name}: connection {connection!r}", look, "check its URL")


def _checked(what: str, look: Callable[[], str], remedy: str) -> DiagnosisItem:
    try:
        return DiagnosisItem(what, True, look())
    except Exception as error:
        return DiagnosisItem(
            what, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; {remedy}"
        )


def _writable(platform: Platform) -> str:
    home = platform.settings.home
    home.mkdir(parents=True, exist_ok=True)
    probe = home / ".doctor"
    probe.write_text("")
    probe.unlink()
    return f"{home} can be written"


def _mail(platform: Platform) -> str:
    from mlprod_tasks.platform.mailer import connect

    with (platform.connect_mail or (lambda: connect(platform.settings.connection("smtp"))))() as server:
        return f"the server answers {server.noop()[0]}"


def _connections(pipeline: Pipeline) -> list[str]:
    used = {table.source.connection for table in pipeline.tables if isinstance(table.source, Database)}
    return sorted(used | ({pipeline.publish.connection} if pipeline.publish else set()))


def _reached(platform: Platform, pipeline: Pipeline, connection: str) -> str:
    from sqlalchemy import inspect

    from mlprod_tasks.platform.database import open_database

    engine = open_database(platform.settings.connection(connection))
    try:
        there = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    wanted = {
        t.source.table
        for t in pipeline.tables
        if isinstance(t.source, Database) and t.source.connection == connection and not t.source.schema
    }
    if missing := sorted(wanted - there):
        raise LookupError(f"lacks the tables {', '.join(missing)}")
    return f"{engine.dialect.name} answers"


def read_sql(pipeline: Pipeline) -> str:
    """Have the engine read every condition and expression, over empty tables: a wrong name or type shows before the data.

    Raises: ValueError naming the one that cannot be read.
    """
    from mlprod_tasks.features.known import TYPES, quoted
    from mlprod_tasks.features.sql import sql
    from mlprod_tasks.platform.engine import engine

    label, kpi = pipeline.label, pipeline.kpi
    statements = {f"label {label.sql!r}": f"SELECT CAST(({label.sql}) AS BOOLEAN) FROM {quoted(label.table)}"}
    statements[f"kpi {kpi.sql!r}"] = f"SELECT CAST(({kpi.sql}) AS DOUBLE) FROM judged"
    for feature in pipeline.features:
        if isinstance(feature, Trailing):
            for rate in feature.aggregates:
                if isinstance(rate, Rate):
                    written = f"SELECT CAST(({rate.sql}) AS BOOLEAN) FROM {quoted(feature.table)}"
                    statements[f"Rate {rate.name!r} {rate.sql!r} of Trailing {feature.name!r}"] = written
    statements["features"] = features = sql(pipeline)
    if isinstance(pipeline.value, ValueFunction):
        for name, written in (("act", pipeline.value.act), ("wait", pipeline.value.wait)):
            row = f"SELECT *, 0.5::DOUBLE AS score, true AS outcome FROM ({features})"
            statements[f"value.{name} {written!r}"] = f"SELECT CAST(({written}) AS DOUBLE) FROM ({row})"
    for gate in pipeline.gates:
        if isinstance(gate, Invariance):
            for name, written in gate.change.items():
                statements[f"gate {gate.doc!r}: change of {name!r} {written!r}"] = f"SELECT ({written}) FROM ({features})"
    with engine() as connection:
        for table in pipeline.tables:
            columns = [f"{quoted(column.name)} {TYPES[column.kind]}" for column in table.lake_columns]
            columns += ["tick DATE"] if table.time else []
            connection.execute(f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)})")
        connection.execute("CREATE TABLE calendar (tick DATE, starts_at TIMESTAMPTZ)")
        connection.execute("CREATE TABLE wanted (tick DATE)")
        connection.execute("CREATE TEMP TABLE judged (score DOUBLE, decision BOOLEAN, outcome BOOLEAN, value DOUBLE)")
        for what, statement in statements.items():
            try:
                connection.execute(f"EXPLAIN {statement}")
            except Exception as error:
                raise ValueError(f"{what}: {str(error).splitlines()[0]}") from error
    return "label, KPI, value, features and gates are read by the engine"
