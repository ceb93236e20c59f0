"""What every store promises, on real SQLite, PostgreSQL and Redis."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from mlprod_tasks.platform.database import database_url, open_database
from mlprod_tasks.platform.online_store.open_store import open_store
from mlprod_tasks.platform.online_store.protocol import OnlineStore, StoredValues, StoreUnavailable
from tests.support.paths import REPOSITORY


def test_nothing_is_there_before_the_first_generation(store: OnlineStore) -> None:
    assert store.read("shop", [b"a"]) is None
    assert store.read("shop", []) is None


def test_a_generation_holds_what_was_put_and_lacks_what_was_removed(store: OnlineStore) -> None:
    first = store.replace("shop", None, [(b"a", b"1"), (b"b", b"\x00\xff"), (b"", b"")], [])
    assert first == 1
    assert store.read("shop", [b"b", b"a", b"c", b""]) == StoredValues(1, [b"\x00\xff", b"1", None, b""])
    assert store.read("shop", []) == StoredValues(1, [])
    assert store.replace("shop", 1, [(b"c", b"3"), (b"a", b"11")], [b"b"]) == 2
    assert store.read("shop", [b"a", b"b", b"c"]) == StoredValues(2, [b"11", None, b"3"])
    assert store.replace("shop", 2, [], []) == 3
    assert store.read("shop", [b"a"]) == StoredValues(3, [b"11"])
    assert store.read("other", [b"a"]) is None


def test_use_cases_do_not_see_each_other(store: OnlineStore) -> None:
    store.replace("shop", None, [(b"a", b"shop")], [])
    store.replace("sho", None, [(b"a", b"sho")], [])
    store.replace("sho", 1, [], [b"a"])
    assert store.read("shop", [b"a"]) == StoredValues(1, [b"shop"])
    assert store.read("sho", [b"a"]) == StoredValues(2, [None])


def test_of_two_writers_from_the_same_generation_the_second_changes_nothing(store: OnlineStore) -> None:
    store.replace("shop", None, [(b"a", b"0"), (b"b", b"0")], [])
    assert store.replace("shop", 1, [(b"a", b"1"), (b"b", b"1")], []) == 2
    assert store.replace("shop", 1, [(b"a", b"2")], [b"b"]) is None
    assert store.replace("shop", None, [(b"a", b"3")], []) is None
    assert store.replace("shop", 9, [(b"a", b"4")], []) is None
    assert store.read("shop", [b"a", b"b"]) == StoredValues(2, [b"1", b"1"])


def test_many_keys_are_read_at_one_look(store: OnlineStore) -> None:
    keys = [i.to_bytes(4, "big") for i in range(1800)]
    store.replace("shop", None, ((key, key * 20) for key in keys), [])
    assert store.read("shop", [*keys, b"nosuch"]) == StoredValues(1, [*(key * 20 for key in keys), None])


def test_a_writer_that_fails_midway_leaves_the_old_generation(store: OnlineStore) -> None:
    store.replace("shop", None, [(b"a", b"0")], [])

    def breaking() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        yield from ((i.to_bytes(3, "big"), b"x") for i in range(2000))
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.replace("shop", 1, breaking(), [])
    assert store.read("shop", [b"a", b"\x00\x00\x01"]) == StoredValues(1, [b"0", None])
    assert store.replace("shop", 1, [(b"a", b"2")], []) == 2


KILLED = """
import os, signal, sys
from mlprod_tasks.platform.online_store.open_store import open_store

