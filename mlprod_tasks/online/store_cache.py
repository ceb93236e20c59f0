"""Cache of the online store in one process: decoded entries of one generation, bounded in size."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.online.plan import HEADER, GroupState, Header
from mlprod_tasks.platform.online_store.protocol import OnlineStore, StoreUnavailable

ENTRY_BYTES = 200  # memory of an entry in addition to its stored bytes
ATTEMPTS = 5
LONGEST_RETRY_SECONDS = 5.0
log = logging.getLogger(__name__)
_header = msgspec.msgpack.Decoder(Header).decode


class Generation:
    """A generation with the entries read so far.

    `entries` has None for a key that the store does not have.
    """

    def __init__(self, number: int, header: Header) -> None:
        self.number = number
        self.header = header
        self.states: Mapping[str, GroupState] = header.groups
        self.entries: dict[bytes, Any] = {}
        self.bytes = 0


class StoreCache:
    """The generation that requests read. Thread-safe.

    Checks every `poll_seconds` for a newer generation in the store; until then, each entry is read once. If the store does not
    answer, cached entries stay in use (their age shows it), and the next attempt comes after `retry_seconds`, doubled with each
    further failure up to LONGEST_RETRY_SECONDS.
    """

    def __init__(
        self,
        pipeline: str,
        store: OnlineStore,
        *,
        poll_seconds: float,
        retry_seconds: float,
        most_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._most_bytes = most_bytes
        self._monotonic = monotonic
        self._now: Generation | None = None
        self._looked = -1e18
        self._down_until = -1e18
        self._failed = 0  # times in a row
        self._polling = threading.Lock()
        self._changing = threading.Lock()
        self.failure: str | None = None
        self.hits = self.misses = 0  # entries found in the cache, and entries read from the store

    def generation(self) -> Generation | None:
        """The current generation; None if the store is empty or has never answered."""
        now = self._monotonic()
        if self._due(now) and self._polling.acquire(blocking=False):
            try:
                stored = self._read([])
                self._looked = now
                if stored is None:
                    self._now = None
                elif self._now is None or stored.generation != self._now.number:
                    self._renew()
            except StoreUnavailable:
                pass  # _read has logged it
            finally:
                self._polling.release()
        return self._now

    def at_hand(self, keys: Sequence[bytes]) -> tuple[Generation, dict[bytes, Any]] | None:
        """The generation and its cached entries of the keys.

        Returns None if the store has to be read.
        """
        now = self._monotonic()
        generation = self._now
        if generation is None or self._due(now):
            return None
        cached = generation.entries
        entries = {key: cached[key] for key in keys if key in cached}
        complete = len(entries) == len(keys) or len(entries) == len(set(keys))
        if not complete and now >= self._down_until:
            return None
        self.hits += len(entries)
        return generation, entries

    def without_the_store(self, keys: Sequence[bytes], seconds: float) -> tuple[Generation | None, dict[bytes, Any]]:
        """The cached entries of the keys, if the store did not answer in time.

        This counts as a failure of the store.
        """
        self._record_failure(f"no answer within {format_number(seconds)} seconds")
        generation = self._now
        cached = generation.entries if generation is not None else {}
        return generation, {key: cached[key] for key in keys if key in cached}

    def _due(self, now: float) -> bool:
        return now - self._looked >= self._poll_seconds and now >= self._down_until

    def entries(
        self, keys: Sequence[bytes], decoders: Mapping[bytes, Callable[[bytes], Any]]
    ) -> tuple[Generation | None, dict[bytes, Any]]:
        """A generation and its entries of the keys.

        decoders: by group id, the first 8 bytes of a key. Keys that could not be read because the store does not answer are
        missing from the entries.
        """
        for _ in range(ATTEMPTS):  # tenacity would cost 35 us per call, more than a request with cached entries takes
            generation = self.generation()
            if generation is None:
                return None, {}
            cached = generation.entries
            entries = {key: cached[key] for key in keys if key in cached}
            if len(entries) == len(keys) or len(entries) == len(set(keys)):
                self.hits += len(entries)
                return generation, entries
            if self._monotonic() < self._down_until:
                return generation, entries
            wanted = list(dict.fromkeys(key for key in keys if key not in entries))
            try:
                stored = self._read(wanted)
                if stored is None:
                    self._now = None
                elif stored.generation == generation.number:
                    values = list(zip(wanted, stored.values, strict=True))
                    read = {key: None if value is None else decoders[key[:8]](value) for key, value in values}
                    self.hits += len(entries)
                    self.misses += len(wanted)
                    self._keep(generation, read, sum(map(len, read)) + sum(len(value) for value in stored.values if value))
                    return generation, entries | read
                else:
                    self._renew()
            except StoreUnavailable:
                return generation, entries
        # The store changes faster than it can be read: use the cached generation.
        return generation, entries

    def _renew(self) -> None:
        """Switch to the store's current generation; its entries are read on demand."""
        stored = self._read([HEADER])
        if stored is None or stored.values[0] is None:
            self._now = None
            return
        with self._changing:
            if self._now is None or self._now.number != stored.generation:
                self._now = Generation(stored.generation, _header(stored.values[0]))

    def _read(self, keys: Sequence[bytes]) -> Any:
        try:
            stored = self._store.read(self._pipeline, keys)
        except StoreUnavailable as error:
            self._record_failure(str(error))
            raise
        if self._failed:
            log.info("%s: the online store answers again", self._pipeline)
        self._failed, self.failure, self._down_until = 0, None, -1e18
        return stored

    def _record_failure(self, why: str) -> None:
        now = self._monotonic()
        if now < self._down_until:
            return  # another thread has recorded the same failure
        if not self._failed:
            log.error("%s: the online store does not answer, cached entries stay in use: %s", self._pipeline, why)
        self.failure = why
        rest = min(self._retry_seconds * 2**self._failed, LONGEST_RETRY_SECONDS)
        self._failed = min(self._failed + 1, 30)
        self._down_until = now + rest

    def _keep(self, generation: Generation, read: Mapping[bytes, Any], size: int) -> None:
        with self._changing:
            generation.entries.update(read)
            generation.bytes += size + ENTRY_BYTES * len(read)
            if generation.bytes > self._most_bytes:
                # Drop the oldest half: cheaper than tracking which entries are used.
                oldest = list(generation.entries)
                for key in oldest[: (len(oldest) + 1) // 2]:
                    del generation.entries[key]
                generation.bytes //= 2
