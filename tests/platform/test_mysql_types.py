"""Tables of MariaDB: each type is read as the value that it is, or refused by name; moments mean what the server means."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.mysql_types import AS_THEY_ARE, CONVERTED
from mlprod_tasks.platform.sources import SourceUnreachable, TypeNotRead, look, naive_times, newest, read, unusual_times

READ = [
    ("tinyint(1)", "1", "bool", True),
    ("tinyint(1)", "7", "int", 7),
    ("tinyint unsigned", "255", "int", 255),
    ("smallint", "-7", "text", "-7"),
    ("mediumint", "7", "int", 7),
    ("int unsigned", "4294967295", "int", 4294967295),
    ("bigint", "-9223372036854775808", "int", -(2**63)),
    ("bigint unsigned", "9007199254740993", "int", 9007199254740993),
    ("bigint unsigned", "18446744073709551615", "text", "18446744073709551615"),
    ("year", "2024", "int", 2024),
    ("bit(1)", "b'1'", "bool", True),
    ("bit(10)", "b'1000000001'", "int", 513),
    ("float", "16777215", "int", 16777215),
    ("float", "1.5", "float", 1.5),
    ("double", "0.1", "float", 0.1),
    ("decimal(10,2)", "7.00", "int", 7),
    ("decimal(10,2)", "7.00", "text", "7"),
    ("decimal(65,30)", "0.1", "float", 0.1),
    ("char(5)", "'AB '", "text", "AB"),
    ("varchar(9)", "'AB '", "text", "AB "),
    ("varchar(9) character set utf8mb4", "'\U0001f600é'", "text", "\U0001f600é"),
    ("varchar(9) character set latin1", "'é'", "text", "é"),
    ("tinytext", "'a'", "text", "a"),
    ("text", "'2024-03-14 10:00:00'", "timestamp", "2024-03-14 10:00:00+00:00"),
    ("mediumtext", "'a'", "text", "a"),
    ("longtext", "'a'", "text", "a"),
    ("enum('glad','sad')", "'sad'", "text", "sad"),
    ("set('a','b')", "'b,a'", "text", "a,b"),
    ("json", "'{\"a\": 1}'", "text", '{"a": 1}'),
    ("binary(2)", "'ab'", "text", "ab"),
    ("varbinary(9)", "'ab'", "text", "ab"),
    ("tinyblob", "'ab'", "text", "ab"),
    ("blob", "'ab'", "text", "ab"),
    ("mediumblob", "'ab'", "text", "ab"),
    ("longblob", "'ab'", "text", "ab"),
    ("date", "'2024-03-14'", "date", "2024-03-14"),
    ("datetime(6)", "'2024-03-14 10:00:00.123456'", "timestamp", "2024-03-14 10:00:00.123456+00:00"),
    ("datetime", "'2024-03-14 10:00:00'", "timestamp", "2024-03-14 10:00:00+00:00"),
    ("timestamp(6)", "'2024-03-14 10:00:00.5'", "timestamp", "2024-03-14 10:00:00.500000+00:00"),
    ("time(3)", "'-27:00:00.5'", "text", "-27:00:00.500"),
    ("uuid", "'7A3E8A3C-1111-2222-3333-444455556666'", "text", "7a3e8a3c-1111-2222-3333-444455556666"),
    ("inet4", "'10.0.0.1'", "text", "10.0.0.1"),
    ("inet6", "'::1'", "text", "::1"),
]


def run(url: str, *statements: str) -> None:
    with open_database(url, writes=True).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def table_of(*columns: ml.Column, source: str = "things", **more: Any) -> ml.Table:
    return ml.Table("things", ml.Database("shop", source, **more), key=("id",), columns=(ml.Column("id", "int", "x"), *columns))


def test_each_type_that_is_read_is_the_value_that_it_is_beside_a_null(mariadb_database: str, make_platform) -> None:
    settings = make_platform(shop=mariadb_database).settings
    made = ", ".join(f"v{number} {kind} NULL" for number, (kind, *_) in enumerate(READ))
    given = ", ".join(literal for _, literal, *_ in READ)
    nothing = ", ".join("NULL" for _ in READ)
    run(mariadb_database, f"CREATE TABLE things (id int, {made})", f"INSERT INTO things VALUES (1, {given}), (2, {nothing})")
    table = table_of(*(ml.Column(f"v{number}", kind, "x") for number, (_, _, kind, _) in enumerate(READ)))
    look(table, settings)
    one, other = read(table, settings, None, None)  # a date and no date are of two types
    of_query = ml.Table("things", ml.Database("shop", sql="SELECT * FROM things"), key=("id",), columns=table.columns)
    look(of_query, settings)
    assert all(map(pa.RecordBatch.equals, read(of_query, settings, None, None), (one, other)))
    for number, (kind, _, declared, expected) in enumerate(READ):
        converted, missing = (convert(rows[f"v{number}"], declared) for rows in (one, other))
        value = converted.values[0].as_py()
        got = str(value) if declared in ("timestamp", "date") else value
        assert (kind, converted.lossless, got, missing.lossless, missing.values[0].as_py()) == (
            kind,
            True,
            expected,
            True,
            None,
        )


def test_every_type_in_the_lists_is_tried() -> None:
    assert {kind.partition("(")[0].split()[0] for kind, *_ in READ} == AS_THEY_ARE | CONVERTED


def test_a_type_without_a_meaning_here_is_refused_by_name(mariadb_database: str, make_platform) -> None:
    settings = make_platform(shop=mariadb_database).settings
    run(mariadb_database, "CREATE TABLE things (id int, value point)")
    for table in (
        table_of(ml.Column("value", "text", "x")),
        ml.Table("things", ml.Database("shop", sql="SELECT * FROM things"), key=("id",), columns=(ml.Column("value", "text"),)),
    ):
        with pytest.raises(TypeNotRead, match=r"column 'value': it is (point|geometry) in .*such as ST_AsText\(value\)"):
            look(table, settings)


def test_a_timestamp_is_a_moment_and_a_datetime_is_local(mariadb_database: str, make_platform) -> None:
    """The server's own zone is +05:00. What is local to Zurich in March is an hour before UTC says."""
    run(
        mariadb_database,
        "CREATE TABLE orders (order_id int, ordered_at datetime(6), paid_at timestamp(6) NULL)",
        "SET time_zone = '+02:00'",
        "INSERT INTO orders VALUES (1, '2024-03-14 00:30:00', '2024-03-14 12:00:00'), (2, '2024-03-14 00:00:00', NULL)",
        "INSERT INTO orders VALUES (3, '2024-03-15 00:00:00', NULL), (4, '2024-03-14 23:59:59.999999', NULL)",
    )
    columns = (
        ml.Column("order_id", "int"),
        ml.Column("ordered_at", "timestamp"),
        ml.Column("paid_at", "timestamp", nullable=True),
    )
    orders = ml.Table(
        "orders", ml.Database("shop", "orders", timezone="Europe/Zurich"), key=("order_id",), time="ordered_at", columns=columns
    )
    settings = make_platform(shop=mariadb_database).settings
    assert naive_times(orders, settings) == ["ordered_at"]
    day = (datetime(2024, 3, 13, 23, tzinfo=UTC), datetime(2024, 3, 14, 23, tzinfo=UTC))
    found = [row for batch in read(orders, settings, *day) for row in batch.to_pylist()]
    assert {row["order_id"] for row in found} >= {1, 2, 4}
    (paid,) = [row["paid_at"] for row in found if row["paid_at"]]
    assert paid == datetime(2024, 3, 14, 10, tzinfo=UTC)
    assert newest(orders, settings) == "2024-03-15 00:00:00.000000"


