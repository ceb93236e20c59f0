"""A table of which only the newest rows are read: how many there are, and how its older files go."""

import os
import time
from datetime import timedelta
from pathlib import Path
from shutil import copy

import duckdb

from mlprod_tasks.platform.lake import Lake, listed
from tests.support.lake_ticks import FIRST, read, rows, ticks


def test_rows_of_ticks_are_counted_as_a_query_counts_them(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 2), rows([0, 1, 2]))
    lake.replace_ticks("t", ticks(1), rows([1], per_tick=5))
    lake.replace_ticks("t", ticks(2), rows([]))
    assert lake.rows_of_ticks("t") == dict(read(lake, "SELECT tick, count(*) FROM t GROUP BY tick"))
    assert lake.rows_of_ticks("t") == {FIRST: 3, FIRST + timedelta(days=1): 5}


def aged(folder: Path) -> None:
    """As if all files had been written three days ago."""
    then = time.time() - timedelta(days=3).total_seconds()
    for file in folder.rglob("*.parquet"):
        os.utime(file, (then, then))


def test_files_that_were_replaced_within_the_time_are_still_read_by_who_listed_them(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0], value=1))
    lake.replace_ticks("t", ticks(0), rows([0], value=2))
    aged(Path(lake.root) / "t")
    listed_before = lake.files("t")
    left = copy(listed_before[0], str(Path(listed_before[0]).parent / "part-of-a-killed-writer.parquet"))
    aged(Path(lake.root) / "t")
    lake.replace_ticks("t", ticks(0), rows([0], value=3))
    lake.forget("t", timedelta(days=1))
    assert duckdb.sql(f"SELECT max(value) FROM read_parquet({listed(listed_before)})").fetchall() == [(2,)]
    assert not Path(left).exists()
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(3, 3)]


def test_what_nobody_reads_any_more_is_deleted_and_the_table_is_as_it_was(lake: Lake) -> None:
    for value in range(4):
        lake.replace_ticks("t", ticks(0, 1), rows([0, 1], value=value))
    files = set(lake.files("t"))
    lake.forget("t", timedelta(0))
    assert {str(file) for file in (Path(lake.root) / "t").rglob("*.parquet")} == files
    lake.replace_ticks("t", ticks(1), rows([1], value=9))
    assert read(lake, "SELECT count(*), min(value), max(value) FROM t") == [(6, 3, 9)]


def test_it_is_forgotten_no_more_often_than_said(lake: Lake) -> None:
    left = []
    for value in range(4):
        lake.replace_ticks("t", ticks(0), rows([0], value=value))
        lake.forget("t", timedelta(0), every=timedelta(hours=1))
        left.append(len(list((Path(lake.root) / "t").rglob("*.parquet"))))
    assert left == [1, 1, 2, 3]  # there was nothing to forget the first time
    lake.forget("t", timedelta(0))
    assert len(list((Path(lake.root) / "t").rglob("*.parquet"))) == 1
