"""Tables of a server that speaks Snowflake's protocol, read through its driver: fakesnow, which keeps them in DuckDB."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.operations.doctor import check_installation
from mlprod_tasks.platform.sources import (
    SourceMissing,
    SourceUnreachable,
    TypeNotRead,
    look,
    naive_times,
    newest,
    read,
    size,
    unusual_times,
)
from mlprod_tasks.platform.warehouses.adbc_dialect import whole
from mlprod_tasks.starting.database_samples import from_database

COLUMNS = (ml.Column("order_id", "int"), ml.Column("ordered_at", "timestamp"), ml.Column("amount", "float", nullable=True))
MOMENT = datetime(2024, 3, 14, 8, tzinfo=UTC)
TYPES = [
    ("NUMBER(38, 0)", "9007199254740993", "int", 9007199254740993),
    ("NUMBER(10, 2)", "7.00", "int", 7),
    ("NUMBER(10, 2)", "7.00", "text", "7"),
    ("FLOAT", "0.1", "float", 0.1),
    ("VARCHAR", "'AB \u00e9'", "text", "AB \u00e9"),
    ("VARCHAR", "'2024-03-14T10:00:00+02:00'", "timestamp", MOMENT),
    ("BOOLEAN", "true", "bool", True),
    ("DATE", "'2024-03-14'::DATE", "date", date(2024, 3, 14)),
    ("TIME", "'10:00:00'::TIME", "text", "10:00:00"),
    ("TIMESTAMP_NTZ", "'2024-03-14 08:00:00'::TIMESTAMP_NTZ", "timestamp", MOMENT),
    ("TIMESTAMP_NTZ", "'9999-12-31 00:00:00'::TIMESTAMP_NTZ", "timestamp", datetime(9999, 12, 31, tzinfo=UTC)),
    ("TIMESTAMP_TZ", "'2024-03-14 10:00:00+02:00'::TIMESTAMP_TZ", "timestamp", MOMENT),
    ("TIMESTAMP_LTZ", "'2024-03-14 10:00:00+02:00'::TIMESTAMP_LTZ", "timestamp", MOMENT),
    ("VARIANT", "PARSE_JSON('{\"a\":1}')", "text", '{"a":1}'),
    ("ARRAY", "PARSE_JSON('[1,2]')", "text", "[1,2]"),
    ("BINARY", "TO_BINARY('6162', 'HEX')", "text", "ab"),
]


@pytest.fixture
def orders(snowflake):
    snowflake.run(
        "CREATE TABLE orders (order_id NUMBER(10) PRIMARY KEY, ordered_at TIMESTAMP_TZ, amount NUMBER(10, 2), other VARCHAR)",
        """INSERT INTO orders VALUES
        (1, '2024-03-13 22:59:59+00:00', 1, 'a'), (2, '2024-03-13 23:00:00+00:00', 2.5, 'b'),
        (3, '2024-03-14 23:59:59+01:00', NULL, 'c'), (4, '2024-03-14 23:00:00+00:00', 4, 'd')""",
    )
    return snowflake


def table_of(*columns: ml.Column, source: ml.Database | None = None, **more: Any) -> ml.Table:
    return ml.Table("things", source or ml.Database("shop", "things"), key=("id",), columns=columns, **more)


def test_a_tick_is_read_from_a_table(orders, orders_pipeline, make_platform) -> None:
    pipeline = orders_pipeline(columns=COLUMNS)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=orders.url))
    assert done.undeclared == ("other",)
    rows = pq.read_table(done.path).select(["order_id", "amount"]).to_pylist()
    assert rows == [{"order_id": 2, "amount": 2.5}, {"order_id": 3, "amount": None}]


def test_a_tick_is_read_from_a_query(orders, orders_pipeline, make_platform) -> None:
    sql = "SELECT order_id, ordered_at, amount::FLOAT * 2 AS amount FROM orders WHERE other LIKE '_%' AND '?' <> ':x'"
    pipeline = orders_pipeline(columns=COLUMNS, source=ml.Database("shop", sql=sql))
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=orders.url))
    assert pq.read_table(done.path)["amount"].to_pylist() == [5.0, None]


def test_each_type_is_the_value_that_it_is_beside_a_null(snowflake, make_platform) -> None:
    made = ", ".join(f"v{number} {kind}" for number, (kind, *_) in enumerate(TYPES))
    given, nothing = ", ".join(literal for _, literal, *_ in TYPES), ", ".join("NULL" for _ in TYPES)
    snowflake.run(
        f"CREATE TABLE things (id INT, {made})",
        f"INSERT INTO things SELECT 1, {given}",
        f"INSERT INTO things SELECT 2, {nothing}",
    )
    columns = (ml.Column(f"v{number}", kind) for number, (_, _, kind, _) in enumerate(TYPES))
    table, settings = table_of(ml.Column("id", "int"), *columns), make_platform(shop=snowflake.url).settings
    look(table, settings)
    rows = pa.Table.from_batches(read(table, settings, None, None)).sort_by("id")
    for number, (kind, _, declared, expected) in enumerate(TYPES):
        converted = convert(rows[f"v{number}"].combine_chunks(), declared)
        assert (kind, converted.lossless, converted.values.to_pylist()) == (kind, True, [expected, None])


def test_moments_without_a_time_zone_are_local_to_the_declared_one(snowflake, orders_pipeline, make_platform) -> None:
    snowflake.run(
        "CREATE TABLE orders (order_id INT, ordered_at TIMESTAMP_NTZ, amount INT)",
        """INSERT INTO orders VALUES (1, '2024-03-13 23:59:59', 1), (2, '2024-03-14 00:00:00', 1),
        (3, '2024-03-14 23:59:59', 1), (4, '2024-03-15 00:00:00', 1)""",
    )
    pipeline = orders_pipeline(columns=COLUMNS, source=ml.Database("shop", "orders", timezone="Europe/Zurich"))
    platform = make_platform(shop=snowflake.url)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    rows = pq.read_table(done.path)
    assert rows["order_id"].to_pylist() == [2, 3]
    assert rows["ordered_at"][0].as_py() == datetime(2024, 3, 13, 23, tzinfo=UTC)
    assert naive_times(pipeline.tables[0], platform.settings) == ["ordered_at"]


def test_rows_without_a_time_are_counted(orders, orders_pipeline, make_platform) -> None:
    orders.run("INSERT INTO orders VALUES (5, NULL, 1, 'e')")
    table, settings = orders_pipeline(columns=COLUMNS).tables[0], make_platform(shop=orders.url).settings
    found = unusual_times(table, settings)
    assert found is not None
    assert (found.missing, found.unusual) == (1, [])
    assert size(table, settings) == 5
    assert str(newest(table, settings)).startswith("2024-03-14")


def test_names_are_those_of_the_declaration_in_any_case(snowflake, make_platform) -> None:
    snowflake.run(
        'CREATE TABLE "Group" (id INT, "select" INT, "Order Id" INT, "ORDER" INT)', 'INSERT INTO "Group" VALUES (1, 2, 3, 4)'
    )
    columns = (ml.Column("id", "int", source="ID"), ml.Column("number", "int", source="Order Id"), ml.Column("order", "int"))
    table = table_of(*columns, source=ml.Database("shop", "Group", schema="PUBLIC"))
    settings = make_platform(shop=snowflake.url).settings
    assert look(table, settings).undeclared == ('"select"',)
    (rows,) = read(table, settings, None, None)
    assert rows.to_pylist() == [{"id": Decimal(1), "number": Decimal(3), "order": Decimal(4)}]


def test_what_is_wrong_with_a_source_is_told_with_a_remedy(orders, make_platform) -> None:
    settings = make_platform(shop=orders.url).settings
    known = ml.Column("order_id", "int")
    table = replace(table_of(known), key=("order_id",))
    with pytest.raises(
        SourceMissing, match=r"table 'things': table 'things' at snowflake://me:\*\*\*@account.* does not exist"
    ):
        look(table, settings)
    lacking = replace(table, source=ml.Database("shop", "orders"), columns=(known, ml.Column("price", "float")))
    with pytest.raises(SourceMissing, match="has no column 'price'; it has amount, order_id, ordered_at, other"):
        look(lacking, settings)
    with pytest.raises(SourceUnreachable, match=r"answers, but its rows cannot be read: .*Correct the source"):
        look(replace(table, source=ml.Database("shop", sql="SELECT order_id FRM orders")), settings)
    texts = replace(table, source=ml.Database("shop", "orders"), columns=(known, ml.Column("other", "timestamp")), time="other")
    with pytest.raises(TypeNotRead, match=r"'other': it is string .*must be a timestamp or a date.*TO_TIMESTAMP_TZ\(other\)"):
        look(texts, settings)


def test_a_value_in_an_error_of_the_server_is_not_told(orders, make_platform) -> None:
    source = ml.Database("shop", sql="SELECT order_id, other::INT AS number FROM orders")
    table = ml.Table("things", source, key=("order_id",), columns=(ml.Column("order_id", "int"), ml.Column("number", "int")))
    with pytest.raises(SourceUnreachable, match="cannot be read: InternalError with SQLSTATE") as told:
        list(read(table, make_platform(shop=orders.url).settings, None, None))
    assert "'a'" not in str(told.value)


def test_a_server_that_is_away_is_told_without_the_password(make_platform) -> None:
    at = "host=127.0.0.1&port=1&protocol=http&adbc.snowflake.sql.client_option.login_timeout=1s"
    settings = make_platform(shop=f"snowflake://me:verysecret@account/a/b?{at}").settings
    with pytest.raises(SourceUnreachable, match=r"connection 'shop'.*does not answer.*connection refused") as told:
        look(table_of(ml.Column("id", "int")), settings)
    assert "verysecret" not in str(told.value)


def test_a_word_that_an_address_does_not_have_is_told(make_platform) -> None:
    settings = make_platform(shop="snowflake://me:verysecret@account/a/b?wharehouse=big").settings
    with pytest.raises(SourceUnreachable, match="a Snowflake address has no wharehouse; it has account, database"):
        look(table_of(ml.Column("id", "int")), settings)


def test_a_stream_that_breaks_off_without_an_error_is_refused() -> None:
    batches = [pa.record_batch({"a": [1, 2]}), pa.record_batch({"a": [3]})]
    assert list(whole(batches, 3)) == list(whole(batches, -1)) == batches
    with pytest.raises(OSError, match="3 of 4 rows came"):
        list(whole(batches, 4))


def test_the_doctor_looks_at_a_warehouse(orders, orders_pipeline, make_platform, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = orders_pipeline(columns=COLUMNS)
    monkeypatch.setattr("mlprod_tasks.operations.doctor.load_all", lambda _: {"returns": pipeline})
    found = {one.what: one for one in check_installation(make_platform(shop=orders.url))}
    assert found[f"{pipeline.name}: connection 'shop'"].message == "snowflake answers"
    assert found[f"{pipeline.name}: table 'orders'"].message == "can be read"


def test_init_samples_a_table_with_its_key(orders) -> None:
    (sample,) = from_database(orders.url, "shop")
    assert (sample.name, sample.key, sample.whole, sample.rows.num_rows) == ("orders", ("order_id",), True, 4)
    assert sample.rows.column_names == ["order_id", "ordered_at", "amount", "other"]
