import sqlite3
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform.database import reason
from mlprod_tasks.platform.sources import SourceMissing, SourceUnreachable, look, newest, read, ticks_of_files

START, END = datetime(2024, 3, 14, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)
COLUMNS = (
    ml.Column("id", "int", "number"),
    ml.Column("at", "timestamp", "when"),
    ml.Column("secret", "text", "", personal="drop"),
)


def table_of(source: ml.Database | ml.Files, **changed: object) -> ml.Table:
    return ml.Table("events", source, **{"key": ("id",), "columns": COLUMNS, "time": "at", **changed})


def test_a_database_is_read_in_chunks_and_by_interval(orders_in, make_platform) -> None:
    rows = [{"id": i, "at": f"2024-03-{10 + i // 100:02} {i % 24:02}:00:00", "secret": "x"} for i in range(1000)]
    settings = make_platform(shop=orders_in(rows)).settings
    table = table_of(ml.Database("shop", "orders"))
    batches = list(read(table, settings, START, END, chunk_rows=50))
    assert {batch.num_rows for batch in batches} == {50}
    ids = {number for batch in batches for number in batch["id"].to_pylist()}
    assert ids >= set(range(400, 500))
    assert len(ids) < 1000
    assert all(batch.schema.names == ["id", "at"] for batch in batches), "a dropped column is not even read"


