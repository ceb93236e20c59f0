"""The lake: whole ticks are replaced, whoever writes, however often, and whatever is killed."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from shutil import copy

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake.exceptions import DeltaError

from mlprod_tasks.platform import lake as lake_module
from mlprod_tasks.platform.compute.exchange import Exchange
from mlprod_tasks.platform.files import DiskFull
from mlprod_tasks.platform.lake import Lake, TableMissing
from mlprod_tasks.platform.lake_columns import RowsRefused
from mlprod_tasks.platform.lake_storage import Folder
from mlprod_tasks.platform.row_files import RowFiles
from tests.support.lake_ticks import FIRST, read, rows, ticks


def test_writing_a_tick_twice_leaves_one_copy_and_its_neighbours_alone(lake: Lake) -> None:
    first = lake.replace_ticks("t", ticks(0, 2), rows([0, 1, 2]))
    for _ in range(2):
        written = lake.replace_ticks("t", ticks(1), rows([1], value=7))
    assert read(lake, "SELECT tick, count(*), max(value) FROM t GROUP BY tick ORDER BY tick") == [
        (FIRST, 3, 0),
        (FIRST + timedelta(days=1), 3, 7),
        (FIRST + timedelta(days=2), 3, 0),
    ]
    assert (written.table, written.rows, written.version) == ("t", 3, first.version + 2)


def test_ticks_that_are_excepted_stay_as_they_are(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 3), rows([0, 1, 2, 3]))
    excepted = {FIRST + timedelta(days=1)}
    lake.revise_ticks("t", ticks(0, 3), lambda _: (rows([0, 3], value=7), ()), except_for=excepted)
    assert read(lake, "SELECT tick, max(value) FROM t GROUP BY tick ORDER BY tick") == [
        (FIRST, 7),
        (FIRST + timedelta(days=1), 0),
        (FIRST + timedelta(days=3), 7),
    ]
    for stray in (1, 5):
        day = FIRST + timedelta(days=stray)
        with pytest.raises(RowsRefused, match=f"cannot write rows of tick {day} as .*; nothing was written"):
            lake.revise_ticks("t", ticks(0, 3), lambda _, stray=stray: (rows([stray]), ()), except_for=excepted)
    assert lake.table("t").version() == 2


def test_a_range_is_replaced_as_a_whole_also_where_it_brings_fewer_ticks(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 3), rows([0, 1, 2, 3]))
    lake.replace_ticks("t", ticks(1, 3), rows([2], value=7))
    assert lake.ticks("t") == {FIRST, FIRST + timedelta(days=2)}
    assert read(lake, "SELECT count(*) FROM t") == [(6,)]


def test_rows_of_another_tick_are_refused_and_change_nothing(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    with pytest.raises(RowsRefused, match="lake table 't': cannot write rows of tick 2013-06-01 to 2013-06-02 as 2013-06-02"):
        lake.replace_ticks("t", ticks(1), rows([0, 1], value=9))
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 0)]


def test_the_first_rows_of_a_table_are_held_to_their_ticks_too(lake: Lake) -> None:
    with pytest.raises(RowsRefused, match="2013-06-02 as 2013-06-01"):
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


def in_files(folder: Path, of: pa.Table, most: int = 2) -> RowFiles:
    """The rows in files of at most so many each; those of a second set leave the first ones alone."""
    files = [folder / f"{uuid.uuid4().hex}.parquet" for _ in range(0, max(1, of.num_rows), most)]
    for number, file in enumerate(files):
        pq.write_table(of.slice(most * number, most), file)
    return RowFiles.here(files, of.num_rows)


def test_files_become_rows_as_they_are_and_in_their_order(lake: Lake, tmp_path: Path) -> None:
    lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    numbered = rows([1], per_tick=5).drop_columns(["value"]).append_column("value", pa.array(range(5)))
    files = in_files(tmp_path, numbered)
    assert lake.replace_ticks("t", ticks(1), files).rows == 5
    for file in files.names:
        Path(file).unlink()
    assert lake.rows("t", [FIRST + timedelta(days=1)])["value"].to_pylist() == [0, 1, 2, 3, 4]
    assert read(lake, "SELECT tick, count(*) FROM t GROUP BY ALL ORDER BY ALL") == [(FIRST, 3), (FIRST + timedelta(days=1), 5)]
    assert lake.rows_of_ticks("t") == {FIRST: 3, FIRST + timedelta(days=1): 5}
    lake.replace_ticks("t", ticks(1), rows([1], value=7))
    assert lake.rows("t", [FIRST + timedelta(days=1)])["value"].to_pylist() == [7, 7, 7]
    assert lake.replace_ticks("t", ticks(1), in_files(tmp_path, rows([]))).rows == 0
    assert lake.ticks("t") == {FIRST}


def test_files_bring_new_columns_and_lack_those_that_are_declared_no_more(lake: Lake, tmp_path: Path) -> None:
    lake.replace_ticks("t", ticks(0), rows([0], colour=pa.array(["red"] * 3)))
    lake.replace_ticks("t", ticks(1), in_files(tmp_path, rows([1], size=pa.array([1.5] * 3))))
    found = lake.rows("t").sort_by("tick")
    assert found["colour"].to_pylist() == ["red"] * 3 + [None] * 3
    assert found["size"].to_pylist() == [None] * 3 + [1.5] * 3


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (lambda: rows([0, 1], per_tick=1), "cannot write rows of tick 2013-06-01 to 2013-06-02"),
        (lambda: rows([0], size=pa.array([1] * 3, pa.uint64())), r"Delta has no column of the type of 'size' \(uint64\)"),
        (lambda: rows([0], size=pa.nulls(3)), r"Delta has no column of the type of 'size' \(null\)"),
        (lambda: rows([0], at=pa.array([0] * 3, pa.timestamp("ns", "UTC"))), "'at'"),
        (
            lambda: rows([0]).set_column(1, "value", pa.array([1.5] * 3)),
            "column 'value' is long in the lake, but double in the new rows",
        ),
    ],
    ids=["of other ticks", "whole numbers without sign", "nothing but null", "nanoseconds", "another type"],
)
def test_files_that_are_no_rows_of_the_tick_are_refused_and_change_nothing(
    lake: Lake, tmp_path: Path, first: Callable[[], pa.Table], told: str
) -> None:
    kept = lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
    with pytest.raises(RowsRefused, match=told):
        lake.replace_ticks("t", ticks(0), in_files(tmp_path, first()))
    with pytest.raises(RowsRefused, match="one file has rows of tick 2013-06-01 to 2013-06-02"):
        lake.replace_ticks("t", ticks(0, 1), in_files(tmp_path, rows([0, 1]), most=6))
    for sizes, why in ((pa.array([1.5] * 3), "files have columns of different types"), (pa.nulls(3), "no column of the type")):
        both = [Path(in_files(tmp_path, rows([0], size=of), most=3).names[0]) for of in (pa.array([1] * 3), sizes)]
        with pytest.raises(RowsRefused, match=why):
            lake.replace_ticks("t", ticks(0), RowFiles.here(both, 6))
    assert lake.version("t") == kept.version
    assert lake.rows("t").num_rows == 6


@pytest.mark.parametrize("before", ["no table", "another tick", "the tick"])
@pytest.mark.parametrize("other", ["files", "rows"])
def test_files_that_are_overtaken_by_another_writer_of_the_tick_are_there_once(
    lake: Lake, tmp_path: Path, before: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before != "no table":
        lake.replace_ticks("t", ticks(8 if before == "the tick" else 0), rows([8 if before == "the tick" else 0]))
    placed, opened = Folder.place, []

    def overtaken(storage: Folder, folder: Exchange, files: Sequence[tuple[str, str]]) -> None:
        placed(storage, folder, files)
        monkeypatch.setattr(Folder, "place", placed)
        real = Lake._open

        def open_and_be_overtaken(mine: Lake, name: str, version: int | None = None) -> DeltaTable:
            table = real(mine, name, version)
            opened.append(table.version())
            if len(opened) == 1:
                monkeypatch.setattr(Lake, "_open", real)
                theirs = rows([8], value=1)
                Lake(lake.root).replace_ticks("t", ticks(8), in_files(tmp_path, theirs) if other == "files" else theirs)
            return table

        monkeypatch.setattr(Lake, "_open", open_and_be_overtaken)

    monkeypatch.setattr(Folder, "place", overtaken)
    written = lake.replace_ticks("t", ticks(8), in_files(tmp_path, rows([8], value=7)))
    assert opened, "the writer was not overtaken: the test proves nothing"
    assert lake.rows("t", [FIRST + timedelta(days=8)])["value"].to_pylist() == [7, 7, 7]
    assert (written.rows, written.version) == (3, lake.version("t"))


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
    with pytest.raises(TableMissing, match=r"lake table 'mine/raw/t' does not exist yet \(in .*lake\): ingest it first"):
        lake.files("mine/raw/t")
    assert not lake.exists("mine/raw/t")


def test_a_version_that_is_not_there_is_named(lake: Lake) -> None:
    newest = lake.replace_ticks("t", ticks(0), rows([0])).version
    for version in (9, 0):  # before its first rows a table has no version
        with pytest.raises(TableMissing, match=f"lake table 't' has no version {version}: its newest is {newest}"):
            lake.files("t", version=version)


@pytest.mark.parametrize("creators", [1, 2])
@pytest.mark.parametrize("first", ["ticks", "whole"])
def test_a_table_whose_first_writers_were_killed_before_their_rows_is_not_there_yet(
    lake: Lake, first: str, creators: int
) -> None:
    columns = Schema.from_arrow(rows([]).schema)
    DeltaTable.create(lake.uri("t"), schema=columns, partition_by=["tick"] if first == "ticks" else None)
    log = Path(lake.uri("t")) / "_delta_log"
    for version in range(1, creators):  # as Delta leaves it where two created it at once
        copy(log / f"{0:020}.json", log / f"{version:020}.json")
    assert not lake.exists("t")
    assert not lake.holds("t", rows([]))
    for ask in (lake.files, lake.ticks, lake.version, lake.table, lambda name: lake.files(name, version=9)):
        with pytest.raises(TableMissing, match=r"lake table 't' does not exist yet .*: ingest it first"):
            ask("t")
    if first == "ticks":
        lake.replace_ticks("t", ticks(0), rows([]))
    else:
        lake.replace("t", rows([]))
    assert lake.exists("t")
    assert lake.files("t") == []
    with pytest.raises(TableMissing, match=f"has no version {creators - 1}: its newest is {creators}"):
        lake.files("t", version=creators - 1)


def test_a_table_whose_first_version_holds_its_rows_is_read(lake: Lake) -> None:
    # Lakes of earlier releases are so, with rows or none.
    for name, first in (("t", rows([0])), ("none", rows([]))):
        write_deltalake(lake.uri(name), first, partition_by=["tick"])
        assert lake.exists(name)
        lake.replace_ticks(name, ticks(0), rows([0], value=7))
    assert read(lake, "SELECT max(value) FROM t", 0) == [(0,)]
    assert lake.files("none", version=0) == []


def test_a_column_that_is_declared_later_is_null_in_older_ticks(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]))
    lake.replace_ticks("t", ticks(1), rows([1], colour=pa.array(["red"] * 3)))
    assert read(lake, "SELECT tick, min(colour) FROM t GROUP BY tick ORDER BY tick", columns="union_by_name=true") == [
        (FIRST, None),
        (FIRST + timedelta(days=1), "red"),
    ]
    # To a reader of Delta too, who knows nothing of the files.
    assert lake.rows("t").column("colour").null_count == 3


def test_a_column_that_is_declared_no_more_is_null_from_then_on(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0], colour=pa.array(["red"] * 3)))
    lake.replace_ticks("t", ticks(1), rows([1]))
    found = lake.rows("t").sort_by("tick").column("colour").to_pylist()
    assert found == ["red"] * 3 + [None] * 3


@pytest.mark.parametrize(
    ("new", "told"),
    [(pa.array(["red"] * 3), "string"), (pa.array([1.7, 2.0, 2.5]), "double"), (pa.array([True] * 3), "boolean")],
    ids=["to text", "to a fraction that would be cut", "to yes or no"],
)
def test_a_column_whose_type_changed_is_refused_and_the_table_stays(lake: Lake, new: pa.Array, told: str) -> None:
    first = lake.replace_ticks("t", ticks(0), rows([0], colour=pa.array([1, 2, 3])))
    with pytest.raises(RowsRefused, match=f"column 'colour' is long in the lake, but {told} in the new rows"):
        lake.replace_ticks("t", ticks(1), rows([1], colour=new))
    assert lake.version("t") == first.version


def test_texts_are_one_type_however_arrow_keeps_them(lake: Lake) -> None:
    for day, kind in enumerate((pa.string(), pa.large_string(), pa.string_view())):
        lake.replace_ticks("t", ticks(day), rows([day], colour=pa.array(["red"] * 3, kind)))
    assert read(lake, "SELECT count(colour) FROM t") == [(9,)]


def test_a_reference_table_is_replaced_as_a_whole_with_its_columns(lake: Lake) -> None:
    lake.replace("t", pa.table({"id": [1, 2], "old": ["a", "b"]}))
    lake.replace("t", pa.table({"id": [3], "new": [1.5]}))
    assert lake.rows("t").to_pydict() == {"id": [3], "new": [1.5]}


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
print("ready", flush=True)
for line in sys.stdin:
    name, day = line.split()
    # Lists would import pandas.
    rows = pa.table({"value": pa.repeat(me, 3), "tick": pa.repeat(pa.scalar(date(2013, 6, int(day) or 9)), 3)})
    if day == "0":
        lake.replace(name, rows)
    else:
        lake.replace_ticks(name, Schedule(time(4), "UTC", date(2013, 1, 1)).range(date(2013, 6, int(day))), rows)
    print("written", flush=True)
"""


