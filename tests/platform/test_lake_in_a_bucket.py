"""The lake's promises on a real S3 server, and what is said where that does not do what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks.platform import Platform, lake_storage
from mlprod_tasks.platform.compute.bucket_exchange import BucketExchange
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import Lake, TableMissing, listed
from mlprod_tasks.platform.object_storage import client
from mlprod_tasks.platform.object_storage.addresses import place_at
from mlprod_tasks.platform.object_storage.client import NoConditionalPuts, StorageUnreachable
from mlprod_tasks.platform.row_files import RowFiles
from mlprod_tasks.platform.settings import from_environment
from tests.support.object_storage import Bucket, FaultyProxy
from tests.support.shop import SHOP

DAY, ALWAYS = timedelta(days=1), 10**6
FIRST = date(2024, 1, 1)
RANGE = SHOP.schedule.range(FIRST, FIRST + DAY)


def rows(*days: date, start: int = 0) -> pa.Table:
    return pa.table({"tick": list(days), "n": range(start, start + len(days))})


@pytest.fixture
def lake(bucket: Bucket, tmp_path: Path) -> Callable[..., Lake]:
    """Open the lake of the bucket; keyword arguments: port of a proxy, key, bound of the local copies."""

    def opened(port: int | None = None, gigabytes: float = 1, home: str = "home", **credentials: str) -> Lake:
        given = {
            "MLPROD_HOME": str(tmp_path / home),
            "MLPROD_LAKE": f"{bucket.url}/a/lake",
            "MLPROD_CONNECTION_LAKE": bucket.connection(port, **credentials),
            "MLPROD_LAKE_COPIES_GB": str(gigabytes),
        }
        lake_storage._checked.cache_clear()
        return Platform(from_environment(given)).lake

    return opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_RETRIES", 1)


def counted(lake: Lake, name: str) -> list[tuple[date, int]]:
    with engine(lake=lake) as connection:
        source = f"read_parquet({listed(lake.files(name))}, hive_partitioning=true)"
        return connection.sql(f"SELECT tick, sum(n)::INT FROM {source} GROUP BY 1 ORDER BY 1").fetchall()


def test_a_tick_is_replaced_and_an_older_version_stays(lake: Callable[..., Lake]) -> None:
    first = lake()
    assert not first.exists("t")
    with pytest.raises(TableMissing):
        first.rows("t")
    before = first.replace_ticks("t", RANGE, rows(FIRST, FIRST, FIRST + DAY)).version
    first.replace_ticks("t", SHOP.schedule.range(FIRST), rows(FIRST, start=10))
    assert counted(lake(), "t") == [(FIRST, 10), (FIRST + DAY, 2)]
    assert lake().rows("t", [FIRST]).to_pylist() == [{"tick": FIRST, "n": 10}]
    assert lake().rows_of_ticks("t") == {FIRST: 1, FIRST + DAY: 1}
    files = lake().files("t", version=before)
    with engine(lake=lake()) as connection:
        assert connection.sql(f"SELECT sum(n) FROM read_parquet({listed(files)})").fetchall() == [(3,)]


def test_files_become_rows_in_the_bucket_as_they_are(lake: Callable[..., Lake], tmp_path: Path) -> None:
    lake().replace_ticks("t", RANGE, rows(FIRST, FIRST + DAY))
    files = tuple(tmp_path / f"{start}.parquet" for start in (10, 20))
    for start, file in zip((10, 20), files, strict=True):
        pq.write_table(rows(FIRST, FIRST, start=start), file)
    written = lake().replace_ticks("t", SHOP.schedule.range(FIRST), RowFiles.here(files, 4))
    assert written.version == lake().version("t")
    assert counted(lake(home="another"), "t") == [(FIRST, 62), (FIRST + DAY, 1)]
    assert lake().rows("t", [FIRST])["n"].to_pylist() == [10, 11, 20, 21]


@pytest.mark.parametrize("copies", [True, False])
def test_files_that_are_in_the_bucket_are_copied_there_or_fetched_and_put(
    lake: Callable[..., Lake], bucket: Bucket, proxy: FaultyProxy, tmp_path: Path, copies: bool
) -> None:
    given = {"MLPROD_HOME": str(tmp_path), "MLPROD_CONNECTION_LAKE": bucket.connection()}
    folder = BucketExchange(f"{bucket.url}/a/lake", "pieces", from_environment(given))
    for name in ("0", "1"):
        with folder.writing(name) as file:
            pq.write_table(rows(FIRST, FIRST, start=int(name)), file)
    if not copies:
        proxy.befall("unimplemented", "PUT", "/part-", times=2)
    lake(proxy.port).replace_ticks("t", SHOP.schedule.range(FIRST), RowFiles(folder, ("0", "1"), 4))
    assert proxy.befallen() == (0 if copies else 2)
    assert sum(method == "PUT" and "/part-" in path for method, path, _ in proxy.seen()) == (2 if copies else 4)
    assert lake().rows("t", [FIRST])["n"].to_pylist() == [0, 1, 1, 2]


def test_writers_of_one_table_at_once_lose_nothing_and_double_nothing(lake: Callable[..., Lake]) -> None:
    days = [FIRST + i * DAY for i in range(4)]
    work = [(day, n) for day in days for n in (1, 2)]

    def write(one: tuple[date, int]) -> None:
        lake().replace_ticks("t", SHOP.schedule.range(one[0]), rows(one[0], one[0], start=one[1]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, work))
    found = lake().rows("t").sort_by([("tick", "ascending"), ("n", "ascending")]).to_pylist()
    for day in days:
        assert [row["n"] for row in found if row["tick"] == day] in ([1, 2], [2, 3]), "of one writer, whole"


def test_an_answer_that_got_lost_is_found_in_the_log(lake: Callable[..., Lake], proxy: FaultyProxy) -> None:
    lake().replace_ticks("t", RANGE, rows(FIRST, FIRST + DAY))
    version = lake().version("t")
    proxy.befall("lost", "PUT", "/_delta_log/")
    through = lake(proxy.port)
    written = through.revise_ticks("t", RANGE, lambda _: (rows(FIRST, start=7), ()))
    assert proxy.befallen()
    assert written.version == version + 1 == lake().version("t"), "committed once, though it was not told so"
    assert lake().rows("t").to_pylist() == [{"tick": FIRST, "n": 7}]


def test_a_reference_table_is_compared_and_replaced(lake: Callable[..., Lake]) -> None:
    table = pa.table({"k": ["a", "b"], "v": [1.0, 2.0]})
    lake().replace("planes", table)
    assert lake().holds("planes", table.take([1, 0]))
    assert not lake().holds("planes", table.slice(1))


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_busy_is_named_and_the_last_version_stays(lake: Callable[..., Lake], proxy: FaultyProxy) -> None:
    lake().replace_ticks("t", RANGE, rows(FIRST))
    proxy.befall("busy", "PUT", times=ALWAYS)
    with pytest.raises(StorageUnreachable, match="asks for fewer requests"):
        lake(proxy.port).replace_ticks("t", RANGE, rows(FIRST, start=5))
    assert lake().rows("t").to_pylist() == [{"tick": FIRST, "n": 0}]
    proxy.befall("busy", times=ALWAYS)
    with pytest.raises(StorageUnreachable, match="asks for fewer requests"):
        lake(proxy.port).exists("t")


@pytest.mark.usefixtures("impatient")
def test_a_file_that_cannot_be_read_is_named_not_the_engine_s_traceback(lake: Callable[..., Lake], proxy: FaultyProxy) -> None:
    lake().replace_ticks("t", RANGE, rows(FIRST))
    proxy.befall("busy", path=r"\.parquet", times=ALWAYS)
    with pytest.raises(StorageUnreachable, match=r"cannot read t/tick=2024-01-01/.*fewer requests"):
        counted(lake(proxy.port), "t")
    with pytest.raises(StorageUnreachable, match=r"cannot read t/tick=2024-01-01/.*fewer requests"):
        lake(proxy.port).rows("t")
    proxy.befall("busy", times=0)
    assert counted(lake(proxy.port), "t") == [(FIRST, 0)]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_no_missing_table(lake: Callable[..., Lake]) -> None:
    for ask in (lambda one: one.exists("t"), lambda one: one.replace_ticks("t", RANGE, rows(FIRST))):
        with pytest.raises(StorageUnreachable, match="cannot be reached: check the endpoint"):
            ask(lake(port=1))


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    given = {"MLPROD_HOME": str(tmp_path), "MLPROD_LAKE": "s3://no-such-bucket/lake"}
    lake = Platform(from_environment({**given, "MLPROD_CONNECTION_LAKE": bucket.connection()})).lake
    with pytest.raises(StorageUnreachable, match=r"s3://no-such-bucket/lake: the bucket does not exist"):
        lake.replace_ticks("t", RANGE, rows(FIRST))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["unconditional", "unimplemented"])
def test_a_bucket_without_conditional_puts_is_refused_before_anything_is_written(
    lake: Callable[..., Lake], proxy: FaultyProxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")  # commits ask for it all the same
    proxy.befall(fault, times=ALWAYS)
    with pytest.raises(
        NoConditionalPuts, match="two writers of one tick could overwrite each other: keep the lake in a bucket"
    ):
        lake(proxy.port).replace_ticks("t", RANGE, rows(FIRST))
    assert not lake().exists("t")
    assert [path for method, path, _ in proxy.seen() if method == "PUT" and "conditional_put" not in path] == []


def test_what_was_read_is_not_fetched_again_and_copies_are_bounded(
    lake: Callable[..., Lake], proxy: FaultyProxy, tmp_path: Path
) -> None:
    days = [FIRST + i * DAY for i in range(12)]
    lake().replace_ticks("t", SHOP.schedule.range(days[0], days[-1]), rows(*days))

    def fetched() -> int:
        return sum(method == "GET" and ".parquet" in path for method, path, _ in proxy.seen())

    for _ in range(2):
        assert len(counted(lake(proxy.port), "t")) == 12
        assert fetched() == 12
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet")) / 12
    few = lake(proxy.port, gigabytes=4 * size / 1e9, home="small")
    assert len(counted(few, "t")) == 12, "also if they do not all have room"
    kept = list((tmp_path / "small").rglob("*.parquet"))
    assert 1 <= len(kept) <= 5


def test_copies_are_fetched_while_earlier_ones_are_read(lake: Callable[..., Lake], proxy: FaultyProxy) -> None:
    days = [FIRST + i * DAY for i in range(16)]
    lake().replace_ticks("t", SHOP.schedule.range(days[0], days[-1]), rows(*days))
    proxy.befall(0.2, path=r"\.parquet", times=ALWAYS)
    begun = time.monotonic()
    assert len(counted(lake(proxy.port), "t")) == 16
    assert time.monotonic() - begun < 16 * 0.2, "one after the other"


def test_credentials_are_in_no_text_of_the_installation(bucket: Bucket, tmp_path: Path) -> None:
    given = {
        "MLPROD_HOME": str(tmp_path),
        "MLPROD_LAKE": bucket.url,
        "MLPROD_CONNECTION_LAKE": bucket.connection(secret="hush"),
    }
    platform = Platform(from_environment(given))
    place = place_at(bucket.url, bucket.connection(secret="hush"))
    assert "hush" in place.options.values()
    assert "hush" not in "".join(map(repr, (platform, platform.settings, platform.lake, place)))
