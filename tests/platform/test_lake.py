"""The lake: whole ticks are replaced, whoever writes, however often, and whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from datetime import time as time_of_day
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from mlprod_tasks.declaration import Schedule, TickRange
from mlprod_tasks.platform.lake import Lake, RowsRefused, TableMissing, listed

SCHEDULE = Schedule(time_of_day(4), "UTC", date(2013, 1, 1))
FIRST = date(2013, 6, 1)


def ticks(first: int = 0, last: int | None = None) -> TickRange:
    return SCHEDULE.range(FIRST + timedelta(days=first), FIRST + timedelta(days=first if last is None else last))


def rows(days: list[int], value: int = 0, per_tick: int = 3, **more: pa.Array) -> pa.Table:
    """`per_tick` rows of each tick, by days since the first."""
    column = [FIRST + timedelta(days=day) for day in days for _ in range(per_tick)]
    return pa.table(
        {
            "id": pa.array(range(len(column)), pa.int64()),
            "value": pa.array([value] * len(column), pa.int64()),
            "tick": pa.array(column, pa.date32()),
            **more,
        }
    )


def read(lake: Lake, query: str, version: int | None = None, columns: str = "union_by_name=false") -> list[tuple]:
    """Run SQL over table `t` as the steps read it: DuckDB over the live files."""
    files = listed(lake.files("t", version=version))
    relation = f"read_parquet({files}, hive_partitioning=true, hive_types={{'tick': DATE}}, {columns})"
    return duckdb.sql(query.replace("FROM t", f"FROM {relation}")).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_writing_a_tick_twice_leaves_one_copy_and_its_neighbours_alone(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 2), rows([0, 1, 2]))
    for _ in range(2):
        written = lake.replace_ticks("t", ticks(1), rows([1], value=7))
    assert read(lake, "SELECT tick, count(*), max(value) FROM t GROUP BY tick ORDER BY tick") == [
        (FIRST, 3, 0),
        (FIRST + timedelta(days=1), 3, 7),
        (FIRST + timedelta(days=2), 3, 0),
    ]
    assert (written.table, written.rows, written.version) == ("t", 3, 2)


def test_a_range_is_replaced_as_a_whole_also_where_it_brings_fewer_ticks(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 3), rows([0, 1, 2, 3]))
    lake.replace_ticks("t", ticks(1, 3), rows([2], value=7))
    assert lake.ticks("t") == {FIRST, FIRST + timedelta(days=2)}
    assert read(lake, "SELECT count(*) FROM t") == [(6,)]


def test_rows_of_another_tick_are_refused_and_change_nothing(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    with pytest.raises(RowsRefused, match="lake table 't': rows of tick 2013-06-01 to 2013-06-02 came for 2013-06-02"):
        lake.replace_ticks("t", ticks(1), rows([0, 1], value=9))
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 0)]


def test_the_first_rows_of_a_table_are_held_to_their_ticks_too(lake: Lake) -> None:
    with pytest.raises(RowsRefused, match="2013-06-02 came for 2013-06-01"):
        lake.replace_ticks("t", ticks(0), rows([0, 1]))
    assert not lake.exists("t")


def test_an_empty_tick_takes_the_place_of_a_full_one(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    assert lake.replace_ticks("t", ticks(1), rows([])).rows == 0
    assert lake.ticks("t") == {FIRST}
    assert lake.files("t", ticks(1)) == []


def test_a_table_may_begin_with_an_empty_tick(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([]))
    assert lake.files("t") == []
    lake.replace_ticks("t", ticks(1), rows([1]))
    assert read(lake, "SELECT count(*) FROM t") == [(3,)]


def test_rows_may_come_in_a_stream(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]).to_reader(max_chunksize=2))
    assert lake.replace_ticks("t", ticks(1), rows([1], per_tick=5).to_reader(max_chunksize=2)).rows == 5
    assert read(lake, "SELECT count(*) FROM t") == [(8,)]


def test_files_are_those_of_the_ticks_that_are_asked_for(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 4), rows([0, 1, 2, 3, 4]))

    def named(files: list[str]) -> list[str]:
        return [file.split("tick=")[1][:10] for file in files]

    assert named(lake.files("t", ticks(1, 2))) == ["2013-06-02", "2013-06-03"]
    assert named(lake.files("t", since=date(2013, 6, 4))) == ["2013-06-04", "2013-06-05"]
    assert named(lake.files("t", ticks(0, 3), since=date(2013, 6, 4))) == ["2013-06-04"]
    assert len(lake.files("t")) == 5


def test_an_earlier_version_is_read_as_it_was(lake: Lake) -> None:
    first = lake.replace_ticks("t", ticks(0, 1), rows([0, 1])).version
    second = lake.replace_ticks("t", ticks(1), rows([1], value=7)).version
    lake.replace_ticks("t", ticks(0, 1), rows([]))
    assert read(lake, "SELECT max(value), count(*) FROM t", first) == [(0, 6)]
    assert read(lake, "SELECT max(value), count(*) FROM t", second) == [(7, 6)]
    assert lake.files("t") == []
    assert lake.files("t", ticks(1), version=first) != lake.files("t", ticks(1), version=second)


def test_a_table_that_is_not_there_is_named(lake: Lake) -> None:
    with pytest.raises(TableMissing, match=r"lake table 'mine/raw/t' is not there yet \(in .*lake\): ingest it first"):
        lake.files("mine/raw/t")
    assert not lake.exists("mine/raw/t")


def test_a_version_that_is_not_there_is_named(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]))
    with pytest.raises(TableMissing, match="lake table 't' has no version 9: its newest is 0"):
        lake.files("t", version=9)


def test_a_column_that_is_declared_later_is_null_in_older_ticks(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]))
    lake.replace_ticks("t", ticks(1), rows([1], colour=pa.array(["red"] * 3)))
    assert read(lake, "SELECT tick, min(colour) FROM t GROUP BY tick ORDER BY tick", columns="union_by_name=true") == [
        (FIRST, None),
        (FIRST + timedelta(days=1), "red"),
    ]
    # To a reader of Delta too, who knows nothing of the files.
    assert lake.table("t").to_pyarrow_table().column("colour").null_count == 3


def test_a_column_that_is_declared_no_more_is_null_from_then_on(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0], colour=pa.array(["red"] * 3)))
    lake.replace_ticks("t", ticks(1), rows([1]))
    found = lake.table("t").to_pyarrow_table().sort_by("tick").column("colour").to_pylist()
    assert found == ["red"] * 3 + [None] * 3


@pytest.mark.parametrize(
    ("new", "told"),
    [(pa.array(["red"] * 3), "string"), (pa.array([1.7, 2.0, 2.5]), "double"), (pa.array([True] * 3), "boolean")],
    ids=["to text", "to a fraction that would be cut", "to yes or no"],
)
def test_a_column_whose_type_changed_is_refused_and_the_table_stays(lake: Lake, new: pa.Array, told: str) -> None:
    lake.replace_ticks("t", ticks(0), rows([0], colour=pa.array([1, 2, 3])))
    with pytest.raises(RowsRefused, match=f"column 'colour' is long in the lake, but {told} in the rows"):
        lake.replace_ticks("t", ticks(1), rows([1], colour=new))
    assert lake.version("t") == 0


def test_texts_are_one_type_however_arrow_keeps_them(lake: Lake) -> None:
    for day, kind in enumerate((pa.string(), pa.large_string(), pa.string_view())):
        lake.replace_ticks("t", ticks(day), rows([day], colour=pa.array(["red"] * 3, kind)))
    assert read(lake, "SELECT count(colour) FROM t") == [(9,)]


def test_a_reference_table_is_replaced_as_a_whole_with_its_columns(lake: Lake) -> None:
    lake.replace("t", pa.table({"id": [1, 2], "old": ["a", "b"]}))
    lake.replace("t", pa.table({"id": [3], "new": [1.5]}))
    assert lake.table("t").to_pyarrow_table().to_pydict() == {"id": [3], "new": [1.5]}


def test_a_note_is_kept_with_the_version(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]), note="audit 17")
    assert lake.table("t").history(1)[0]["mlprod"] == "audit 17"


RACER = """
import sys
from datetime import date, time
import pyarrow as pa
from mlprod_tasks.declaration import Schedule
from mlprod_tasks.platform.lake import Lake
lake, me = Lake(sys.argv[1]), int(sys.argv[2])
def write(day):
    ticks = Schedule(time(4), "UTC", date(2013, 1, 1)).range(date(2013, 6, day))
    rows = {"value": pa.repeat(me, 3), "tick": pa.repeat(pa.scalar(date(2013, 6, day)), 3)}  # lists would import pandas
    lake.replace_ticks("t", ticks, pa.table(rows))
