"""Redshift's way of reading, on a real PostgreSQL: the same protocol and driver. Nothing was run against Redshift itself."""

from datetime import UTC, date, datetime
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform.sources import SourceMissing, SourceUnreachable, TypeNotRead, look, naive_times, read, unusual_times
from mlprod_tasks.platform.warehouses.redshift import NUMBERED, RULES
from mlprod_tasks.starting.database_samples import from_database

COLUMNS = (ml.Column("order_id", "int"), ml.Column("ordered_at", "timestamp"), ml.Column("amount", "float", nullable=True))
MOMENT = datetime(2024, 3, 14, 8, tzinfo=UTC)
TYPES = [
    ("boolean", "true", "bool", True),
    ("smallint", "-7", "int", -7),
    ("integer", "7", "text", "7"),
    ("bigint", "9007199254740993", "int", 9007199254740993),
    ("oid", "7", "int", 7),
    ("real", "1.5", "float", 1.5),
    ("double precision", "0.1", "float", 0.1),
    ("numeric(10, 2)", "7.00", "text", "7"),
    ("name", "'a'", "text", "a"),
    ("text", "'AB '", "text", "AB "),
    ("character(5)", "'AB'", "text", "AB"),
    ("character varying(9)", "'\u00e9'", "text", "\u00e9"),
    ("date", "'2024-03-14'", "date", date(2024, 3, 14)),
    ("date", "'infinity'", "text", "infinity"),
    ("time", "'10:00'", "text", "10:00:00"),
    ("timetz", "'10:00+02'", "text", "10:00:00+02"),
    ("timestamp", "'2024-03-14 08:00:00'", "timestamp", MOMENT),
    ("timestamp", "'12024-03-14 08:00:00'", "text", "12024-03-14 08:00:00"),
    ("timestamptz", "'2024-03-14 10:00:00+02'", "timestamp", MOMENT),
]


def run(url: str, *statements: str) -> None:
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.fixture
def redshift(postgres_database: str) -> str:
    """The URL of an own database as if it were of Redshift, whose sessions are in another time zone than UTC."""
    run(
        postgres_database,
        f"ALTER DATABASE {postgres_database.rpartition('/')[2].partition('?')[0]} SET timezone TO 'Asia/Tokyo'",
    )
    return "redshift" + postgres_database[postgres_database.index("://") :]


def things(*columns: ml.Column, **more: Any) -> ml.Table:
    return ml.Table("things", ml.Database("shop", "things"), key=("id",), columns=(ml.Column("id", "int"), *columns), **more)


def test_a_tick_is_read_from_a_table_and_from_a_query(redshift, postgres_database, orders_pipeline, make_platform) -> None:
    run(
        postgres_database,
        "CREATE TABLE orders (order_id int, ordered_at timestamptz, amount numeric(10, 2), other text)",
        """INSERT INTO orders VALUES (1, '2024-03-13 22:59:59+00', 1, 'a'), (2, '2024-03-13 23:00:00+00', 2.5, 'b'),
        (3, '2024-03-14 23:59:59+01', NULL, 'c'), (4, '2024-03-14 23:00:00+00', 4, 'd'), (5, NULL, 1, 'e')""",
    )
    sql = "SELECT order_id, ordered_at, amount FROM orders WHERE other LIKE '%' AND ordered_at::date > '2024-01-01'"
    platform = make_platform(shop=redshift)
    for source in (ml.Database("shop", "orders"), ml.Database("shop", sql=sql)):
        pipeline = orders_pipeline(columns=COLUMNS, source=source, max_refused_share=0.5)
        done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
        rows = pq.read_table(done.path).select(["order_id", "amount"]).to_pylist()
        assert rows == [{"order_id": 2, "amount": 2.5}, {"order_id": 3, "amount": None}]
    whole = orders_pipeline(columns=COLUMNS).tables[0]
    found = unusual_times(whole, platform.settings)
    assert found is not None
    assert found.missing == 1
    assert naive_times(whole, platform.settings) == []


def test_each_type_is_the_value_that_it_is_beside_a_null(redshift, postgres_database, make_platform) -> None:
    made = ", ".join(f"v{number} {kind}" for number, (kind, *_) in enumerate(TYPES))
    given, nothing = ", ".join(literal for _, literal, *_ in TYPES), ", ".join("NULL" for _ in TYPES)
    run(postgres_database, f"CREATE TABLE things (id int, {made})", f"INSERT INTO things VALUES (1, {given}), (2, {nothing})")
    settings = make_platform(shop=redshift).settings
    table = things(*(ml.Column(f"v{number}", kind) for number, (_, _, kind, _) in enumerate(TYPES)))
    look(table, settings)
    (rows,) = [rows for rows in read(table, settings, None, None) if rows["id"][0].as_py() == 1]
    for number, (kind, _, declared, expected) in enumerate(TYPES):
        converted = convert(rows[f"v{number}"], declared)
        assert (kind, converted.lossless, converted.values[0].as_py()) == (kind, True, expected)
    tried = {kind.partition("(")[0] for kind, *_ in TYPES}
    known = RULES.read | RULES.naive | RULES.aware | RULES.dates
    assert known - tried == {"super"}  # which PostgreSQL does not have
    assert known <= set(NUMBERED.values())


def test_init_samples_a_table_with_its_key(redshift, postgres_database) -> None:
    run(
        postgres_database,
        "CREATE TABLE orders (day date, order_id int, tags int[], nothing text, PRIMARY KEY (day, order_id))",
        "INSERT INTO orders VALUES ('2024-03-14', 1, NULL, NULL)",
    )
    (sample,) = from_database(redshift, "shop")
    assert (sample.name, sample.key, sample.whole) == ("orders", ("day", "order_id"), True)
    assert sample.rows.to_pylist() == [{"day": date(2024, 3, 14), "order_id": 1, "nothing": None}]


def test_what_is_wrong_is_told_and_a_session_cannot_write(redshift, postgres_database, make_platform) -> None:
    run(postgres_database, "CREATE TABLE things (id int, tags int[], at text)", "CREATE SEQUENCE counted")
    settings = make_platform(shop=redshift).settings
    missing = ml.Table("things", ml.Database("shop", "nowhere"), key=("id",), columns=(ml.Column("id", "int"),))
    with pytest.raises(SourceMissing, match=r"table 'nowhere' at redshift://.* does not exist"):
        look(missing, settings)
    with pytest.raises(TypeNotRead, match=r"column 'tags': it is type 1007 .* a type that is not read"):
        look(things(ml.Column("tags", "text")), settings)
    with pytest.raises(TypeNotRead, match=r"the table's time must be a timestamp or a date\. .*TIMESTAMP 'epoch' \+ at \*"):
        look(things(ml.Column("at", "timestamp"), time="at"), settings)
    writing = ml.Database("shop", sql="SELECT nextval('counted') AS id")
    with pytest.raises(SourceUnreachable, match="read-only transaction"):
        list(read(ml.Table("things", writing, key=("id",), columns=(ml.Column("id", "int"),)), settings, None, None))
    wrong = make_platform(shop="redshift://me:verysecret@127.0.0.1:1/x").settings
    with pytest.raises(SourceUnreachable, match=r"connection 'shop'.*does not answer") as told:
        look(things(), wrong)
    assert "verysecret" not in str(told.value)
