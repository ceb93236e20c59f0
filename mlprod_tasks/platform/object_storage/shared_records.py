"""Records by which processes on several machines share work, as objects of a bucket.

Of two writers of a record one is refused, by a conditional put. A sign of life is an object that its process writes again and
again. How old it is, is told by the service's clock alone: machines' clocks may differ.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlprod_tasks.platform.object_storage.addresses import Place
from mlprod_tasks.platform.object_storage.client import StorageUnreachable, created, listed, telling_why
from mlprod_tasks.platform.object_storage.copies import AT_ONCE

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)
SIGN_EVERY = 20.0  # seconds
DEAD_AFTER = 120.0  # seconds without a sign: some requests are tried again for long
ASK_EVERY = 1.0  # seconds, whether a lock is free
FREE = ".free"


class RecordsInBucket:
    """Records below a folder of object storage.

    A killed process is noticed DEAD_AFTER seconds after its last sign, or when the same worker is at work again. A process that
    was taken to be dead and is not, may write its records: they are refused if another has written them.

    Raises: StorageUnreachable.
    """

    def __init__(self, place: Place, client: ObjectStore, folder: str) -> None:
        self._place, self._client, self._folder = place, client, folder
        self._known: dict[str, bytes] = {}  # what is written never changes
        self._sign = ""

    def create(self, name: str, content: bytes) -> bool:
        with telling_why(self._place, f"write {name} of {self._folder} to"):
            if not created(self._client, f"{self._folder}/records/{name}", content):
                return False
        self._known[name] = content
        return True

    def read(self) -> Mapping[str, bytes]:
        new = self._written("records").keys() - self._known.keys()
        if new:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                self._known |= dict(zip(new, pool.map(lambda name: self._content(f"records/{name}"), new), strict=True))
        return dict(self._known)

    @contextmanager
    def at_work(self, worker: int) -> Iterator[str]:
        for earlier in self._written("alive"):
            if earlier.startswith(f"{worker}-"):  # the same task is tried again, so its process of before has ended
                self._delete(f"alive/{earlier}")
        sign, ended = f"{worker}-{uuid.uuid4().hex}", threading.Event()
        self._put(f"alive/{sign}")
        signing = threading.Thread(target=self._keep_signing, args=(sign, ended), name=f"signs of life of {sign}", daemon=True)
        signing.start()
        self._sign = sign
        try:
            yield sign
        finally:
            self._sign = ""
            ended.set()
            signing.join()
            with _only_logged("its sign of life stays until it is too old"):
                self._delete(f"alive/{sign}")

    def living(self) -> set[str]:
        signs = self._written("alive")
        now = max([self.now(), *signs.values()])
        return {sign for sign, written in signs.items() if now - written < DEAD_AFTER}

    def now(self) -> float:
        return self._clock_began + time.monotonic()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        number = self._lock(name)
        try:
            yield
        finally:
            with _only_logged(f"{name} stays locked until this process ends"):
                self._put(f"locks/{name}/{number}{FREE}")

    def last_locked(self, name: str) -> float:
        return max((at for file, at in self._written(f"locks/{name}").items() if file.endswith(FREE)), default=0.0)

    def _lock(self, name: str) -> int:
        """Wait for a lock and take it. Each time that it is taken has a number; it is free if the newest one was left."""
        while True:
            seen = self._written(f"locks/{name}")
            number = max((int(PurePosixPath(file).stem) for file in seen), default=0)
            if (
                number == 0
                or f"{number}{FREE}" in seen
                or self._content(f"locks/{name}/{number}").decode() not in self.living()
            ):
                with telling_why(self._place, f"lock {name} in"):
                    if created(self._client, f"{self._folder}/locks/{name}/{number + 1}", self._sign.encode()):
                        return number + 1
            else:
                time.sleep(ASK_EVERY)

    @cached_property
    def _clock_began(self) -> float:
        """What the service's clock showed when this machine's monotonic one was at 0: by a second later at most."""
        import obstore

        probe = f"clock/{uuid.uuid4().hex}"
        self._put(probe)
        began = time.monotonic()
        with telling_why(self._place, "read the clock of"):
            written = obstore.head(self._client, f"{self._folder}/{probe}")["last_modified"].timestamp()
        self._delete(probe)
        return written - began

    def _keep_signing(self, sign: str, ended: threading.Event) -> None:
        while not ended.wait(SIGN_EVERY):
            with _only_logged("others may take this process to be dead, and do its work again"):
                self._put(f"alive/{sign}")

    def _written(self, below: str) -> dict[str, float]:
        """The names of the objects below a folder, and when each was written (seconds since 1970, by the service's clock)."""
        prefix = f"{self._folder}/{below}/"
        with telling_why(self._place, f"list {below} of {self._folder} in"):
            found = listed(self._client, prefix)
        return {one["path"].removeprefix(prefix): one["last_modified"].timestamp() for one in found}

    def _content(self, name: str) -> bytes:
        import obstore

        with telling_why(self._place, f"read {name} of {self._folder} in"):
            return bytes(obstore.get(self._client, f"{self._folder}/{name}").bytes())

    def _put(self, name: str) -> None:
        import obstore

        with telling_why(self._place, f"write {name} of {self._folder} to"):
            obstore.put(self._client, f"{self._folder}/{name}", b"")

    def _delete(self, name: str) -> None:
        import obstore

        with telling_why(self._place, f"delete {name} of {self._folder} in"), suppress(FileNotFoundError):
            obstore.delete(self._client, f"{self._folder}/{name}")


@contextmanager
def _only_logged(what_follows: str) -> Iterator[None]:
    try:
        yield
    except StorageUnreachable as error:
        log.warning("%s: %s", error, what_follows)