class Racer:
    """Another process that writes three rows of its own value when it is told: of a day of June, or a reference table."""

    def __init__(self, lake: Lake, value: int) -> None:
        command = [sys.executable, "-c", RACER, lake.root, str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hears(self, name: str, day: int = 0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {day}\n")
        self.process.stdin.flush()

    def says(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"


@contextmanager
def racers(lake: Lake, *values: int) -> Iterator[list[Racer]]:
    started = [Racer(lake, value) for value in values]
    try:
        for racer in started:
            racer.says("ready")
        yield started
    finally:
        for racer in started:
            racer.process.kill()
            racer.process.communicate()


class Overtaken:
    """Rows on whose way into the lake another process writes too, from its beginning to its end."""

    def __init__(self, table: pa.Table, meanwhile: Callable[[], None]) -> None:
        self.table, self.schema, self.num_rows, self.reads = table, table.schema, table.num_rows, 0
        self._meanwhile = meanwhile

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        return self.table[column]

    def read_all(self) -> "Overtaken":
        return self

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        self.reads += 1

        def batches() -> Iterator[pa.RecordBatch]:
            if self.reads == 1:
                self._meanwhile()
            yield from self.table.to_batches()

        return pa.RecordBatchReader.from_batches(self.schema, batches()).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", ["a tick", "a reference table"])
@pytest.mark.parametrize("before", ["no table", "other rows"])
def test_a_writer_that_is_overtaken_by_another_leaves_its_rows_once_and_the_others_not(
    lake: Lake, kind: str, before: str
) -> None:
    write = lake.replace if kind == "a reference table" else partial(lake.replace_ticks, ticks=ticks(8))
    mine = pa.table({"value": pa.repeat(7, 3), "tick": pa.repeat(pa.scalar(FIRST + timedelta(days=8)), 3)})
    if before == "other rows":
        write("t", rows=mine.slice(0, 1))
    with racers(lake, 1) as (other,):

        def meanwhile() -> None:
            other.hears("t", 9 if kind == "a tick" else 0)
            other.says("written")

        overtaken = Overtaken(mine, meanwhile)
        written = write("t", rows=overtaken)
    assert lake.rows("t")["value"].to_pylist() == [7, 7, 7]
    assert overtaken.reads == 2, "the writer was not overtaken: the test proves nothing"
    assert (written.rows, written.version) == (3, lake.version("t"))


def test_writers_that_all_begin_a_table_at_once_leave_one_copy(lake: Lake) -> None:
    with racers(lake, 1, 2, 3) as writers:
        for day, name in [(9, f"ticks{n}") for n in range(8)] + [(0, f"whole{n}") for n in range(8)]:
            for writer in writers:
                writer.hears(name, day)
            for writer in writers:
                writer.says("written")
            held = lake.rows(name)["value"].to_pylist()
            assert held in ([1] * 3, [2] * 3, [3] * 3), name


def test_four_processes_that_write_at_once_all_succeed_and_leave_one_copy_of_each_tick(lake: Lake) -> None:
    # Each writes a tick of its own, into a table that is not there yet, and then the tick that all of them write.
    with racers(lake, 1, 2, 3, 4) as writers:
        for me, writer in enumerate(writers, 1):
            writer.hears("t", me)
            writer.hears("t", 9)
        for writer in writers * 2:
            writer.says("written")
    found = read(lake, "SELECT day(tick), count(*), min(value), count(DISTINCT value) FROM t GROUP BY tick ORDER BY tick")
    assert found[:4] == [(n, 3, n, 1) for n in (1, 2, 3, 4)]
    assert (found[4][:2], found[4][3]) == ((9, 3), 1)
    assert [commit["operation"] for commit in lake.table("t").history()].count("WRITE") == 8


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
    first = lake.replace_ticks("t", ticks(0, 1), rows([0, 1]))
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
    assert lake.version("t") == first.version
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 0)]
    lake.replace_ticks("t", ticks(0), rows([0], value=7))
    assert read(lake, "SELECT count(*), max(value) FROM t") == [(6, 7)]


def test_a_folder_with_blanks_quotes_and_accents_is_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "the lake's été"))
    lake.replace_ticks("t", ticks(0), rows([0]))
    assert read(lake, "SELECT count(*) FROM t") == [(3,)]
    assert lake.rows("t").num_rows == 3


