"""Business metrics of a tick, read from the business's own database."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import BusinessMetric, Pipeline, Tick
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.ingest import partitions
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.settings import DatabaseUnsupported, SettingMissing, Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

SECONDS = 30.0  # the longest a database may take to answer
THREAD = "business metric"
SQLITE_MOMENT = "%Y-%m-%d %H:%M:%S"  # how this system writes moments to SQLite


class NoAnswer(LookupError):
    """A database did not give a metric's number; the message says why."""


def business_metrics(
    pipeline: Pipeline, tick: Tick, rows: int, settings: Settings, seconds: float = SECONDS
) -> Iterator[Reading]:
    """The declared business metrics of a tick, one number each.

    If a database fails, is slow or returns something else, the reading has no value and says why; monitoring goes on. Nothing
    is written: a change by a metric's SQL is refused or rolled back.

    rows: how many were scored at the tick. seconds: how long to wait for a database.
    """
    for metric in pipeline.monitoring.metrics:
        try:
            value = _query_value(pipeline, metric, tick, settings, seconds)
        except NoAnswer as error:
            log.warning("%s: business metric %r at %s: %s", pipeline.name, metric.name, tick, error)
            yield Reading("business_metric", None, rows, metric.name, why=str(error), missing=True)
            continue
        if value is None:
            yield Reading("business_metric", None, rows, metric.name, why="its SQL returns NULL for this tick")
            continue
        detail = f"{metric.unit}, {metric.doc}" if metric.unit else metric.doc
        yield Reading("business_metric", value, rows, metric.name, detail=detail)


def unasked(pipeline: Pipeline, why: str, rows: int) -> Iterator[Reading]:
    """A reading without value for each metric.

    They are queried once the labels are complete.
    """
    for metric in pipeline.monitoring.metrics:
        yield Reading("business_metric", None, rows, metric.name, why=why)


@dataclass
class _Question:
    """One query, run in a separate thread.

    There is no other way to stop waiting for a driver that hangs.
    """

    connection: Connection | None = None
    answer: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None


def _query_value(pipeline: Pipeline, metric: BusinessMetric, tick: Tick, settings: Settings, seconds: float) -> float | None:
    try:
        url = settings.database(metric.connection)
    except (SettingMissing, LookupError, DatabaseUnsupported) as error:
        raise NoAnswer(str(error)) from error
    first, last = partitions.boundaries(pipeline.entity_table, pipeline.schedule.range(tick.name))
    question = _Question()
    thread = threading.Thread(target=_ask, args=(question, url, metric, first, last, tick), name=THREAD, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _cancel(question)
        raise NoAnswer(
            f"connection {metric.connection!r} did not answer within {format_number(seconds)} s; "
            "make its SQL faster, or query a copy"
        )
    if question.error is not None:
        raise NoAnswer(f"connection {metric.connection!r}: {_why(question.error)}") from None
    return _number(question.answer)


def _ask(question: _Question, url: str, metric: BusinessMetric, first: datetime, last: datetime, tick: Tick) -> None:
    from sqlalchemy import text

    from mlprod_tasks.platform.database import open_database

    try:
        engine = open_database(url)
        _must_exist(engine)
        statement = text(metric.sql)
        parameters = _parameters(engine.dialect.name, first, last, tick)
        with engine.connect() as connection:
            question.connection = connection
            _read_only(connection)
            wanted = statement.compile().params
            unknown = sorted(set(wanted) - set(parameters))
            if unknown:
                raise ValueError(
                    f"its SQL uses the unknown parameter :{unknown[0]}; "
                    f"known are {', '.join(f':{name}' for name in parameters)}"
                )
            # Fetch one row more than allowed, not all: the query may be wrong and the table large.
            answer = connection.execute(statement, {name: parameters[name] for name in wanted}).fetchmany(2)
            question.answer = [tuple(row) for row in answer]
            connection.rollback()
    except Exception as error:
        question.error = error


def _must_exist(engine: Engine) -> None:
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and file != ":memory:" and not Path(file).exists():
        raise FileNotFoundError(f"the SQLite file {file} does not exist")  # SQLite would create an empty one


def _read_only(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only=ON")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        # Timestamps without a zone are read as UTC, whatever the session's zone is.
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")


def _parameters(dialect: str, first: datetime, last: datetime, tick: Tick) -> Mapping[str, Any]:
    if dialect == "sqlite":
        return {
            "first": first.astimezone(UTC).strftime(SQLITE_MOMENT),
            "last": last.astimezone(UTC).strftime(SQLITE_MOMENT),
            "tick": str(tick),
        }
    return {"first": first.astimezone(UTC), "last": last.astimezone(UTC), "tick": tick.name}


def _number(answer: list[tuple[Any, ...]]) -> float | None:
    if len(answer) != 1 or len(answer[0]) != 1:
        rows = {0: "no row", 1: f"{len(answer[0])} columns" if answer else ""}.get(len(answer), "several rows")
        raise NoAnswer(f"its SQL must return one row with one column, but returned {rows}")
    ((value,),) = answer
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise NoAnswer(f"its SQL must return a number, but returned {value!r:.60}") from error
    if not math.isfinite(number):
        raise NoAnswer(f"its SQL must return a finite number, but returned {number}")
    return number


def _cancel(question: _Question) -> None:
    """Ask the driver to cancel the query.

    The drivers psycopg2 and sqlite3 allow that from another thread.
    """
    try:
        driver: Any = question.connection and question.connection.connection.dbapi_connection
        stop = getattr(driver, "cancel", None) or getattr(driver, "interrupt", None)
        if stop is not None:
            stop()
    except Exception:
        log.debug("could not stop a query that took too long", exc_info=True)


def _why(error: Exception) -> str:
    from mlprod_tasks.platform.database import reason

    return reason(error)
