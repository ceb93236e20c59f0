"""Records by which processes share work: each is written once, the dead are told from the living, one at a time is let in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from mlprod_tasks.platform.object_storage import shared_records
from mlprod_tasks.platform.object_storage.addresses import place_at
from mlprod_tasks.platform.object_storage.client import StorageUnreachable, store
from mlprod_tasks.platform.object_storage.shared_records import RecordsInBucket
from mlprod_tasks.platform.shared_records import RecordsInFolder, SharedRecords
from tests.support.object_storage import Bucket, FaultyProxy
from tests.support.paths import REPOSITORY

Open = Callable[[], SharedRecords]


def in_bucket(bucket: Bucket, port: int | None = None) -> RecordsInBucket:
    place = place_at(bucket.url, bucket.connection(port))
    return RecordsInBucket(place, store(place), "a/folder")


@pytest.fixture(params=["folder", "bucket"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open the records, as another process each time."""
    if request.param == "folder":
        return partial(RecordsInFolder, tmp_path / "records")
    return partial(in_bucket, request.getfixturevalue("bucket"))


def test_of_those_who_write_a_record_at_once_one_does_and_all_read_the_same(opened: Open) -> None:
    assert opened().read() == {}
    at_once = threading.Barrier(4)

    def write(by: int) -> list[str]:
        records = opened()
        at_once.wait(20)
        return [name for name in (f"one/{i}.claim" for i in range(10)) if records.create(name, f"{by} {name}".encode())]

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, range(4)))
    claimed = {name: f"{by} {name}".encode() for by, names in enumerate(written) for name in names}
    assert sum(map(len, written)) == len(claimed) == 10
    reader = opened()
    assert reader.read() == claimed
    assert opened().create("one/10.claim", b"later")
    assert reader.read() == claimed | {"one/10.claim": b"later"}


def test_who_is_at_work_is_seen_until_the_block_ends_also_by_an_error(opened: Open) -> None:
    asking = opened()
    assert asking.living() == set()
    with opened().at_work(0) as first:
        with suppress(ZeroDivisionError), opened().at_work(10) as second:
            assert (first.partition("-")[0], second.partition("-")[0]) == ("0", "10")
            assert asking.living() == {first, second}
            raise ZeroDivisionError
        assert asking.living() == {first}
    assert asking.living() == set()


def test_one_process_at_a_time_is_let_in_and_it_is_known_when_one_last_left(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_records, "ASK_EVERY", 0.05)
    inside, most, entered = 0, 0, 0
    assert opened().last_locked("report") == 0

    def enter(worker: int) -> None:
        nonlocal inside, most, entered
        records = opened()
        with records.at_work(worker):
            for _ in range(2):
                with records.locked("report"):
                    inside, entered = inside + 1, entered + 1
                    most = max(most, inside)
                    time.sleep(0.02)
                    inside -= 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(enter, range(3)))
    assert (most, entered) == (1, 6)
    records = opened()
    assert abs(records.now() - records.last_locked("report")) < 10
    assert abs(records.now() - datetime.now(UTC).timestamp()) < 10
    with suppress(ZeroDivisionError), records.at_work(0), records.locked("report"):
        raise ZeroDivisionError
    with records.at_work(0), records.locked("other"), records.locked("report"):
        pass


# A process that holds a lock until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from mlprod_tasks.platform.object_storage.addresses import place_at
from mlprod_tasks.platform.object_storage.client import StorageUnreachable, store
from mlprod_tasks.platform.object_storage.shared_records import RecordsInBucket
from mlprod_tasks.platform.shared_records import RecordsInFolder

at, *connection = sys.argv[1:]
place = place_at(at, *connection) if connection else None
records = RecordsInBucket(place, store(place), "a/folder") if place else RecordsInFolder(Path(at))
with records.at_work(3), records.locked("report"):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_a_killed_process_is_noticed_and_what_it_had_locked_is_free(
    where: str, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [str(tmp_path)] if where == "folder" else [bucket.url, bucket.connection()]
    records: SharedRecords = RecordsInFolder(tmp_path) if where == "folder" else in_bucket(bucket)
    command = [sys.executable, "-c", HOLDER, *given]
    holder = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "locked\n"
    with records.at_work(0) as mine:
        (other,) = records.living() - {mine}
        holder.kill()
        holder.wait(20)
        holder.stdout.close()
        if where == "bucket":
            assert other in records.living(), "its sign still counts"
            monkeypatch.setattr(shared_records, "DEAD_AFTER", 1.0)
            monkeypatch.setattr(shared_records, "ASK_EVERY", 0.1)
        ends = time.monotonic() + 30
        while other in records.living():
            assert time.monotonic() < ends
            time.sleep(0.1)
        with records.locked("report"):
            assert other not in records.living()


def test_who_is_at_work_gives_signs_again_and_again_whatever_befalls_one(
    bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_records, "SIGN_EVERY", 0.05)
    failed = StorageUnreachable("cannot write to a bucket")

    def signs() -> int:
        return sum(method == "PUT" and "/alive/" in path for method, path, _ in proxy.seen())

    with in_bucket(bucket, proxy.port).at_work(0) as sign:
        put, failures = RecordsInBucket._put, iter([failed, failed])
        monkeypatch.setattr(RecordsInBucket, "_put", lambda self, name: _raise_or(next(failures, None), put, self, name))
        ends = time.monotonic() + 30
        while signs() < 4:
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert next(failures, None) is None
        assert in_bucket(bucket).living() == {sign}
    given = signs()
    assert in_bucket(bucket).living() == set()
    time.sleep(0.2)
    assert signs() == given


def _raise_or(error: Exception | None, put: Callable[..., None], *given: object) -> None:
    if error:
        raise error
    put(*given)


def test_a_worker_that_is_at_work_again_ends_its_sign_of_before(bucket: Bucket) -> None:
    asking = in_bucket(bucket)
    with ExitStack() as killed, in_bucket(bucket).at_work(10) as another:
        killed.enter_context(in_bucket(bucket).at_work(1))
        with in_bucket(bucket).at_work(1) as again:
            assert asking.living() == {another, again}


def test_a_record_is_written_once_whatever_befalls_its_request(bucket: Bucket, proxy: FaultyProxy) -> None:
    one, other, befallen = in_bucket(bucket, proxy.port), in_bucket(bucket), 0
    for fault, times in (("lost", 1), ("dropped", 1), ("busy", 3)):
        assert other.create(f"{fault}.other", b"other")
        for name, mine in ((f"{fault}.one", True), (f"{fault}.other", False)):
            proxy.befall(fault, "PUT", name, times)
            assert one.create(name, b"one") == mine
            befallen += times
        assert not other.create(f"{fault}.one", b"other")
        proxy.befall(fault, ".*", ".*", times)
        with one.at_work(0) as sign, one.locked("report"):
            assert other.living() == {sign}
        befallen += times
    assert proxy.befallen() == befallen
    assert one.read() == {f"{fault}.{by}": by.encode() for fault in ("lost", "dropped", "busy") for by in ("one", "other")}
