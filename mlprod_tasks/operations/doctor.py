"""Check an installation: versions, folders, databases, connections."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial

from mlprod_tasks.declaration import (
    Invariance,
    Label,
    Outcome,
    Pipeline,
    PredictionValue,
    Rate,
    Trailing,
    ValueFunction,
    load_all,
)
from mlprod_tasks.declaration.table import Database, Table
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.object_storage.addresses import is_remote
from mlprod_tasks.platform.pseudonym_key import needs_key, pseudonym_key
from mlprod_tasks.platform.settings import DatabaseUnsupported, Settings

PACKAGES = ("apache-airflow", "mlflow", "great-expectations", "deltalake", "duckdb", "lightgbm", "pandas", "sqlalchemy")


@dataclass(frozen=True)
class DiagnosisItem:
    """The result of one check. `message` gives the state, or says what to do."""

    what: str
    ok: bool
    message: str


def check_installation(platform: Platform) -> list[DiagnosisItem]:
    """Run all checks. A check that raises becomes a failed item; the others still run."""
    return list(_items(platform))


def _items(platform: Platform) -> Iterator[DiagnosisItem]:
    settings = platform.settings
    yield DiagnosisItem("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} (needs 3.11 or newer)")
    for package in PACKAGES:
        yield _item(package, partial(importlib.metadata.version, package), "run `make install`")
    yield _item("home folder", lambda: _home_state(platform), "set MLPROD_HOME to a writable folder")
    if is_remote(settings.lake):
        yield _item("lake", lambda: _lake_state(platform), "check MLPROD_LAKE and connection 'lake'")
    yield _item(
        "ledger",
        lambda: f"{platform.ledger.engine.url!r} answers" if platform.ledger.answers() else "",
        "check MLPROD_LEDGER_URL",
    )
    yield _item(
        "model registry", lambda: "answers" if platform.registry.answers() else "does not answer", "check MLFLOW_TRACKING_URI"
    )
    yield _item(
        "mail", lambda: _mail_state(platform), "set Airflow connection smtp_default, or MLPROD_CONNECTION_SMTP=smtp://host:port"
    )
    if settings.engine == "spark":
        yield _item("spark", partial(_spark_state, settings), "see docs/how_to/spark.md")
    try:
        pipelines = load_all(settings.pipelines)
    except Exception as error:
        yield DiagnosisItem("pipelines", False, str(error))
        return
    yield DiagnosisItem(
        "pipelines", bool(pipelines), ", ".join(pipelines) or f"no file in {settings.pipelines}; set MLPROD_PIPELINES"
    )
    for pipeline in pipelines.values():
        if needs_key(pipeline):
            yield _item(f"{pipeline.name}: pseudonym key", partial(_key_state, platform), "see docs/production.md, Secrets")
        if pipeline.monitoring.holidays is not None:
            today = platform.clock.now().date()
            yield _holidays(pipeline, min(today, pipeline.schedule.ends or today))
        yield _item(f"{pipeline.name}: SQL", partial(read_sql, pipeline), "correct it in the declaration")
        for connection in _connections(pipeline):
            check = partial(_connection_state, platform, pipeline, connection)
            yield _item(f"{pipeline.name}: connection {connection!r}", check, "check its URL")
        for table in pipeline.tables:
            if isinstance(table.source, Database):
                look = partial(_table_state, table, settings)
                yield _item(f"{pipeline.name}: table {table.name!r}", look, "correct the source or the declaration")


def _item(what: str, check: Callable[[], str], remedy: str) -> DiagnosisItem:
    try:
        return DiagnosisItem(what, True, check())
    except Exception as error:
        return DiagnosisItem(
            what, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; {remedy}"
        )


def _holidays(pipeline: Pipeline, today: date) -> DiagnosisItem:
    """Whether holidays to come are declared: those of the years before are soon used up."""
    assert pipeline.monitoring.holidays is not None
    days = sorted(pipeline.monitoring.holidays.dates)
    coming = next((day for day in days if day >= today), None)
    state = f"the last is {days[-1]}: declare those to come in Monitoring.holidays" if coming is None else f"next: {coming}"
    return DiagnosisItem(f"{pipeline.name}: holidays", coming is not None, state)


def _key_state(platform: Platform) -> str:
    pseudonym_key(platform)
    return "is set, and not another one than that of earlier rows"


def _home_state(platform: Platform) -> str:
    home = platform.settings.home
    home.mkdir(parents=True, exist_ok=True)
    probe = home / ".doctor"
    probe.write_text("")
    probe.unlink()
    return f"{home} is writable"


def _lake_state(platform: Platform) -> str:
    platform.lake.check()
    return f"{platform.lake.root} takes conditional puts"


def _spark_state(settings: Settings) -> str:
    """Compute something on an executor: that takes the master, Java, the same code and a shared folder."""
    from mlprod_tasks.platform.compute import compute_of
    from mlprod_tasks.platform.compute.same_code import hosts

    (host,) = compute_of(settings).map(hosts, [0], "a check")
    return f"the executor on {host} computes with the same code, and its result arrives"


def _mail_state(platform: Platform) -> str:
    from mlprod_tasks.platform.mailer import connect

    with (platform.connect_mail or (lambda: connect(platform.settings.connection("smtp"))))() as server:
        return f"the server answers {server.noop()[0]}"


def unsupported_databases(pipeline: Pipeline, settings: Settings) -> list[str]:
    """Name a use case's databases that are not supported, as far as their URLs are known."""
    written = {pipeline.publish.connection} if pipeline.publish else set()
    both = written | {metric.connection for metric in pipeline.monitoring.metrics}
    problems = []
    for connection in sorted({*_connections(pipeline), *both}):
        try:
            (settings.database if connection in both else settings.source)(connection)
        except DatabaseUnsupported as error:
            problems.append(f"{pipeline.name}: {error}")
        except LookupError:  # the URL is set elsewhere
            continue
    return problems


