"""The online store in Redis: one hash per generation, and a pointer to the current one."""

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
STAGING_SECONDS = 3600  # after this time, leftovers of a writer that died expire
OUTDATED_SECONDS = 60
# The pointer's value is 'generation token'; both are in the name of the hash, so that two writers never share one.
READ = """
local now = redis.call('GET', KEYS[1])
if not now or redis.call('EXISTS', ARGV[1] .. now) == 0 then return false end
if #ARGV == 1 then return {now, {}} end
return {now, redis.call('HMGET', ARGV[1] .. now, unpack(ARGV, 2))}
"""
# If MOVE arrives after its writer has given up, the new hash no longer exists, so nothing is moved.
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
    """A store in one Redis server, or one behind Sentinel.

    In a cluster, all keys of a use case would be in one slot. A read is one script, so that pointer and values are consistent.
    The next generation is copied inside the server, and only changes are sent. If the hash of a generation is missing, for
    example after a loss of data, the store counts as empty; but its generation number is not used again.
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
            while True:  # tenacity would cost 35 us per call, a third of a read
                parts = [self._read_page(pipeline, keys[i : i + PAGE]) for i in range(0, max(len(keys), 1), PAGE)]
                if parts[0] is None:
                    return None
                if all(part is not None and part[0] == parts[0][0] for part in parts):
                    values = [value for part in parts if part for value in part[1]]
                    return StoredValues(_number(parts[0][0]), values)

    def _read_page(self, pipeline: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        result: Any = self._read(keys=[_pointer(pipeline)], args=[f"{_pointer(pipeline)}:", *keys])
        return None if not result else (result[0], result[1])

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        with self._as_unavailable():
            pointer = _pointer(pipeline)
            value: Any = self._writer.get(pointer)
            before = value.decode() if value else ""
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
                # The server may have moved the pointer although its answer was lost.
                moved = self._is_live_else_discard(pointer, staging, after)
                if not (moved and isinstance(error, redis.RedisError)):
                    raise
            return _number(after) if moved or self._is_live_else_discard(pointer, staging, after) else None

    def _prepare(self, staging: str, old: str | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]) -> bool:
        """Create the hash of the next generation.

        Returns False if the old one has expired meanwhile.
        """
        writer = self._writer
        # Redis has no empty hashes, so a first field creates the hash.
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
        """Whether the generation is the current one; if not, delete its hash.

        Also False if the server does not answer: the hash then expires.
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
    remaining = iter(items)
    while page := list(islice(remaining, PAGE)):
        yield page