print("ready", flush=True)
sys.stdin.readline()
for day in (me, 9):
    write(day)
"""


def test_four_processes_that_write_at_once_all_succeed_and_leave_one_copy_of_each_tick(lake: Lake) -> None:
    # Each writes a tick of its own, into a table that is not there yet, and then the tick that all of them write.
    writers = [
        subprocess.Popen([sys.executable, "-c", RACER, lake.root, str(me)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for me in (1, 2, 3, 4)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
        assert [writer.wait(60) for writer in writers] == [0] * 4
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    found = read(lake, "SELECT day(tick), count(*), min(value), count(DISTINCT value) FROM t GROUP BY tick ORDER BY tick")
    assert found[:4] == [(n, 3, n, 1) for n in (1, 2, 3, 4)]
    assert (found[4][:2], found[4][3]) == ((9, 3), 1)
    assert lake.version("t") == 7  # every one of the 8 writes is a version


WRITER = """
import sys, time
from datetime import date, time as at
import pyarrow as pa
from mlprod_tasks.declaration import Schedule
from mlprod_tasks.platform.lake import Lake
n = 2_000_000
rows = pa.table({"id": pa.arange(0, n), "value": pa.repeat(1, n),
                 "tick": pa.repeat(pa.scalar(date(2013, 6, 1)), n)})
