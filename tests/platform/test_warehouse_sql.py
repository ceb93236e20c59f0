"""What BigQuery and SQL Server are asked, as text: no server of them could be had, so nothing here was ever run by one.

sqlglot, which knows both dialects, must read each text, and find in it the tables and columns that were meant.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlalchemy import URL, func, make_url, or_, select
from sqlglot import exp

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import times
from mlprod_tasks.platform.database import reason
from mlprod_tasks.platform.database_source import DatabaseSource
from mlprod_tasks.platform.sources import SourceUnreachable, look
from mlprod_tasks.platform.warehouses import bigquery, sql_server
from mlprod_tasks.platform.warehouses.arrow_type import arrow_types
from mlprod_tasks.platform.warehouses.named_type import NamedType
from mlprod_tasks.platform.warehouses.no_rows import no_rows
from mlprod_tasks.platform.warehouses.snowflake import Snowflake, with_extra_fields

START, END = datetime(2024, 3, 13, 23, tzinfo=UTC), datetime(2024, 3, 14, 23, tzinfo=UTC)
ADDRESS = {"bigquery": "bigquery://project/shop?location=EU", "mssql": "mssql://me:verysecret@127.0.0.1:1/shop"}


def source(settings: Any, **of_source: Any) -> DatabaseSource:
    columns = (ml.Column("id", "int"), ml.Column("at", "timestamp"), ml.Column("order", "text", source="Order Id"))
    given = {"table": "orders"} if not of_source.get("sql") else {}
    return DatabaseSource(
        ml.Table("orders", ml.Database("shop", **given, **of_source), key=("id",), time="at", columns=columns), settings
    )


def of_bigquery(at: pa.DataType) -> dict[str, Any]:
    fields = [("id", pa.int64()), ("at", at), ("Order Id", pa.string())]
    return dict(arrow_types(pa.schema(fields), bigquery.BigQuery.forms))


def of_sql_server(at: str) -> dict[str, Any]:
    return {name: NamedType(kind, kind, sql_server.RULES) for name, kind in (("id", "int"), ("at", at), ("Order Id", "char"))}


def written(source: DatabaseSource, query: Any) -> str:
    return " ".join(str(query.compile(source.engine, compile_kwargs={"literal_binds": True})).split())


AT = {
    "bigquery": (of_bigquery, pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()),
    "mssql": (of_sql_server, "datetimeoffset", "datetime2", "date"),
}
BOUNDS = {
    "bigquery": (
        "TIMESTAMP '2024-03-13 23:00:00.000000+00:00'",
        "DATETIME '2024-03-13 21:00:00.000000'",
        "DATE '2024-03-12'",
    ),
    "mssql": (
        "CAST('2024-03-13 23:00:00.000000+00:00' AS DATETIMEOFFSET(6))",
        "CAST('2024-03-13 21:00:00.000000' AS DATETIME2(6))",
        "'2024-03-12'",
    ),
}


@pytest.mark.parametrize("kind", ADDRESS)
def test_the_rows_of_a_tick_are_asked_by_the_type_of_their_time(kind: str, make_platform: Callable) -> None:
    settings, (types_of, *ats) = make_platform(shop=ADDRESS[kind]).settings, AT[kind]
    for at, bound in zip(ats, BOUNDS[kind], strict=True):
        one = source(settings, timezone="Europe/Zurich")
        types = types_of(at)
        asked = written(one, one._between(one._selection(types), types, START, END))
        assert f"at` >= {bound}" in asked or f"at >= {bound}" in asked, asked
        tree = sqlglot.parse_one(asked, read={"mssql": "tsql"}.get(kind, kind))
        assert [found.alias for found in tree.expressions] == ["id", "at", "order"]
        assert {found.name for found in tree.find_all(exp.Column)} == {"id", "at", "Order Id"}
        assert [(found.name, found.alias) for found in tree.find_all(exp.Table)] == [("orders", "rows_of_table")]


@pytest.mark.parametrize("kind", ADDRESS)
def test_all_other_questions_can_be_read_as_the_dialect(kind: str, make_platform: Callable) -> None:
    settings, (types_of, *ats) = make_platform(shop=ADDRESS[kind]).settings, AT[kind]
    for at in ats:
        for one in (
            source(settings),
            source(settings, sql="SELECT id, at, x AS `Order Id` FROM a JOIN b USING (id) WHERE y LIKE '%:z'"),
        ):
            if one.source.sql and kind == "mssql":
                continue  # which quotes with brackets
            types = types_of(at)
            which = times.conditions(one._rows_of, "at", types["at"])
            when = one._rows_of.c["at"]
            for query in (
                no_rows(one._rows_of) if kind == "bigquery" else select(func.count()).select_from(one._rows_of),
                select(func.count()).select_from(one._rows_of).where(which.absent),
                one._selection(types).where(or_(which.absent, which.unusual)),
                select(func.max(when)).where(types["at"].finite(when)),
            ):
                sqlglot.parse_one(written(one, query), read={"mssql": "tsql"}.get(kind, kind))


def test_a_table_of_bigquery_is_that_of_the_dataset_or_of_the_declared_one(make_platform: Callable) -> None:
    settings = make_platform(shop=ADDRESS["bigquery"]).settings
    for schema, expected in ((None, "`shop`.`orders`"), ("other.shop", "`other`.`shop`.`orders`")):
        one = source(settings, schema=schema)
        assert f"FROM {expected} AS `rows_of_table`" in written(one, no_rows(one._rows_of))


def test_an_address_of_bigquery_is_told_apart_and_its_driver_asks_for_credentials(
    make_platform: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    wrong = make_platform(shop="bigquery://project").settings
    with pytest.raises(SourceUnreachable, match=r"connection 'shop' has a wrong URL: .*bigquery://PROJECT/DATASET"):
        look(source(make_platform(shop=ADDRESS["bigquery"]).settings).table, wrong)
    away = make_platform(shop=f"{ADDRESS['bigquery']}&credentials_file={tmp_path}/nowhere.json").settings
    with pytest.raises(SourceUnreachable, match=r"nowhere\.json: no such file"):
        look(source(away).table, away)


def test_a_server_that_is_away_is_told_without_the_password(make_platform: Callable) -> None:
    settings = make_platform(shop=ADDRESS["mssql"]).settings
    with pytest.raises(SourceUnreachable, match=r"connection 'shop'.*does not answer: 200.*Unable to connect") as told:
        look(source(settings).table, settings)
    assert "verysecret" not in str(told.value)


def test_a_query_that_begins_with_with_is_refused_for_sql_server(make_platform: Callable) -> None:
    settings = make_platform(shop=ADDRESS["mssql"]).settings
    with pytest.raises(SourceUnreachable, match="no query is read that begins with WITH"):
        look(source(settings, sql="WITH a AS (SELECT 1 AS id) SELECT * FROM a").table, settings)


def test_errors_are_told_without_values_of_rows() -> None:
    import pymssql

    assert reason(pymssql.OperationalError(208, b"Invalid object name 'x'.")) == "208: Invalid object name 'x'."
    assert (
        reason(pymssql.OperationalError(245, b"Conversion failed when converting 'Ann'")) == "OperationalError with number 245"
    )
    compiled = "UNKNOWN: [BigQuery] googleapi: Error 400: Unrecognized name: prize at [1:8], invalidQuery"
    assert reason(OSError(compiled)) == compiled
    assert "Ann" not in reason(OSError("UNKNOWN: [BigQuery] googleapi: Error 400: Bad int64 value: Ann, invalidQuery"))


def test_moments_of_sql_server_that_have_a_time_zone_are_read_in_utc(make_platform: Callable) -> None:
    one = source(make_platform(shop=ADDRESS["mssql"]).settings)
    types = of_sql_server("datetimeoffset")
    asked = written(one, one._selection(types))
    assert "CAST(switchoffset(rows_of_table.at, '+00:00') AS DATETIME2(6)) AS at" in asked
    assert "rtrim(rows_of_table.[Order Id]) AS [order]" in asked
    assert list(types["at"].plain([datetime(2024, 3, 14, 8), None])) == [datetime(2024, 3, 14, 8, tzinfo=UTC), None]  # noqa: DTZ001


def test_an_airflow_connection_to_snowflake_keeps_its_account_and_warehouse() -> None:
    extra = {"account": "acme-eu1", "database": "SALES", "warehouse": "SMALL", "role": "READER", "other": "no", "region": ""}
    url = with_extra_fields(URL.create("snowflake", "me", "very/secret", None, None, "PUBLIC"), extra)
    options = Snowflake().create_connect_args(make_url(url.render_as_string(hide_password=False)))[1]["db_kwargs"]
    told = {name.removeprefix("adbc.snowflake.sql."): value for name, value in options.items() if "client_option" not in name}
    assert told == {
        "username": "me", "password": "very/secret", "account": "acme-eu1", "db": "SALES", "schema": "PUBLIC",
        "warehouse": "SMALL", "role": "READER",
    }  # fmt: skip
