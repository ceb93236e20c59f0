"""What only a store behind a network has to bear: answers that are lost, commands that are late, a generation that is gone."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
import redis

from mlprod_tasks.platform.online_store.open_store import open_store
from mlprod_tasks.platform.online_store.protocol import OnlineStore, StoredValues, StoreUnavailable
from tests.support.tcp_proxy import TcpProxy

MOVE = b"EVALSHA"  # the only script that a writer runs before its next generation is the one that is read


@pytest.fixture
def store(empty_redis_url: str) -> Iterator[OnlineStore]:
    """A store in which generation 1 is, and whose server knows the scripts by now."""
    with closing(open_store(empty_redis_url)) as opened:
        assert opened.replace("shop", None, [(b"a", b"0"), (b"b", b"0")], []) == 1
        assert opened.read("shop", []) == StoredValues(1, [])
        yield opened


@contextmanager
def proxied(url: str) -> Iterator[tuple[OnlineStore, TcpProxy]]:
    """The same store, reached through a proxy."""
    parts = urlsplit(url)
    assert parts.port is not None
    with TcpProxy(parts.port) as proxy, closing(open_store(f"redis://127.0.0.1:{proxy.port}{parts.path}")) as behind:
        yield behind, proxy


def hashes(url: str) -> list[bytes]:
    with redis.Redis.from_url(url) as client:
        return sorted(client.keys("*:online:*"))


def test_a_generation_is_kept_when_the_answer_to_its_move_is_lost(store: OnlineStore, redis_url: str) -> None:
    with proxied(redis_url) as (behind, proxy):
        proxy.lose_answer_to(MOVE)
        assert behind.replace("shop", 1, [(b"a", b"1")], []) == 2
    assert store.read("shop", [b"a", b"b"]) == StoredValues(2, [b"1", b"0"])
    assert store.replace("shop", 2, [(b"a", b"2")], []) == 3
    assert store.read("shop", [b"a", b"b"]) == StoredValues(3, [b"2", b"0"])


def test_a_generation_is_kept_when_the_server_cannot_be_asked_whether_it_moved(store: OnlineStore, redis_url: str) -> None:
    with proxied(redis_url) as (behind, proxy):
        proxy.lose_answer_to(MOVE, then_refuse=True)
        with pytest.raises(StoreUnavailable):
            behind.replace("shop", 1, [(b"a", b"1")], [])
    assert store.read("shop", [b"a", b"b"]) == StoredValues(2, [b"1", b"0"])
    assert store.replace("shop", 2, [(b"a", b"2")], []) == 3


def test_a_move_that_arrives_after_its_writer_gave_up_changes_nothing(store: OnlineStore, redis_url: str) -> None:
    with proxied(redis_url) as (behind, proxy):
        proxy.keep_back(MOVE)
        with pytest.raises(StoreUnavailable):
            behind.replace("shop", 1, [(b"a", b"late")], [])
        assert len(hashes(redis_url)) == 1, "the writer took away what it had prepared"
        proxy.deliver()
    assert store.read("shop", [b"a", b"b"]) == StoredValues(1, [b"0", b"0"])
    assert store.replace("shop", 1, [(b"a", b"1")], []) == 2


def test_a_generation_that_is_gone_is_written_whole_under_a_higher_number(store: OnlineStore, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*hashes(redis_url))
    assert store.read("shop", [b"a"]) is None
    assert store.read("shop", []) is None
    assert store.replace("shop", 1, [(b"a", b"1")], []) is None, "changes alone would leave out what did not change"
    assert store.replace("shop", None, [(b"a", b"1"), (b"b", b"1")], []) == 2
    assert store.read("shop", [b"a", b"b"]) == StoredValues(2, [b"1", b"1"])


def test_a_writer_that_starts_from_nothing_is_refused_where_a_generation_is(store: OnlineStore, redis_url: str) -> None:
    assert store.replace("shop", None, [(b"a", b"1")], []) is None
    assert len(hashes(redis_url)) == 1, "nothing is left of what it prepared"