def test_rows_with_a_zero_date_belong_to_no_tick_and_are_counted(mariadb_database: str, make_platform) -> None:
    run(
        mariadb_database,
        "SET sql_mode = ''",
        "CREATE TABLE orders (order_id int, ordered_at datetime, sent_on date)",
        "INSERT INTO orders VALUES (1, '2024-03-14 12:00:00', '0000-00-00'), (2, '0000-00-00', NULL), (3, NULL, NULL)",
        "INSERT INTO orders VALUES (4, '2024-03-00 12:00:00', NULL), (5, '2024-03-14 13:00:00', '2024-03-15')",
    )
    columns = (ml.Column("order_id", "int"), ml.Column("ordered_at", "timestamp"), ml.Column("sent_on", "date", nullable=True))
    orders = ml.Table(
        "orders", ml.Database("shop", "orders", timezone="UTC"), key=("order_id",), time="ordered_at", columns=columns
    )
    settings = make_platform(shop=mariadb_database).settings
    assert unusual_times(orders, settings).missing == 3
    day = (datetime(2024, 3, 14, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC))
    batches = list(read(orders, settings, *day))
    sent = {row["order_id"]: str(row["sent_on"]) for batch in batches for row in batch.to_pylist()}
    assert sent == {1: "0000-00-00", 5: "2024-03-15"}
    of_zero = next(batch for batch in batches if batch["order_id"][0].as_py() == 1)
    assert convert(of_zero["sent_on"], "date").failed.to_pylist() == [True]


