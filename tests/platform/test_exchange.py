"""Files that a driver and executors exchange: in a folder of both, or, with homes of their own, in the lake's bucket."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.platform.compute import NotComputed, bucket_exchange
from mlprod_tasks.platform.compute.bucket_exchange import BucketExchange
from mlprod_tasks.platform.compute.exchange import Exchange, ExchangeNotShared, ExchangeUnreachable
from mlprod_tasks.platform.compute.open_exchange import exchange, exchange_into
from mlprod_tasks.platform.object_storage import client, parquet_parts
from mlprod_tasks.platform.settings import Settings, from_environment
from tests.support.object_storage import Bucket, FaultyProxy

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def settings(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a driver whose executors have another home, and the same bucket."""
    monkeypatch.setenv("MLPROD_HOME", str(tmp_path / "executor"))
    monkeypatch.setenv("MLPROD_CONNECTION_LAKE", bucket.connection())
    given = {"MLPROD_HOME": str(tmp_path / "driver"), "MLPROD_ENGINE": "spark", "MLPROD_LAKE": f"{bucket.url}/lake"}
    return from_environment(given | {"MLPROD_CONNECTION_LAKE": bucket.connection()})


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    return settings if request.param == "bucket" else replace(settings, lake=str(tmp_path / "lake"))


def sent(folder: Exchange) -> Exchange:
    """The folder as an executor gets it."""
    return pickle.loads(pickle.dumps(folder))


def write(folder: Exchange, name: str, text: str) -> None:
    with folder.writing(name) as path:
        path.write_text(text)


def write_half(folder: Exchange, name: str) -> None:
    with folder.writing(name) as path:
        path.write_text("half")
        raise ZeroDivisionError


def read(folder: Exchange, name: str) -> str:
    with folder.reading(name) as (path,):
        return path.read_text()


def there(settings: Settings) -> BucketExchange:
    """All that is exchanged in the bucket."""
    return BucketExchange(settings.lake, "_mlprod/shared/exchange", settings)


def test_what_an_executor_writes_is_read_by_the_driver_and_by_other_executors(place: Settings) -> None:
    with exchange(place, "scores") as folder:
        write(sent(folder), "events/a", "first")
        assert read(folder, "events/a") == "first"
        with pytest.raises(ZeroDivisionError):
            write_half(sent(folder).below("events"), "a")
        assert read(sent(folder.below("events")), "a") == "first"
        write(sent(folder), "events/a", "again")
        write(folder, "b", "of the driver")
        with sent(folder).reading("events/a", "b") as paths:
            assert [path.read_text() for path in paths] == ["again", "of the driver"]
        folder.delete(["b"])
        with pytest.raises(ExchangeNotShared):
            read(folder, "b")
    with pytest.raises(ExchangeNotShared):
        read(sent(folder), "events/a")
    homes = (place.home, Path(from_environment().home))
    assert [one for home in homes for one in (home / "exchange").glob("*")] == []


def test_files_come_to_a_folder_of_the_driver(place: Settings, tmp_path: Path) -> None:
    with exchange_into(place, tmp_path, "features") as folder:
        write(sent(folder), "part-0", "0")
        write(sent(folder), "part-1", "1")
    assert [path.read_text() for path in sorted(tmp_path.glob("part-*"))] == ["0", "1"]


def test_a_lent_folder_is_read_where_it_is_or_copied_to_the_home_of_whoever_reads(place: Settings, tmp_path: Path) -> None:
    (tmp_path / "model" / "data").mkdir(parents=True)
    (tmp_path / "model" / "data" / "trees").write_text("trees")
    homes = []

    def kept(home: Path, fetch: Callable[[Path], None]) -> Path:
        homes.append(home)
        fetch(home / "copy")
        return home / "copy"

    with exchange(place, "scores") as folder:
        lent = sent(folder.lend(tmp_path / "model", "model"))
        assert (lent.local(kept) / "data" / "trees").read_text() == "trees"
        assert homes == ([] if place.lake.startswith("/") else [tmp_path / "executor"])
    with pytest.raises(ExchangeNotShared):
        sent(folder.below("nothing")).local(kept)