def _connections(pipeline: Pipeline) -> list[str]:
    used = {table.source.connection for table in pipeline.tables if isinstance(table.source, Database)}
    return sorted(used | ({pipeline.publish.connection} if pipeline.publish else set()))


def _connection_state(platform: Platform, pipeline: Pipeline, connection: str) -> str:
    from sqlalchemy import inspect

    from mlprod_tasks.platform.database import open_database

    written = pipeline.publish is not None and pipeline.publish.connection == connection
    url = (platform.settings.database if written else platform.settings.source)(connection)
    engine = open_database(url)
    try:
        existing = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    wanted = {
        t.source.table
        for t in pipeline.tables
        if isinstance(t.source, Database) and t.source.table and t.source.connection == connection and not t.source.schema
    }
    if missing := sorted(wanted - existing):
        raise LookupError(f"lacks the tables {', '.join(missing)}")
    return f"{engine.dialect.name} answers"


def _table_state(table: Table, settings: Settings) -> str:
    """Check that a table of a database has its columns, in types that can be read."""
    from mlprod_tasks.platform import sources

    assert isinstance(table.source, Database)
    sources.look(table.at_source, settings)
    naive = [] if table.source.timezone else sources.naive_times(table.at_source, settings)
    if not naive:
        return "can be read"
    return (
        f"can be read. Times of {', '.join(naive)} have no time zone and are read as UTC: declare "
        'ml.Database(..., timezone="Europe/Zurich") if they are local times, timezone="UTC" if they are not'
    )


def read_sql(pipeline: Pipeline) -> str:
    """Check every SQL condition and expression on empty tables: wrong names and types show up without data.

    Raises: ValueError, which names the expression that the engine refuses.
    """
    from mlprod_tasks.platform.engine import engine
    from mlprod_tasks.platform.sql import quoted

    with engine() as connection:
        for statement in _empty_tables(pipeline):
            connection.execute(statement)
        for what, statement in _statements(pipeline).items():
            try:
                connection.execute(f"EXPLAIN {statement}")
            except Exception as error:
                raise ValueError(f"{what}: {str(error).splitlines()[0]}") from error
        for what, (sql, table) in _conditions(pipeline).items():
            kind = connection.sql(f"SELECT typeof(any_value(({sql}))) FROM {quoted(table)}").fetchall()[0][0]
            if kind not in ("BOOLEAN", '"NULL"'):
                raise ValueError(f"{what} is {kind}, not a condition that is true or false: compare it with a value")
        label = pipeline.label
        if isinstance(label, Label) and label.kind != "yes_no":
            kind = connection.sql(f"SELECT typeof(any_value(({label.sql}))) FROM {quoted(label.table)}").fetchall()[0][0]
            if problem := _not_of_kind(label.kind, kind):
                raise ValueError(f"label {label.sql!r} is {kind}, {problem}")
    return "the engine accepts label, KPI, value, features and gates"


