"""Files that steps share, in object storage below the lake's address."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlprod_tasks.platform.files import PART, replacing
from mlprod_tasks.platform.object_storage.addresses import Place
from mlprod_tasks.platform.object_storage.client import download, listed, store, telling_why
from mlprod_tasks.platform.object_storage.copies import AT_ONCE, Copies
from mlprod_tasks.platform.object_storage.shared_folder import SharedFolder
from mlprod_tasks.platform.object_storage.shared_records import RecordsInBucket

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)
BELOW = "_mlprod/shared"  # of the lake's address; no table has such a name
OUTBOX = "outbox"
WORK = "work"


class InBucket:
    """Shared files in object storage.

    A file is put as a whole, so that nobody reads half of one. copies: of files that never change, bounded together with those
    of the lake.
    """

    many_machines = True

    def __init__(self, place: Place, home: Path, copies: Copies) -> None:
        self._place, self._home, self._copies = place, home, copies
        self._kept: ObjectStore | None = None
        self._open: dict[str, SharedFolder] = {}

    @property
    def _client(self) -> ObjectStore:
        self._kept = self._kept or store(self._place)
        return self._kept

    def address(self, name: str) -> str:
        return f"{self._place.address}/{BELOW}/{name}"

    def names(self, folder: str) -> dict[str, datetime]:
        found = {_below(folder, name): written for name, written in self._names(folder).items()}
        return {name: datetime.fromtimestamp(written, UTC) for name, written in found.items() if "/" not in name}

    def share(self, name: str, path: Path) -> None:
        import obstore

        with telling_why(self._place, f"write {name} to"):
            obstore.put(self._client, f"{BELOW}/{name}", path)

    def fetch(self, name: str, path: Path) -> None:
        from obstore.exceptions import NotFoundError

        path.parent.mkdir(parents=True, exist_ok=True)
        with telling_why(self._place, f"read {name} in"):
            try:
                with replacing(path) as part:
                    download(self._client, f"{BELOW}/{name}", part)
            except (FileNotFoundError, NotFoundError):
                path.unlink(missing_ok=True)

    def forget(self, name: str, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._delete([name])

    def forget_old(self, folder: str, after: timedelta) -> None:
        oldest = time.time() - after.total_seconds()
        self._delete([name for name, written in self._names(folder).items() if written < oldest])

    @contextmanager
    def mirrored(self, folder: str, path: Path) -> Iterator[None]:
        there = self._names(folder)
        path.mkdir(parents=True, exist_ok=True)
        here = _files_below(path)
        for name in here - {_below(folder, name) for name in there}:
            (path / name).unlink(missing_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda item: self._mirror(item[0], item[1], path / _below(folder, item[0])), there.items()))
        before = {name: (path / name).stat().st_mtime_ns for name in _files_below(path)}
        try:
            yield
        finally:
            after = {name: (path / name).stat().st_mtime_ns for name in _files_below(path)}
            for name in (name for name in after if after[name] != before.get(name)):
                self.share(f"{folder}/{name}", path / name)
            self._delete([f"{folder}/{name}" for name in before.keys() - after.keys()])

    def outbox(self, folder: str) -> Path:
        return self._home / OUTBOX / folder

    def send(self, folder: str) -> None:
        for path in sorted(self.outbox(folder).glob("[!.]*")):
            self.share(f"{folder}/{path.name}", path)
            path.unlink(missing_ok=True)  # another process of this machine may have sent it as well

    @contextmanager
    def opened(self, folder: str) -> Iterator[None]:
        if folder in self._open:
            yield
            return
        with self._new(folder, is_kept=True) as opened:
            self._open[folder] = opened
            try:
                yield
            except Exception:
                with _not_hiding_the_first_error(folder):
                    opened.save()
                raise
            else:
                opened.save()
            finally:
                del self._open[folder]

    def folder(self, folder: str) -> SharedFolder:
        return self._open.get(folder) or self._new(folder, is_kept=False)

    def records(self, folder: str) -> RecordsInBucket:
        return RecordsInBucket(self._place, self._client, f"{BELOW}/{folder}")

    def _new(self, folder: str, *, is_kept: bool) -> SharedFolder:
        return SharedFolder(self._place, self._client, f"{BELOW}/{folder}", self._copies, self._home / WORK, is_kept)

    def _names(self, folder: str) -> dict[str, float]:
        """The names of the files below a folder, and when each was written (seconds since 1970)."""
        with telling_why(self._place, f"list {folder} in"):
            found = listed(self._client, f"{BELOW}/{folder}/")
        return {one["path"].removeprefix(f"{BELOW}/"): one["last_modified"].timestamp() for one in found}

    def _mirror(self, name: str, written: float, path: Path) -> None:
        if path.exists() and path.stat().st_mtime == int(written):
            return
        self.fetch(name, path)
        with suppress(FileNotFoundError):  # another machine has deleted it
            os.utime(path, (int(written), int(written)))

    def _delete(self, names: list[str]) -> None:
        import obstore

        with telling_why(self._place, "delete files in"):
            for name in names:
                with suppress(FileNotFoundError):
                    obstore.delete(self._client, f"{BELOW}/{name}")


def _below(folder: str, name: str) -> str:
    return name.removeprefix(f"{folder}/")


def _files_below(path: Path) -> set[str]:
    found = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return {str(one) for one in found if not any(PART.fullmatch(part) for part in one.parts)}


@contextmanager
def _not_hiding_the_first_error(folder: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.warning("what was done in %s before the error could not be kept", folder, exc_info=True)
