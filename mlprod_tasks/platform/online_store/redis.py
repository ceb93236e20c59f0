"""The online store in Redis: each generation a hash of its own, and a pointer that moves from one to the next."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import redis

from mlprod_tasks.platform.online_store.protocol import StoredValues, StoreUnavailable

READ_SECONDS = 1.0
WRITE_SECONDS = 60.0
PAGE = 500
STAGING_SECONDS = 3600  # leftovers of a writer that died expire
OUTDATED_SECONDS = 60
# The pointer holds 'generation token'; the hash is called by both, so that no two writers share one.
READ = """
local now = redis.call('GET', KEYS[1])
if not now or redis.call('EXISTS', ARGV[1] .. now) == 0 then return false end
if #ARGV == 1 then return {now, {}} end
return {now, redis.call('HMGET', ARGV[1] .. now, unpack(ARGV, 2))}
"""
# A move that arrives after its writer has given up finds nothing that it could move to.
MOVE = """
local now = redis.call('GET', KEYS[1])
if (now or '') ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2])
if now then redis.call('EXPIRE', KEYS[3], ARGV[3]) end
return 1
"""
DISCARD = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
redis.call('UNLINK', KEYS[2])
return 0
"""


class RedisStore:
    """One Redis server, or one behind Sentinel; a cluster would need all keys of a use case in one slot, which these names do.

    A look is one script, so that pointer and values are of one moment. A next generation is copied inside the server and
    only what changed is sent. A generation whose hash is gone, as after a loss of data, is as if it had never been, but for
    its number.
    """

    remote = True

    def __init__(self, url: str) -> None:
        self._reader = redis.Redis.from_url(url, socket_timeout=READ_SECONDS, socket_connect_timeout=READ_SECONDS)
        self._writer = redis.Redis.from_url(url, socket_timeout=WRITE_SECONDS, socket_connect_timeout=READ_SECONDS)
        address = self._reader.connection_pool.connection_kwargs
        self._where = f"redis {address.get('host', address.get('path', ''))}:{address.get('port', '')}/{address.get('db', 0)}"
        self._read = self._reader.register_script(READ)
        self._move = self._writer.register_script(MOVE)
        self._discard = self._writer.register_script(DISCARD)

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        with self._as_unavailable():
            while True:  # tenacity would cost 35 us a call, a third of a look
                parts = [self._look(pipeline, keys[i : i + PAGE]) for i in range(0, max(len(keys), 1), PAGE)]
                if parts[0] is None:
                    return None
                if all(part is not None and part[0] == parts[0][0] for part in parts):
                    values = [value for part in parts if part for value in part[1]]
                    return StoredValues(_number(parts[0][0]), values)

    def _look(self, pipeline: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        found: Any = self._read(keys=[_pointer(pipeline)], args=[f"{_pointer(pipeline)}:", *keys])
        return None if not found else (found[0], found[1])

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        with self._as_unavailable():
            pointer = _pointer(pipeline)
            found: Any = self._writer.get(pointer)
            before = found.decode() if found else ""
            old = f"{pointer}:{before}"
            exists = bool(before and self._writer.exists(old))
            if (_number(before) if exists else None) != base:
                return None
            after = f"{_number(before) + 1 if before else 1} {uuid.uuid4().hex}"
            staging = f"{pointer}:{after}"
            try:
                moved = self._prepare(staging, old if exists else None, put, removed) and bool(
                    self._move(keys=[pointer, staging, old], args=[before, after, OUTDATED_SECONDS])
                )
            except BaseException as error:
                # The server may have moved though its answer was lost.
                moved = self._is_live_else_discard(pointer, staging, after)
                if not (moved and isinstance(error, redis.RedisError)):
                    raise
            return _number(after) if moved or self._is_live_else_discard(pointer, staging, after) else None

    def _prepare(self, staging: str, old: str | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]) -> bool:
        """Create the next generation's hash. False where the old one has expired meanwhile."""
        writer = self._writer
        # Redis has no empty hashes: the first field creates the hash.
        writer.hset(staging, "", "")
        writer.expire(staging, STAGING_SECONDS)
        if old is not None and not writer.copy(old, staging, replace=True):
            return False
        writer.expire(staging, STAGING_SECONDS)
        for page in _pages(put):
            writer.hset(staging, mapping=dict(page))
            writer.expire(staging, STAGING_SECONDS)
        for gone in _pages(removed):
            writer.hdel(staging, *gone)
        return True

    def _is_live_else_discard(self, pointer: str, staging: str, after: str) -> bool:
        """Whether the generation is the one that is read; if not, what was prepared of it is deleted.

        False, too, where the server does not answer: what was prepared expires by itself.
        """
        with suppress(redis.RedisError):
            return bool(self._discard(keys=[pointer, staging], args=[after]))
        return False

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise StoreUnavailable(f"online store {self._where}: {error}") from error


def _pointer(pipeline: str) -> str:
    return f"mlprod:{{{pipeline}}}:online"


def _number(pointer: bytes | str) -> int:
    return int(pointer.split()[0])


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while page := list(islice(left, PAGE)):
        yield page
