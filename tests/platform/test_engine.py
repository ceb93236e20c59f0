"""A database that was used is given to the next that asks, with nothing left in it."""

import os
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.platform.engine import engine

TOLD = "SELECT string_agg(name || '=' || value, ',' ORDER BY name) FROM duckdb_settings() WHERE name NOT LIKE '%seed%'"


def database_of(connection: duckdb.DuckDBPyConnection) -> str:
    """What tells one database from another: the oid of a table grows with each that was made in it."""
    connection.execute("CREATE TABLE counted (n INT)")
    (oid,) = connection.execute("SELECT table_oid FROM duckdb_tables() WHERE table_name = 'counted'").fetchall()[0]
    return str(oid)


def test_nothing_of_one_use_is_there_in_the_next() -> None:
    with engine(threads=1) as one:
        settings = one.execute(TOLD).fetchall()
    with engine(threads=1) as one:
        one.register("rows", pa.table({"a": [1]}))
        one.execute("CREATE VIEW seen AS SELECT 1; CREATE TABLE made AS SELECT 1; CREATE TEMP TABLE passing AS SELECT 1")
        one.execute("CREATE VIEW of_table AS SELECT * FROM made")
        one.execute("CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TABLE moods (one mood)")
        one.execute("SET preserve_insertion_order = true; SET disabled_optimizers = 'common_subexpressions'; SET threads = 2")
        first = database_of(one)
    with engine(threads=1) as other:
        for name in ("rows", "seen", "made", "passing", "of_table", "moods", "counted"):
            with pytest.raises(duckdb.CatalogException):
                other.execute(f"SELECT * FROM {name}")
        with pytest.raises(duckdb.CatalogException):
            other.execute("SELECT 'glad'::mood")
        assert other.execute(TOLD).fetchall() == settings
        assert database_of(other) > first  # or it was another, and none of this was tried


def test_two_at_a_time_have_databases_of_their_own() -> None:
    with engine() as one, engine() as other:
        one.execute("CREATE TABLE mine AS SELECT 1")
        with pytest.raises(duckdb.CatalogException):
            other.execute("SELECT * FROM mine")


def test_one_whose_use_failed_is_not_used_again() -> None:
    with pytest.raises(duckdb.Error), engine() as one:
        one.execute("BEGIN; CREATE TABLE half AS SELECT 1; SELECT error('broken')")
    with engine() as other:
        other.execute("CREATE TABLE half AS SELECT 2")
        assert other.execute("FROM half").fetchall() == [(2,)]


def test_one_that_cannot_be_emptied_is_not_used_again_and_no_error_of_what_was_computed() -> None:
    with engine() as one:
        one.execute("CREATE TABLE held AS SELECT 1 AS a")
        beside = one.cursor()
        beside.execute("BEGIN; INSERT INTO held VALUES (2)")
        found = one.execute("FROM held").fetchall()
    assert found == [(1,)]
    with engine() as other, pytest.raises(duckdb.CatalogException):
        other.execute("FROM held")
    beside.close()


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    for n in (3, 5):
        pq.write_table(pa.table({"a": list(range(n))}), file)
        with engine() as one:
            assert one.execute(f"SELECT count(*), max(a) FROM '{file}'").fetchall() == [(n, n - 1)]


def test_threads_that_ask_at_once_never_share_one() -> None:
    failed: list[BaseException] = []

    def use(name: int) -> None:
        try:
            for _ in range(20):
                with engine(threads=1) as mine:
                    mine.execute(f"CREATE TABLE own AS SELECT {name} AS n")
                    assert mine.execute("SELECT n FROM own").fetchall() == [(name,)]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use, args=[name]) for name in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed


def test_a_forked_process_makes_its_own_and_ends() -> None:
    with engine(threads=2) as one:
        one.execute("SELECT count(*) FROM range(1000000)").fetchall()
    child = os.fork()
    if not child:
        status = 1
        try:
            with engine(threads=2) as mine:
                status = 0 if mine.execute("SELECT sum(range) FROM range(1000000)").fetchall() == [(499999500000,)] else 2
        finally:
            os._exit(status)
    ended, status = os.waitpid(child, 0)
    assert ended == child
    assert os.waitstatus_to_exitcode(status) == 0


def test_one_that_may_spill_stays_with_its_folder(tmp_path: Path) -> None:
    for folder in ("a", "b", "a", "c"):
        with engine(memory="200MB", spill=tmp_path / folder) as one:
            told = "SELECT current_setting('temp_directory'), current_setting('memory_limit')"
            assert one.execute(told).fetchall() == [(str(tmp_path / folder), "190.7 MiB")]
    with engine() as plain:
        assert str(tmp_path) not in str(plain.execute("SELECT current_setting('temp_directory')").fetchall())