def test_rows_of_some_ticks_and_columns_are_read_by_arrow_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.replace_ticks("t", ticks(0, 3), rows([0, 1, 2, 3]))
    # A thread of Arrow's that lets go of an object of Python while the process ends aborts it.
    monkeypatch.setattr(pyarrow.fs, "PyFileSystem", lambda handler: pytest.fail("read through Python"))
    wanted = [FIRST, FIRST + timedelta(days=2), FIRST + timedelta(days=9)]
    found = lake.rows("t", wanted, ["tick", "id"])
    assert (found.column_names, found.schema.field("tick").type) == (["tick", "id"], pa.date32())
    assert sorted(zip(found["tick"].to_pylist(), found["id"].to_pylist(), strict=True)) == [
        (FIRST + timedelta(days=day), day * 3 + i) for day in (0, 2) for i in range(3)
    ]
    assert lake.rows("t", []).num_rows == 0
    with pytest.raises(TableMissing):
        lake.rows("none")


def test_a_folder_that_delta_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a % in its path"):
        Lake(str(tmp_path / "100%20lake"))


@pytest.mark.parametrize(("folder", "told"), [("country=CH", "country=CH"), ("[prod]", "["), ("a*", "*"), ("what?", "?")])
def test_a_folder_whose_name_the_engine_takes_for_a_pattern_or_a_column_is_refused(
    tmp_path: Path, folder: str, told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"has {told!r} in its path")):
        Lake(str(tmp_path / folder / "lake"))


def test_versions_are_kept_for_ever(lake: Lake) -> None:
    lake.replace_ticks("t", ticks(0), rows([0]))
    lake.replace_ticks("t", ticks(1), rows([1]))
    assert lake.table("t").metadata().configuration == {"delta.enableExpiredLogCleanup": "false"}


def test_a_full_disk_below_the_lake_names_the_table_and_the_remedy(monkeypatch, tmp_path) -> None:
    def full(*_: object, **__: object) -> None:
        raise DeltaError("Unable to copy data to file: No space left on device (os error 28)")  # as delta-rs says it

    monkeypatch.setattr(lake_module, "write_deltalake", full)
    made, told = Lake(str(tmp_path / "lake")), r"no space is left to write .*shop/raw/orders: free some"
    with pytest.raises(DiskFull, match=told):
        made.replace("shop/raw/orders", pa.table({"x": [1]}))
    with pytest.raises(DiskFull, match=told):
        made.revise_ticks("shop/raw/orders", ticks(0), lambda _: (rows([0]), ()))