@pytest.mark.parametrize("last_bytes", [100, 64 * 1024])
def test_of_a_parquet_file_only_what_is_read_is_fetched(
    settings: Settings, last_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_parts, "LAST_BYTES", last_bytes)
    rows = pa.table(
        {
            "bucket": [row // 10 for row in range(1000)],
            "x.y": [[f"{row * number * 7919 % 10_007}" for number in range(50)] for row in range(1000)],
            "x": [{"y": row, "z": None if row % 3 else str(row)} for row in range(1000)],
        }
    )
    with exchange(settings, "scores") as folder:
        for name in ("a", "b"):
            with folder.writing(name) as path:
                pq.write_table(rows, path, row_group_size=50)
        for where in (pc.field("bucket") == 42, (pc.field("bucket") == 3) | (pc.field("bucket") == 97), None):
            for columns in (["bucket", "x"], ["bucket", "x.y"], None):
                with sent(folder).reading("a", "b", where=where, columns=columns) as paths:
                    found = pq.read_table(paths, columns=columns, filters=where)
                    taken = [path.stat().st_blocks * 512 for path in paths]
                    whole = [path.stat().st_size for path in paths]
                wanted = rows.select(columns or rows.column_names)
                wanted = wanted if where is None else wanted.filter(where)
                assert found.equals(pa.concat_tables([wanted, wanted])), (where, columns)
                assert where is None or max(taken) < min(whole) / 2
        with sent(folder).reading("a", columns=()) as (path,):
            assert pq.read_schema(path).equals(rows.schema)
            assert path.stat().st_blocks * 512 < path.stat().st_size / 2


def test_what_is_sent_holds_neither_a_secret_nor_the_drivers_home(settings: Settings) -> None:
    with exchange(settings, "scores") as folder:
        text = pickle.dumps(folder.below("events"))
    assert b"s3cret" not in text
    assert str(settings.home).encode() not in text


def test_what_a_killed_driver_left_goes_after_a_day_without_a_write(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def at(moment: float) -> Iterator[None]:
        monkeypatch.setattr(bucket_exchange, "time", SimpleNamespace(time=lambda: moment))
        with exchange(settings, "pieces"):
            yield

    write(there(settings), "scores-killed/0.parquet", "rows")
    write(there(settings), "scores-running/0.parquet", "rows")
    (first,) = {round(written) for written in there(settings)._written().values()}
    while (last := max(there(settings)._written().values())) <= first:  # the storage tells whole seconds
        write(there(settings), "scores-running/1.parquet", "rows")
    with at(first + DAY - 1):
        assert len(there(settings)._written()) == 3
    with at(last + DAY - 0.5):
        assert {name.split("/")[3] for name in there(settings)._written()} == {"scores-running"}
    with at(last + DAY + 1):
        assert not there(settings)._written()


def test_a_driver_that_lives_writes_from_time_to_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_exchange, "BEAT", timedelta(seconds=0.01))
    with exchange(settings, "scores"):
        deadline = time.monotonic() + 20
        while not there(settings)._written():
            assert time.monotonic() < deadline
    assert not there(settings)._written()


def test_a_bucket_that_does_not_answer_is_no_fault_of_what_is_computed(
    settings: Settings, proxy: FaultyProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_RETRIES", 0)
    monkeypatch.setenv("MLPROD_CONNECTION_LAKE", bucket.connection(proxy.port))
    with exchange(settings, "scores") as folder:
        write(folder, "a", "text")
        proxy.befall("busy", "GET", times=1)
        with pytest.raises(ExchangeUnreachable, match=r"cannot read .*/a in s3://.*asks for fewer requests") as refused:
            read(sent(folder), "a")
        assert isinstance(pickle.loads(pickle.dumps(refused.value)), NotComputed)
        assert read(sent(folder), "a") == "text"
        with pytest.raises(ExchangeNotShared, match=r"b to s3://.*compare MLPROD_CONNECTION_LAKE"):
            read(sent(folder), "b")


def test_an_answer_that_breaks_off_is_asked_for_again(
    settings: Settings, proxy: FaultyProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROD_CONNECTION_LAKE", bucket.connection(proxy.port))
    with exchange(settings, "scores") as folder:
        write(folder, "a", "text" * 100_000)
        proxy.befall("cut", "GET", times=1)
        assert read(sent(folder), "a") == "text" * 100_000
    assert proxy.befallen() == 1