def entries():
    for i in range(3000):
        yield b"%d" % i, b"new" * 100
    print("midway", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"never", b""

open_store(sys.argv[1]).replace("shop", 1, entries(), [b"old"])
"""


def test_a_writer_that_is_killed_midway_leaves_the_old_generation_and_bars_nobody(store: OnlineStore, store_url: str) -> None:
    store.replace("shop", None, [(b"old", b"0"), (b"7", b"0")], [])
    done = subprocess.run([sys.executable, "-c", KILLED, store_url], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "midway\n"), done.stderr
    assert store.read("shop", [b"old", b"7", b"2999"]) == StoredValues(1, [b"0", b"0", None])
    assert store.replace("shop", 1, [(b"7", b"1")], []) == 2
    assert store.read("shop", [b"old", b"7", b"2999"]) == StoredValues(2, [b"0", b"1", None])


def test_readers_never_see_parts_of_two_generations(store: OnlineStore, store_url: str) -> None:
    keys = [b"k%d" % i for i in range(600)]  # more than one page of each store
    store.replace("shop", None, [(key, b"1") for key in keys], [])
    stop, mixed, looks = threading.Event(), list[str](), [0]

    def look() -> None:
        reader = open_store(store_url)
        while not stop.is_set():
            seen = reader.read("shop", keys)
            looks[0] += 1
            if seen is None or set(seen.values) != {b"%d" % seen.generation}:
                mixed.append(str(seen)[:200])
        reader.close()

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(1, 15):
        value = b"%d" % (generation + 1)
        assert store.replace("shop", generation, ((key, value) for key in keys), []) == generation + 1
    stop.set()
    for reader in readers:
        reader.join()
    assert mixed == []
    assert looks[0] > 10


def test_writers_at_once_end_with_one_of_them_whole_each_time(store: OnlineStore, store_url: str) -> None:
    keys = [b"k%d" % i for i in range(300)]
    won = list[int]()

    def write(name: int) -> None:
        mine = open_store(store_url)
        for _ in range(100):
            seen = mine.read("shop", [])
            base = None if seen is None else seen.generation
            if mine.replace("shop", base, ((key, b"%d" % name) for key in keys), []) is not None:
                won.append(name)
                break
        mine.close()

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seen = store.read("shop", keys)
    assert seen is not None
    assert sorted(won) == [0, 1, 2, 3]
    assert seen.generation == 4
    assert len(set(seen.values)) == 1


@pytest.mark.parametrize(
    "url", ["postgresql://nobody:geheim@127.0.0.1:9/x", "redis://:geheim@127.0.0.1:9/0", "sqlite:////proc/nowhere/online.db"]
)
def test_a_store_that_does_not_answer_says_where_and_not_its_password(url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1|/proc/nowhere") as told:
        store.replace("shop", None, [(b"a", b"1")], [])
    assert "geheim" not in str(told.value)


# PostgreSQL then reads both tables in worker processes, and returns the rows of whichever answers first.
PARALLEL = {
    "debug_parallel_query": "on",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "enable_indexscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "4",
    "parallel_leader_participation": "off",
}


def test_the_order_in_which_postgresql_returns_rows_does_not_matter(postgres_database: str) -> None:
    keys = [b"k%d" % i for i in range(2000)]
    with closing(open_store(postgres_database)) as store:
        store.replace("shop", None, ((key, key) for key in keys), [])
    with open_database(postgres_database).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        name = database_url(postgres_database).database
        for setting, value in PARALLEL.items():
            connection.execute(text(f"ALTER DATABASE {name} SET {setting} = {value}"))
    with closing(open_store(postgres_database)) as store:
        for _ in range(20):
            assert store.read("shop", keys) == StoredValues(1, list(keys))


def test_after_postgresql_closed_all_connections_every_look_is_answered(postgres_database: str) -> None:
    with closing(open_store(postgres_database)) as store, ThreadPoolExecutor(4) as pool:
        store.replace("shop", None, [(b"a", b"1")], [])
        together = threading.Barrier(4)

        def look(_: int) -> StoredValues | None:
            together.wait(30)
            return store.read("shop", [b"a"])

        assert list(pool.map(look, range(4))) == [StoredValues(1, [b"1"])] * 4
        with open_database(postgres_database).connect() as connection:
            closed = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            )
            assert connection.execute(text(f"{closed} current_database()")).scalar_one() > 0
        for _ in range(2):
            assert list(pool.map(look, range(4))) == [StoredValues(1, [b"1"])] * 4


def test_a_scheme_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="use sqlite:///"):
        open_store("mysql://x/y")


def test_a_file_that_is_no_database_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(StoreUnavailable):
        open_store(f"sqlite:///{path}").read("shop", [b"a"])
