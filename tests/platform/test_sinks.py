import multiprocessing
import random
import sqlite3
import string
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from mlprod_tasks.platform.database import open_database
from mlprod_tasks.platform.sinks import SinkUnreachable, replace_rows

DAY, NEXT = date(2024, 3, 14), date(2024, 3, 15)


def rows(tick: date, count: int = 3, score: float = 0.5, **more: pa.Array) -> pa.Table:
    moments = [datetime(2024, 3, 14, hour % 24, 30, tzinfo=UTC) for hour in range(count)]
    return pa.table(
        {
            "id": [f"a,'\"{i}" for i in range(count)],
            "at": pa.array(moments, pa.timestamp("us", "UTC")),
            "score": pa.array([score] * count, pa.float64()),
            "late": pa.array([None if i == 0 else bool(i % 2) for i in range(count)]),
            "name": pa.array(["", None, "NULL"][:count] + [None] * (count - 3)),
            "version": pa.array([7] * count, pa.int32()),
            "tick": pa.array([tick] * count, pa.date32()),
            **more,
        }
    )


def held(url: str) -> list[tuple[object, ...]]:
    with open_database(url).connect() as connection:
        found = connection.execute(text("SELECT id, score, name, version, tick FROM scores ORDER BY tick, id")).fetchall()
        return [(*row[:-1], str(row[-1])) for row in found]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sink.db"
    return request.getfixturevalue({"postgresql": "postgres_database", "mariadb": "mariadb_database"}[request.param])


def put(url: str, tick: date, table: pa.Table) -> int:
    return replace_rows(url, "scores", "tick", tick, table, ("id",))


def test_the_table_is_made_with_types_and_key_and_holds_what_was_written(url: str) -> None:
    assert put(url, DAY, rows(DAY)) == 3
    expected = [(f"a,'\"{i}", 0.5, name, 7, "2024-03-14") for i, name in enumerate(["", None, "NULL"])]
    assert held(url) == expected
    assert inspect(open_database(url)).get_pk_constraint("scores")["constrained_columns"] == ["tick", "id"]
    with open_database(url).connect() as connection:
        (moment, late) = connection.execute(text("SELECT at, late FROM scores ORDER BY id")).fetchall()[1]
    assert bool(late) is True
    if url.startswith("sqlite"):
        assert moment == "2024-03-14 01:30:00"
    else:  # a DATETIME of MariaDB has no zone: UTC is written
        assert moment.replace(tzinfo=UTC) == datetime(2024, 3, 14, 1, 30, tzinfo=UTC)


def test_writing_a_tick_again_replaces_it_and_leaves_the_others(url: str) -> None:
    put(url, DAY, rows(DAY))
    put(url, NEXT, rows(NEXT))
    put(url, DAY, rows(DAY, count=2, score=0.9))
    put(url, DAY, rows(DAY, count=2, score=0.9))
    assert [(row[1], row[-1]) for row in held(url)] == [(0.9, "2024-03-14")] * 2 + [(0.5, "2024-03-15")] * 3


def test_a_load_that_fails_leaves_the_old_rows(url: str) -> None:
    put(url, DAY, rows(DAY))
    before = held(url)
    twice = pa.concat_tables([rows(DAY, score=0.1), rows(DAY, score=0.1)])
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        put(url, DAY, twice)
    assert held(url) == before


def test_a_column_that_the_table_lacks_is_added(url: str) -> None:
    put(url, DAY, rows(DAY))
    put(url, NEXT, rows(NEXT, distance=pa.array([1, 2, 3], pa.int64())))
    with open_database(url).connect() as connection:
        got = connection.execute(text("SELECT distance FROM scores ORDER BY tick, id")).scalars().all()
    assert got == [None, None, None, 1, 2, 3]


def test_a_table_that_somebody_else_created_takes_the_rows_in_its_own_types(url: str) -> None:
    with open_database(url, writes=True).connect() as connection, connection.begin():
        connection.execute(
            text(
                "CREATE TABLE scores (id VARCHAR(20), at TIMESTAMP, score NUMERIC(6, 3), late BOOLEAN, name VARCHAR(40), "
                "version INTEGER, tick DATE)"
            )
        )
    assert put(url, DAY, rows(DAY)) == 3
    assert [(float(row[1]), *row[2:]) for row in held(url)] == [(0.5, name, 7, "2024-03-14") for name in ("", None, "NULL")]


def test_names_that_sql_has_words_for_are_written(url: str) -> None:
    order = pa.array([1, 2, 3], pa.int64())
    put(url, DAY, rows(DAY, **{"order": order, 'say "select" 100%': order}))
    with open_database(url).connect() as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
        names = (quote(name).replace("%%", "%") for name in ("order", 'say "select" 100%'))
        got = connection.execute(text(f"SELECT {', '.join(names)} FROM scores ORDER BY id"))
        assert [tuple(row) for row in got] == [(1, 1), (2, 2), (3, 3)]


def test_a_tick_without_rows_ends_empty(url: str) -> None:
    put(url, DAY, rows(DAY))
    put(url, DAY, rows(DAY).slice(0, 0))
    assert held(url) == []