def test_rows_are_streamed(mariadb_database: str, make_platform) -> None:
    """While the first of many rows are looked at, the server still sends."""
    sql = "SELECT seq AS id, REPEAT('x', 2000) AS value FROM seq_1_to_20000"
    columns = (ml.Column("id", "int", "x"), ml.Column("value", "text", "x"))
    table = ml.Table("things", ml.Database("shop", sql=sql), key=("id",), columns=columns)
    rows = read(table, make_platform(shop=mariadb_database).settings, None, None, chunk_rows=100)
    first = next(iter(rows))
    assert first.num_rows == 100
    with open_database(mariadb_database).connect() as connection:
        running = connection.execute(text("SELECT info FROM information_schema.processlist")).scalars().all()
    assert any("seq_1_to_20000" in (one or "") and "processlist" not in one for one in running)
    assert sum(batch.num_rows for batch in rows) == 19_900


def test_a_query_can_change_nothing(mariadb_database: str, make_platform) -> None:
    run(
        mariadb_database,
        "CREATE TABLE things (id int)",
        "CREATE FUNCTION added() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO things VALUES (1); RETURN 1; END",
    )
    table = ml.Table("things", ml.Database("shop", sql="SELECT added() AS id"), key=("id",), columns=(ml.Column("id", "int"),))
    with pytest.raises(SourceUnreachable, match=r"1792: Cannot execute statement in a READ ONLY transaction"):
        list(read(table, make_platform(shop=mariadb_database).settings, None, None))


def test_a_refusal_shows_neither_password_nor_value(mariadb_database: str, make_platform) -> None:
    wrong = mariadb_database.replace("root@", "nobody:verysecret@")
    table = table_of()
    with pytest.raises(SourceUnreachable, match=r"does not answer: OperationalError 1045: Access denied") as error:
        look(table, make_platform(shop=wrong).settings)
    assert "verysecret" not in str(error.value)
    run(mariadb_database, "CREATE TABLE things (id int)", "INSERT INTO things VALUES (1)")
    sql = "SELECT EXTRACTVALUE('<a/>', CONCAT('~', 'Ann')) AS id FROM things"
    of_query = ml.Table("things", ml.Database("shop", sql=sql), key=("id",), columns=(ml.Column("id", "text"),))
    with pytest.raises(SourceUnreachable, match="its rows cannot be read") as error:
        list(read(of_query, make_platform(shop=mariadb_database).settings, None, None))
    assert "Ann" not in str(error.value)


def test_a_tick_is_extracted(mariadb_database: str, make_platform, orders_pipeline) -> None:
    import pyarrow.parquet as pq

    run(
        mariadb_database,
        "CREATE TABLE `Order's` (`Order ID` int, ordered_at timestamp NULL, `Betrag €` decimal(9,2)) CHARACTER SET utf8mb4",
        "INSERT INTO `Order's` VALUES (1, '2024-03-14 12:00:00', 7.50), (2, '2024-03-16 12:00:00', 8)",
    )
    columns = (
        ml.Column("order_id", "int", source="Order ID"),
        ml.Column("ordered_at", "timestamp"),
        ml.Column("amount", "float", source="Betrag €"),
    )
    pipeline = orders_pipeline(source=ml.Database("shop", "Order's"), columns=columns)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=mariadb_database))
    assert pq.read_table(done.path).select(["order_id", "amount"]).to_pylist() == [{"order_id": 1, "amount": 7.5}]
