"""A query as a source: read as a table is, on SQLite, PostgreSQL and MariaDB, and never able to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.sources import SourceMissing, SourceUnreachable, look

SQL = """SELECT o.id AS order_id, o.at AS ordered_at, p.price * o.pieces AS amount FROM o JOIN p ON p.name = o.product
WHERE o.kind LIKE 'a%' AND '10:30' <> ':x'"""
COLUMNS = (ml.Column("order_id", "int"), ml.Column("ordered_at", "timestamp"), ml.Column("amount", "float"))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    servers = {"postgresql": "postgres_database", "mariadb": "mariadb_database"}
    of_server = servers.get(request.param)
    url = request.getfixturevalue(of_server) if of_server else f"sqlite:///{tmp_path / 'shop.db'}"
    engine = open_database(url, writes=True)
    with engine.begin() as connection:
        moment = {"sqlite": "TEXT", "postgresql": "TIMESTAMPTZ", "mariadb": "TIMESTAMP"}[request.param]
        connection.execute(text(f"CREATE TABLE o (id INTEGER, at {moment}, product TEXT, pieces INTEGER, kind TEXT)"))
        connection.execute(text("CREATE TABLE p (name TEXT, price REAL)"))
        connection.execute(text("INSERT INTO p VALUES ('tea', 2.5)"))
        for n, (at, kind) in enumerate(
            [("2024-03-13 12:00:00", "ab"), ("2024-03-14 12:00:00", "a"), ("2024-03-14 13:00:00", "b")]
        ):
            connection.execute(text(f"INSERT INTO o VALUES ({n}, '{at}', 'tea', {n + 1}, '{kind}')"))
    return url


@pytest.fixture
def of_query(orders_pipeline: Callable[..., ml.Pipeline], make_platform: Callable, database: str):
    def make(sql: str, **table: Any) -> tuple[ml.Pipeline, Any]:
        return orders_pipeline(source=ml.Database("shop", sql=sql, timezone="UTC"), columns=COLUMNS, **table), make_platform(
            shop=database
        )

    return make


def test_the_rows_of_a_tick_are_those_of_the_query(of_query) -> None:
    pipeline, platform = of_query(SQL)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    rows = pq.read_table(done.path).select(["order_id", "amount"]).to_pylist()
    assert rows == [{"order_id": 1, "amount": 5.0}]


def test_a_column_that_the_query_lacks_is_told(of_query) -> None:
    pipeline, platform = of_query("SELECT id AS order_id, at AS ordered_at FROM o")
    with pytest.raises(SourceMissing, match=r"a query at .* has no column 'amount'; it has order_id, ordered_at"):
        look(pipeline.tables[0], platform.settings)


def test_a_query_that_the_database_refuses_is_told(of_query) -> None:
    pipeline, platform = of_query("SELECT nothing FROM nowhere")
    with pytest.raises(SourceUnreachable, match="answers, but its rows cannot be read"):
        look(pipeline.tables[0], platform.settings)


def test_a_query_cannot_write(of_query, database: str) -> None:
    pipeline, platform = of_query("WITH gone AS (DELETE FROM o RETURNING id) SELECT id AS order_id FROM gone")
    with pytest.raises(SourceUnreachable):
        look(pipeline.tables[0], platform.settings)
    with open_database(database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM o")).scalar() == 3


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"table": "o", "sql": "SELECT 1"},
        {"sql": "DELETE FROM o"},
        {"sql": "SELECT 1; DELETE FROM o"},
        {"sql": "SELECT 1", "schema": "s"},
    ],
    ids=["neither", "both", "no query", "two statements", "schema"],
)
def test_what_is_no_single_query_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"either the name of a `table` or a query|one query that begins with SELECT or WITH"):
        ml.Database("shop", **given)
