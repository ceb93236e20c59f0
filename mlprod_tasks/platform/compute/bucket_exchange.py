"""Files of a computation in object storage, below the lake's address: executors reach them as they reach the lake.

A file is put as a whole, so a piece that is computed twice replaces it. A machine holds copies only while it reads or writes
them. A driver deletes its files at the end. Those of a killed one are deleted by the next when nothing was written there for a
day; a driver that lives writes something there every hour.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception, stop_after_attempt

from mlprod_tasks.platform.compute.exchange import FOLDER, ExchangeNotShared, ExchangeUnreachable, Keep
from mlprod_tasks.platform.files import ABANDONED, scratch_folder
from mlprod_tasks.platform.object_storage.addresses import Place, place_at
from mlprod_tasks.platform.object_storage.client import StorageUnreachable, broke_off, download, listed, store, telling_why
from mlprod_tasks.platform.object_storage.copies import AT_ONCE
from mlprod_tasks.platform.object_storage.parquet_parts import download_parts
from mlprod_tasks.platform.object_storage.shared import BELOW
from mlprod_tasks.platform.settings import Settings, from_environment

if TYPE_CHECKING:
    import pyarrow.compute as pc
    from obstore.store import ObjectStore

BEAT = timedelta(hours=1)
ALIVE = ".alive"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BucketExchange:
    """A folder in object storage.

    lake: its address; prefix: the folder below it. Sent to another machine, it is reached by the credentials of that machine.
    """

    lake: str
    prefix: str
    settings: Settings = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reached_here, (self.lake, self.prefix)

    def below(self, folder: str) -> BucketExchange:
        return BucketExchange(self.lake, f"{self.prefix}/{folder}", self.settings)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with self._scratch() as folder:
            path = folder / Path(name).name
            yield path
            self._put(name, path)

    @contextmanager
    def reading(
        self, *names: str, where: pc.Expression | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[list[Path]]:
        with self._scratch() as folder:
            paths = [folder / f"{number}-{Path(name).name}" for number, name in enumerate(names)]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda name, path: self._fetch(name, path, where, columns), names, paths))
            yield paths

    def delete(self, names: Iterable[str]) -> None:
        self._delete([self._key(name) for name in names])

    def lend(self, folder: Path, name: str) -> BucketExchange:
        lent = self.below(name)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                lent._put(str(path.relative_to(folder)), path)
        return lent

    def local(self, keep: Keep) -> Path:
        return keep(self.settings.home, self.fetch_all)

    def in_bucket(self, name: str) -> str:
        return self._key(name)

    def fetch_all(self, folder: Path) -> None:
        """Copy all files to a folder of this machine. Raises: ExchangeNotShared if there is none."""
        names = [key.removeprefix(f"{self.prefix}/") for key in self._written()]
        if not names:
            raise self._not_shared("anything")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._fetch(name, folder / name, None, None), names))

    def delete_abandoned(self) -> None:
        """Delete folders in which nothing was written for so long that their drivers were killed."""
        newest: dict[str, float] = {}
        written = self._written()
        for key, at in written.items():
            newest[self._first(key)] = max(at, newest.get(self._first(key), at))
        oldest = time.time() - ABANDONED.total_seconds()
        self._delete([key for key in written if newest[self._first(key)] < oldest])

    def _first(self, key: str) -> str:
        return key.removeprefix(f"{self.prefix}/").partition("/")[0]

    def delete_all(self) -> None:
        """Delete the folder. If that fails, whoever comes a day later does."""
        try:
            self._delete(list(self._written()))
        except ExchangeUnreachable:
            log.warning("files of a finished computation could not be deleted", exc_info=True)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Within the block, nobody takes the folder for one that was left, however long nothing is written there."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT.total_seconds()):
                with suppress(ExchangeUnreachable):  # there are many more beats to a day
                    self._put(ALIVE, b"")

        beating = threading.Thread(target=beat, name="exchange", daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()

    @cached_property
    def _place(self) -> Place:
        return place_at(self.lake, self.settings.lake_connection())

    @cached_property
    def _client(self) -> ObjectStore:
        return store(self._place)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            with telling_why(self._place, what):
                yield
        except StorageUnreachable as error:
            raise ExchangeUnreachable(str(error)) from None

    def _scratch(self) -> Any:
        return scratch_folder(self.settings.home / FOLDER / "files")

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _put(self, name: str, content: Path | bytes) -> None:
        import obstore

        with self._telling(f"write {self._key(name)} to"):
            obstore.put(self._client, self._key(name), content)

    def _fetch(self, name: str, path: Path, where: pc.Expression | None, columns: Sequence[str] | None) -> None:
        from obstore.exceptions import NotFoundError

        with self._telling(f"read {self._key(name)} in"):
            try:
                _download(self._client, self._key(name), path, where, columns)
            except (FileNotFoundError, NotFoundError):
                raise self._not_shared(name) from None

    def _not_shared(self, name: str) -> ExchangeNotShared:
        return ExchangeNotShared(
            f"another machine wrote {name} to {self._place.address}/{self.prefix}, and it is not there for this one: driver "
            "and executors must reach the same bucket; compare MLPROD_CONNECTION_LAKE, or the endpoint in their environment"
        )

    def _written(self) -> dict[str, float]:
        """All files, and when each was written (seconds since 1970)."""
        with self._telling(f"list {self.prefix} in"):
            found = listed(self._client, f"{self.prefix}/")
        return {one["path"]: one["last_modified"].timestamp() for one in found}

    def _delete(self, keys: list[str]) -> None:
        import obstore

        if not keys:
            return
        with self._telling("delete files in"), suppress(FileNotFoundError):  # another driver deletes them as well
            obstore.delete(self._client, keys)


@retry(retry=retry_if_exception(broke_off), stop=stop_after_attempt(3), reraise=True)
def _download(client: ObjectStore, key: str, path: Path, where: pc.Expression | None, columns: Sequence[str] | None) -> None:
    if where is None and columns is None:
        download(client, key, path)
    else:
        download_parts(client, key, path, where, columns)


def _reached_here(lake: str, prefix: str) -> BucketExchange:
    return BucketExchange(lake, prefix, from_environment({**os.environ, "MLPROD_LAKE": lake}))


@contextmanager
def bucket_exchange(settings: Settings, name: str) -> Iterator[BucketExchange]:
    """See `open_exchange.exchange`. Raises: ExchangeUnreachable."""
    of_all = BucketExchange(settings.lake, f"{BELOW}/{FOLDER}", settings)
    of_all.delete_abandoned()
    made = of_all.below(f"{name}-{uuid.uuid4().hex}")
    try:
        with made.kept_alive():
            yield made
    finally:
        made.delete_all()