def _not_of_kind(declared: str, kind: str) -> str | None:
    """What is wrong with a label whose SQL gives this type of the engine; None if it fits."""
    from mlprod_tasks.features.labels import CLASSES, NUMBERS

    if declared == "class":
        fits = kind in (*CLASSES, '"NULL"')
        return None if fits else "and a class is a text or a whole number: derive one from it, or declare another kind"
    fits = kind in (*NUMBERS, '"NULL"') or kind.startswith("DECIMAL")
    return None if fits else "not a number: derive one from it, or declare kind='yes_no'"


def _conditions(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    """The declared conditions with their tables, by the name that a message gives them."""
    label, population = pipeline.label, pipeline.population
    if isinstance(label, Outcome):
        conditions = {f"label's where {label.of.where!r}": (label.of.where, label.table)} if label.of.where else {}
    else:
        conditions = {f"label {label.sql!r}": (label.sql, label.table)} if label.kind == "yes_no" else {}
    if population is not None and population.where:
        conditions[f"where {population.where!r} of Population {population.name!r}"] = (population.where, population.seen_in)
    for feature in pipeline.features:
        if isinstance(feature, Trailing):
            for one in feature.aggregates:
                if isinstance(one, Rate):
                    conditions[f"Rate {one.name!r} {one.sql!r} of Trailing {feature.name!r}"] = (one.sql, feature.table)
                if one.where:
                    what = f"where {one.where!r} of {type(one).__name__} {one.called!r} of Trailing {feature.name!r}"
                    conditions[what] = (one.where, feature.table)
    return conditions


def _statements(pipeline: Pipeline) -> dict[str, str]:
    """One query per expression of the declaration, by the name that a message gives it."""
    from mlprod_tasks.features.sql import sql as features_sql
    from mlprod_tasks.platform.sql import identifier

    kpi = pipeline.kpi
    statements = {
        what: f"SELECT CAST(({sql}) AS BOOLEAN) FROM {identifier(table)}"
        for what, (sql, table) in _conditions(pipeline).items()
    }
    judged = {"number": "judged_numbers", "yes_no": "judged", "class": "judged_classes"}[pipeline.label.kind]
    statements[f"kpi {kpi.sql!r}"] = f"SELECT CAST(({kpi.sql}) AS DOUBLE) FROM {judged}"
    statements["features"] = features = features_sql(pipeline)
    if isinstance(pipeline.value, ValueFunction):
        for name, written in (("act", pipeline.value.act), ("wait", pipeline.value.wait)):
            row = f"SELECT *, 0.5::DOUBLE AS score, true AS outcome FROM ({features})"
            statements[f"value.{name} {written!r}"] = f"SELECT CAST(({written}) AS DOUBLE) FROM ({row})"
    if isinstance(pipeline.value, PredictionValue):
        row, written = f"SELECT *, 1::DOUBLE AS prediction, 1::DOUBLE AS outcome FROM ({features})", pipeline.value.sql
        statements[f"value.sql {written!r}"] = f"SELECT CAST(({written}) AS DOUBLE) FROM ({row})"
    for gate in pipeline.gates:
        if isinstance(gate, Invariance):
            for name, written in gate.change.items():
                statements[f"gate {gate.doc!r}: change of {name!r} {written!r}"] = f"SELECT ({written}) FROM ({features})"
    return statements


def _empty_tables(pipeline: Pipeline) -> Iterator[str]:
    """The statements that create the tables of the queries."""
    from mlprod_tasks.features.known import TYPES
    from mlprod_tasks.platform.lake import USABLE
    from mlprod_tasks.platform.sql import identifier

    for table in pipeline.tables:
        columns = [f"{identifier(column.name)} {TYPES[column.kind]}" for column in table.lake_columns]
        columns += ["tick DATE", f"{USABLE} TIMESTAMPTZ"] if table.time else []
        yield f"CREATE TABLE {identifier(table.name)} ({', '.join(columns)})"
    yield "CREATE TABLE calendar (tick DATE, _starts_at TIMESTAMPTZ)"
    yield "CREATE TABLE wanted (tick DATE)"
    yield "CREATE TEMP TABLE judged (score DOUBLE, decision BOOLEAN, outcome BOOLEAN, value DOUBLE)"
    yield "CREATE TEMP TABLE judged_numbers (prediction DOUBLE, outcome DOUBLE, value DOUBLE)"
    yield "CREATE TEMP TABLE judged_classes (prediction VARCHAR, probability DOUBLE, outcome VARCHAR, value DOUBLE)"