def test_text_that_postgresql_cannot_store_is_told_by_column_and_tick(postgres_database: str) -> None:
    spoilt = rows(DAY)
    names = pa.array(["fine", "Ann\0", None])
    spoilt = spoilt.set_column(spoilt.schema.get_field_index("name"), "name", names)
    with pytest.raises(
        ValueError, match=r"2024-03-14 to table 'scores': 1 of 3 values of column 'name'.*U\+0000.*Ingest"
    ) as told:
        put(postgres_database, DAY, spoilt)
    assert "Ann" not in str(told.value)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [("Unmistakable", "InvalidTextRepresentation with SQLSTATE 22P02"), ("Unmistakable" * 9, "StringDataRightTruncation")],
    ids=["no number", "too long"],
)
def test_what_postgresql_refuses_while_rows_are_copied_is_told_as_the_sink_and_not_shown(
    refused: str, reason: str, postgres_database: str
) -> None:
    kind = "INTEGER" if "22P02" in reason else "VARCHAR(20)"
    with open_database(postgres_database, writes=True).connect() as connection, connection.begin():
        connection.execute(text(f"CREATE TABLE scores (id VARCHAR(20), name {kind}, tick DATE)"))
    spoilt = rows(DAY).select(["id", "tick"]).append_column("name", pa.array(["7", refused, None]))
    with pytest.raises(SinkUnreachable, match=rf"cannot write table 'scores' of .*{reason}.*clear the task") as told:
        put(postgres_database, DAY, spoilt)
    assert "Unmistakable" not in str(told.value)
    assert told.value.__suppress_context__


def test_a_key_too_long_for_postgresql_s_index_is_told_as_the_sink(postgres_database: str) -> None:
    long = "".join(random.Random(1).choices(string.printable[:62], k=3_000))  # at random, so that it cannot be compressed
    spoilt = rows(DAY).set_column(0, "id", pa.array(["a", long, "b"]))
    with pytest.raises(SinkUnreachable, match=r"cannot write table 'scores' of .*: index row size \d+ exceeds") as told:
        put(postgres_database, DAY, spoilt)
    assert long not in str(told.value)


def test_keys_that_differ_by_case_accent_or_a_space_are_different_in_mariadb_too(mariadb_database: str) -> None:
    keys = ["a", "A", "\xe1", "a ", "\U0001f600"]
    assert (
        put(mariadb_database, DAY, pa.table({"id": keys, "at": pa.array([datetime(2024, 3, 14, 1, 2, 3, 4, tzinfo=UTC)] * 5)}))
        == 5
    )
    with open_database(mariadb_database).connect() as connection:
        found = connection.execute(text("SELECT id, at FROM scores")).all()
    assert {row[0] for row in found} == set(keys)
    assert {row[1] for row in found} == {datetime(2024, 3, 14, 1, 2, 3, 4, tzinfo=UTC).replace(tzinfo=None)}


@pytest.mark.parametrize(
    ("refused", "reason"),
    [("Unmistakable", "DataError 1366: a value that the column cannot hold"), ("9" * 12, "DataError 1264: a number out of")],
    ids=["no number", "too large"],
)
def test_a_value_that_mariadb_would_alter_is_refused_and_not_shown(refused: str, reason: str, mariadb_database: str) -> None:
    with open_database(mariadb_database, writes=True).connect() as connection:
        connection.execute(text("CREATE TABLE scores (id VARCHAR(20), name INTEGER, tick DATE) ENGINE=InnoDB"))
    spoilt = rows(DAY).select(["id", "tick"]).append_column("name", pa.array(["7", refused, None]))
    with pytest.raises(SinkUnreachable, match=rf"cannot write table 'scores' of .*{reason}.*clear the task") as told:
        put(mariadb_database, DAY, spoilt)
    assert refused not in str(told.value)


def test_a_table_of_mariadb_without_transactions_is_refused(mariadb_database: str) -> None:
    with open_database(mariadb_database, writes=True).connect() as connection:
        connection.execute(text("CREATE TABLE scores (id VARCHAR(20), tick DATE) ENGINE=MyISAM"))
    with pytest.raises(SinkUnreachable, match=r"engine MyISAM, which has no transactions.* ALTER TABLE scores ENGINE=InnoDB"):
        put(mariadb_database, DAY, rows(DAY).select(["id", "tick"]))


def test_rows_of_another_tick_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot replace tick 2024-03-14 by rows of tick 2024-03-15"):
        put(f"sqlite:///{tmp_path}/sink.db", DAY, rows(NEXT))


def put_often(url: str, tick: date) -> None:
    for _ in range(3):
        put(url, tick, rows(tick, count=500))


def test_writers_of_the_same_and_of_different_ticks_do_not_double_or_lose_rows(url: str) -> None:
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=put_often, args=(url, tick)) for tick in (DAY, DAY, NEXT, NEXT)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert len(held(url)) == 1000


def test_an_unreachable_database_says_what_to_do_and_shows_no_password() -> None:
    with pytest.raises(SinkUnreachable, match=r"cannot write table 'scores' of .*127\.0\.0\.1.*clear the task") as error:
        put("postgresql://me:verysecret@127.0.0.1:1/x", DAY, rows(DAY))
    assert "verysecret" not in str(error.value)


def test_the_key_of_the_table_is_enforced(tmp_path: Path) -> None:
    put(f"sqlite:///{tmp_path}/sink.db", DAY, rows(DAY))
    with sqlite3.connect(tmp_path / "sink.db") as connection, pytest.raises((sqlite3.IntegrityError, IntegrityError)):
        connection.execute("INSERT INTO scores SELECT * FROM scores")