def test_postgresql_is_read_by_the_exact_moment_whatever_the_zone_of_the_session(postgres_database: str, make_platform) -> None:
    import psycopg2

    with psycopg2.connect(postgres_database.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA warehouse")
        cursor.execute("CREATE TABLE warehouse.events (id int, at timestamptz, local timestamp, secret text)")
        for number, moment in enumerate(
            ["2024-03-13 23:59:59.999999", "2024-03-14", "2024-03-14 23:59:59.999999", "2024-03-15"]
        ):
            cursor.execute("INSERT INTO warehouse.events VALUES (%s, %s, %s, '')", (number, f"{moment}+00", moment))
        cursor.execute("SELECT current_database()")
        cursor.execute(f"ALTER DATABASE {cursor.fetchone()[0]} SET timezone = 'Asia/Tokyo'")
    connection.close()
    settings = make_platform(shop=postgres_database).settings
    for column in ("at", "local"):
        columns = (COLUMNS[0], ml.Column(column, "timestamp", ""))
        table = table_of(ml.Database("shop", "events", schema="warehouse"), columns=columns, time=column)
        assert [n for batch in read(table, settings, START, END) for n in batch["id"].to_pylist()] == [1, 2]
        assert str(newest(table, settings)).startswith("2024-03-15")


def test_a_glob_reads_all_of_its_files_and_chunks_parquet(make_platform, tmp_path: Path) -> None:
    for part in range(3):
        rows = pa.table({"id": range(part * 10, part * 10 + 10), "at": [START] * 10, "secret": ["x"] * 10})
        pq.write_table(rows, tmp_path / f"part-{part}.parquet")
    settings = make_platform(shop=str(tmp_path)).settings
    batches = list(read(table_of(ml.Files("shop", "part-*.parquet", "parquet")), settings, None, None, chunk_rows=5))
    assert [batch.num_rows for batch in batches] == [5] * 6
    assert sorted(n for batch in batches for n in batch["id"].to_pylist()) == list(range(30))


def test_one_of_many_files_that_lost_a_column_is_named(make_platform, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,at,secret\n1,2024-03-14,\n")
    (tmp_path / "b.csv").write_text("id,secret\n2,\n")
    with pytest.raises(SourceMissing, match=r"b\.csv has no column 'at'; it has id, secret"):
        look(table_of(ml.Files("shop", "*.csv", "csv")), make_platform(shop=str(tmp_path)).settings)


@pytest.mark.parametrize(("name", "content"), [("x.csv", b""), ("x.parquet", b"PAR1 cut off")])
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, make_platform, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    form = name.partition(".")[2]
    with pytest.raises(SourceMissing, match=rf"x\.{form} cannot be read as a {form} file"):
        look(table_of(ml.Files("shop", name, form)), make_platform(shop=str(tmp_path)).settings)


def test_a_table_that_does_not_exist_is_named(orders_in, make_platform) -> None:
    settings = make_platform(shop=orders_in([{"id": 1}])).settings
    with pytest.raises(SourceMissing, match=r"table 'nowhere' at sqlite.* does not exist\. Create it"):
        look(table_of(ml.Database("shop", "nowhere")), settings)


def test_an_sqlite_file_that_does_not_exist_is_not_made(make_platform, tmp_path: Path) -> None:
    settings = make_platform(shop=f"sqlite:///{tmp_path}/no.db").settings
    with pytest.raises(SourceUnreachable, match=r"no\.db, which does not exist"):
        look(table_of(ml.Database("shop", "events")), settings)
    assert not (tmp_path / "no.db").exists()


def test_text_that_sqlite_cannot_decode_is_not_shown_by_its_driver_s_message(make_platform, tmp_path: Path) -> None:
    error = sqlite3.OperationalError("Could not decode to UTF-8 column 'customer' with text 'Z\udcfcrich'")
    assert reason(error) == "Could not decode to UTF-8 column 'customer'"


def test_a_value_that_ends_a_query_of_postgresql_is_in_no_message(postgres_database: str, make_platform) -> None:
    import psycopg2

    with psycopg2.connect(postgres_database.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE raw (id text, at timestamptz)")
        cursor.execute("INSERT INTO raw VALUES ('Unmistakable', '2024-03-14 12:00+00')")
        cursor.execute("CREATE VIEW events AS SELECT id::int AS id, at, '' AS secret FROM raw")
    connection.close()
    with pytest.raises(
        SourceUnreachable, match=r"answers, but its rows cannot be read: the database stopped in the middle"
    ) as error:
        list(read(table_of(ml.Database("shop", "events")), make_platform(shop=postgres_database).settings, START, END))
    assert "Unmistakable" not in "".join(traceback.format_exception(error.value))


def test_a_damaged_page_of_parquet_names_the_file(make_platform, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": range(1000), "at": [START] * 1000, "secret": ["x"] * 1000}), path)
    content = bytearray(path.read_bytes())
    content[4:600] = b"Unmistakable" * 49 + b"Unmistak"
    path.write_bytes(content)
    with pytest.raises(SourceMissing, match=r"x\.parquet cannot be read as a parquet file: it is damaged or cut off") as error:
        list(read(table_of(ml.Files("shop", "x.parquet", "parquet")), make_platform(shop=str(tmp_path)).settings, None, None))
    assert "nmistakable" not in "".join(traceback.format_exception(error.value))


def test_a_folder_that_does_not_exist_is_named(make_platform, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"connection 'shop' names the folder .*gone, which does not exist"):
        look(table_of(ml.Files("shop", "*.csv", "csv")), make_platform(shop=str(tmp_path / "gone")).settings)


def test_reading_an_sqlite_source_changes_nothing_about_it(orders_in, make_platform, tmp_path: Path) -> None:
    url = orders_in([{"id": 1, "at": "2024-03-14 12:00:00", "secret": "x"}])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("shop.db*")}
    table = table_of(ml.Database("shop", "orders"))
    settings = make_platform(shop=url).settings
    look(table, settings)
    assert sum(batch.num_rows for batch in read(table, settings, START, END)) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("shop.db*")} == before


def test_the_newest_time_of_a_column_that_is_called_like_a_word_of_sql(make_platform, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute('CREATE TABLE events (id int, "order" text)')
        connection.execute("INSERT INTO events VALUES (1, '2024-03-14 12:00:00')")
    columns = (COLUMNS[0], ml.Column("order", "timestamp", ""))
    table = table_of(ml.Database("shop", "events"), columns=columns, time="order")
    settings = make_platform(shop=f"sqlite:///{tmp_path / 'shop.db'}").settings
    assert newest(table, settings) == "2024-03-14 12:00:00"


@pytest.mark.parametrize(
    ("path", "ticks"),
    [
        ("daily/{tick}.csv", ["2024-01-01", "2024-01-02"]),
        ("./daily/{tick}.csv", ["2024-01-01", "2024-01-02"]),
        ("*/{tick}.csv", ["2024-01-01", "2024-01-02", "2024-01-06"]),
        ("{tick}/*.csv", ["2024-01-05"]),
        ("{tick}/{tick}.csv", []),
        ("2024-01-05/{tick}.c[s]v", ["2024-01-06"]),
        ("orders-{tick}.csv", ["2024-11-03T0515Z"]),
        ("none/{tick}.csv", []),
    ],
)
def test_files_tell_their_ticks_by_their_paths(tmp_path: Path, make_platform, path: str, ticks: list[str]) -> None:
    names = ["daily/2024-01-01.csv", "daily/2024-01-02.csv", "2024-01-05/2024-01-06.csv", "orders-2024-11-03T0515Z.csv"]
    for name in (*names, "orders-all.csv", "daily/2024-01-03.csv.part"):
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).touch()
    settings = make_platform(shop=str(tmp_path / "shop")).settings
    assert ticks_of_files(table_of(ml.Files("shop", path, "csv")), settings) == ticks