lake, ticks = Lake(sys.argv[1]), Schedule(at(4), "UTC", date(2013, 1, 1)).range("2013-06-01")
print("ready", flush=True)
while True:
    lake.replace_ticks("t", ticks, rows)
"""


def test_a_writer_that_is_killed_leaves_the_last_good_version(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    folder = Path(lake.root) / "t" / "tick=2013-06-01"
    there = len(list(folder.iterdir()))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, lake.root], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while len(list(folder.iterdir())) == there and time.monotonic() < deadline:
            pass  # its first file has begun: kill it in the middle
        os.kill(writer.pid, signal.SIGKILL)
    finally:
        writer.kill()
        writer.wait()
    assert len(list(folder.iterdir())) > there, "the writer left nothing half done: the test proves nothing"
    assert lake.version("t") == 0
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 0)]
    lake.replace_ticks("t", ticks(0), rows([0], value=7))
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 7)]


def test_a_folder_with_blanks_quotes_and_accents_is_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "the lake's été"))
    lake.replace_ticks("t", ticks(0), rows([0]))
    assert read(lake, "SELECT count(*) FROM t") == [(3,)]


def test_a_folder_that_delta_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a % in its path"):
        Lake(str(tmp_path / "100%20lake"))


def test_versions_are_kept_for_ever(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]))
    lake.replace_ticks("t", ticks(1), rows([1]))
    assert lake.table("t").metadata().configuration == {"delta.enableExpiredLogCleanup": "false"}
