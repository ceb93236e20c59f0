"""Each type of PostgreSQL is read as the value that it is, or refused by name."""

from typing import Any

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform.postgres_types import AS_TEXT, AS_THEY_ARE
from mlprod_tasks.platform.sources import TypeNotRead, look, newest, read

SETUP = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE DOMAIN price AS money",
    "CREATE DOMAIN net AS inet",
    "CREATE DOMAIN inner_net AS net",
)
READ = [
    ("int2", "7", "int", 7),
    ("int4", "-7", "text", "-7"),
    ("int8", "9007199254740993", "int", 9007199254740993),
    ("oid", "3000000000", "int", 3000000000),
    ("float4", "1.5", "float", 1.5),
    ("float8", "'-infinity'", "float", float("-inf")),
    ("numeric", "'infinity'", "float", float("inf")),
    ("numeric(10, 2)", "7.00", "int", 7),
    ("numeric(10, 2)", "7.00", "text", "7"),
    ("numeric", "0.10", "text", "0.1"),
    ("money", "12.34", "float", 12.34),
    ("price", "1200", "int", 1200),
    ("bool", "true", "bool", True),
    ("char(5)", "'AB'", "text", "AB"),
    ('"char"', "'a'", "text", "a"),
    ("varchar(9)", "'AB '", "text", "AB "),
    ("name", "'AB'", "text", "AB"),
    ("bytea", "'\\x6162'", "text", "ab"),
    ("date", "'2024-03-14'", "date", "2024-03-14"),
    ("date", "'infinity'", "text", "infinity"),
    ("timestamp", "'2024-03-14 10:00:00.5'", "timestamp", "2024-03-14 10:00:00.500000+00:00"),
    ("timestamptz", "'2024-03-14 10:00:00+02'", "timestamp", "2024-03-14 08:00:00+00:00"),
    ("timestamptz", "'-infinity'", "text", "-infinity"),
    ("time", "'10:00'", "text", "10:00:00"),
    ("timetz", "'10:00+02'", "text", "10:00:00+02"),
    ("interval", "'1 day 02:00'", "text", "1 day 02:00:00"),
    ("inet", "'10.0.0.1'", "text", "10.0.0.1"),
    ("inet", "'10.1.0.0/16'", "text", "10.1.0.0/16"),
    ("inner_net", "'10.0.0.0/8'", "text", "10.0.0.0/8"),
    ("cidr", "'10.0.0.0/8'", "text", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "text", "08:00:2b:01:02:03"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'", "text", "08:00:2b:01:02:03:04:05"),
    ("int4range", "'[1,5)'", "text", "[1,5)"),
    ("tstzrange", "'[2024-03-14 10:00+02,)'", "text", '["2024-03-14 08:00:00+00",)'),
    ("int4multirange", "'{[1,5)}'", "text", "{[1,5)}"),
    ("tsvector", "'b a'", "text", "'a' 'b'"),
    ("tsquery", "'a & b'", "text", "'a' & 'b'"),
    ("bit(3)", "B'101'", "text", "101"),
    ("varbit", "B'10'", "text", "10"),
    ("uuid", "'7A3E8A3C-1111-2222-3333-444455556666'", "text", "7a3e8a3c-1111-2222-3333-444455556666"),
    ("json", "'{\"a\":1}'", "text", '{"a":1}'),
    ("jsonb", "'{\"a\":1}'", "text", '{"a": 1}'),
    ("jsonpath", "'$.a'", "text", '$."a"'),
    ("mood", "'sad'", "text", "sad"),
    ("point", "'(1,2)'", "text", "(1,2)"),
    ("line", "'{1,2,3}'", "text", "{1,2,3}"),
    ("lseg", "'[(1,2),(3,4)]'", "text", "[(1,2),(3,4)]"),
    ("box", "'(3,4),(1,2)'", "text", "(3,4),(1,2)"),
    ("path", "'[(1,2),(3,4)]'", "text", "[(1,2),(3,4)]"),
    ("polygon", "'((1,2),(3,4))'", "text", "((1,2),(3,4))"),
    ("circle", "'<(1,2),3>'", "text", "<(1,2),3>"),
    ("pg_lsn", "'0/0'", "text", "0/0"),
]
NOT_READ = [("int[]", "integer[]"), ("pair", "pair"), ("regclass", "regclass"), ("xid", "xid")]


def run(url: str, *statements: str) -> None:
    import psycopg2

    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def table_of(kind: str = "text", **more: Any) -> ml.Table:
    columns = (ml.Column("id", "int", "x"), ml.Column("value", kind, "x"))  # type: ignore[arg-type]
    return ml.Table("things", ml.Database("shop", "things"), key=("id",), columns=columns, **more)


def test_each_type_that_is_read_is_the_value_that_it_is_beside_a_null(postgres_database: str, make_platform) -> None:
    settings = make_platform(shop=postgres_database).settings
    run(postgres_database, *SETUP)
    for number, (kind, literal, declared, expected) in enumerate(READ):
        of_one = f"things_{number}"
        run(
            postgres_database,
            f"CREATE TABLE {of_one} (id int, value {kind})",
            f"INSERT INTO {of_one} VALUES (1, {literal}), (2, NULL)",
        )
        table = ml.Table("things", ml.Database("shop", of_one), key=("id",), columns=table_of(declared).columns)
        look(table, settings)
        (rows,) = read(table, settings, None, None)
        converted = convert(rows["value"], declared)
        value = converted.values[0].as_py()
        got = str(value) if declared in ("timestamp", "date") else value
        assert (kind, converted.lossless, got, converted.values[1].as_py()) == (kind, True, expected, None)


def test_every_type_in_the_lists_is_tried() -> None:
    names = {"char(5)": "bpchar", '"char"': "char", "varchar(9)": "varchar", "bit(3)": "bit"}
    tried = {names.get(kind, kind) for kind, *_ in READ}
    assert (AS_THEY_ARE | AS_TEXT) - tried == {"text", "citext", "xml"}  # not installed in every PostgreSQL


@pytest.mark.parametrize(("kind", "shown"), NOT_READ)
def test_a_type_without_a_meaning_here_is_refused_by_name(kind, shown, postgres_database: str, make_platform) -> None:
    run(postgres_database, *SETUP, f"CREATE TABLE things (id int, value {kind})")
    with pytest.raises(
        TypeNotRead, match=rf"table 'things', column 'value': it is {shown.replace('[', '.').replace(']', '.')} in"
    ):
        look(table_of(), make_platform(shop=postgres_database).settings)


def test_an_infinite_moment_is_no_moment_and_its_neighbours_are_what_they_are(postgres_database: str, make_platform) -> None:
    settings = make_platform(shop=postgres_database).settings
    for kind, declared in (("timestamptz", "timestamp"), ("timestamp", "timestamp"), ("date", "date")):
        run(
            postgres_database,
            f"CREATE TABLE things (id int, value {kind})",
            "INSERT INTO things VALUES (1, 'infinity'), (2, '2024-03-14'), (3, '-infinity'), (4, NULL), (5, '10000-01-01')",
        )
        (rows,) = read(table_of(declared), settings, None, None)
        converted = convert(rows["value"], declared)
        assert converted.failed.to_pylist() == [True, False, True, False, True]
        assert [str(value)[:10] for value in converted.values.to_pylist()] == ["None", "2024-03-14", "None", "None", "None"]
        run(postgres_database, "DROP TABLE things")


@pytest.mark.parametrize("kind", ["bigint", "time", "uuid"])
def test_a_time_of_a_type_that_is_no_time_is_refused_by_name(kind: str, postgres_database: str, make_platform) -> None:
    run(postgres_database, f"CREATE TABLE things (id int, value {kind})")
    with pytest.raises(
        TypeNotRead, match=r"column 'value': it is .* the table's time must be a timestamp.*to_timestamp\(value\)"
    ):
        look(table_of("timestamp", time="value"), make_platform(shop=postgres_database).settings)


def test_the_newest_time_leaves_out_infinity(postgres_database: str, make_platform) -> None:
    run(postgres_database, "CREATE DOMAIN moment AS timestamptz", "CREATE TABLE things (id int, value moment)")
    run(postgres_database, "INSERT INTO things VALUES (1, 'infinity'), (2, '2024-03-14 10:00+00')")
    settings = make_platform(shop=postgres_database).settings
    assert str(newest(table_of("timestamp", time="value"), settings)).startswith("2024-03-14")


def test_a_view_in_another_schema_is_read(postgres_database: str, make_platform) -> None:
    run(
        postgres_database,
        'CREATE SCHEMA "My Shop"',
        'CREATE TABLE "My Shop".raw (id int, value inet)',
        'CREATE MATERIALIZED VIEW "My Shop"."Things" AS SELECT * FROM "My Shop".raw',
    )
    table = ml.Table("things", ml.Database("shop", "Things", schema="My Shop"), key=("id",), columns=table_of().columns)
    assert look(table, make_platform(shop=postgres_database).settings).undeclared == ()
