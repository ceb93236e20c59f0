"""Local copies of files in object storage that never change, such as those of the lake: bounded, the longest unused go first.

DuckDB reads whole files of a tick's size anyway, so a copy costs the first reading nothing, and later ones need no network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from mlprod_tasks.platform.files import PART, locked, replacing, telling_full_disk
from mlprod_tasks.platform.object_storage.addresses import Place
from mlprod_tasks.platform.object_storage.client import download, store, telling_why

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FOLDER = "lake_copies"
AT_ONCE = 8  # downloads
LEFT = 0.8  # of the bound, after the longest unused were deleted


def copies_of(place: Place, home: Path, most_bytes: int) -> Copies:
    """The copies that a machine with this home folder has of files below a place."""
    parts = urlsplit(place.address)
    return Copies(place, home / FOLDER / parts.scheme / parts.netloc / parts.path.lstrip("/"), most_bytes)


class Copies:
    """Copies of the files below a place in object storage, in a folder that processes share.

    most_bytes: the bound of the folder. A file that a process has open stays readable when it is deleted, so what is read at
    the moment may exceed it for a while.
    """

    def __init__(self, place: Place, folder: Path, most_bytes: int) -> None:
        self.place = place
        self.folder = folder
        self.most_bytes = most_bytes
        self._client: ObjectStore | None = None
        self._new_bytes = most_bytes  # of this process since it last looked at the folder: it has not looked yet

    def path(self, address: str) -> Path:
        """Where the copy of a file is, or will be."""
        return self.folder / self._name(address)

    def open(self, address: str) -> BinaryIO:
        """Open the copy of a file, which is made if it is missing.

        Raises: StorageUnreachable, DiskFull.
        """
        path = self.path(address)
        for _ in range(3):  # another process may delete it between the two lines
            self.fetch_one(address)
            with suppress(FileNotFoundError):
                return path.open("rb", buffering=0)
        raise FileNotFoundError(path)

    def place_at(self, address: str, path: Path, *, link: bool) -> None:
        """Put the content of a file to another path of this machine.

        link: it is never changed there, so it may be the same file.

        Raises: StorageUnreachable, DiskFull.
        """
        for _ in range(3):  # another process may delete the copy between the two lines
            self.fetch_one(address)
            with suppress(FileNotFoundError), telling_full_disk(path):
                return _copy(self.path(address), path, link)
        raise FileNotFoundError(self.path(address))

    def keep(self, address: str, path: Path, *, link: bool) -> None:
        """Make what was put to an address from a path of this machine its copy, which nobody needs to fetch then."""
        kept = self.path(address)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept, clean=False) as part:
            _copy(path, part, link)
        self._make_room(path.stat().st_size)

    def fetch(self, addresses: Iterable[str]) -> None:
        """Make the missing copies of files, several at once.

        Raises: StorageUnreachable, DiskFull.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.fetch_one, addresses))

    def _name(self, address: str) -> str:
        return address.removeprefix(self.place.address).lstrip("/")

    def fetch_one(self, address: str) -> None:
        """Make the copy of a file if it is missing."""
        path = self.path(address)
        with suppress(FileNotFoundError):
            os.utime(path)  # when it was last used
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._client = self._client or store(self.place)
        with telling_why(self.place, f"read {self._name(address)} in"), replacing(path, clean=False) as part:
            size = download(self._client, self._name(address), part)
        self._make_room(size)

    def _make_room(self, added: int) -> None:
        """Delete the longest unused copies if there are too many; look only after this process added a tenth of the bound."""
        self._new_bytes += added
        if self._new_bytes < self.most_bytes / 10:
            return
        self._new_bytes = 0
        with suppress(BlockingIOError), locked(self.folder, wait=False):
            kept = sorted((one.st_mtime, one.st_size, path) for path, one in _files(self.folder))
            total = sum(size for _, size, _ in kept)
            if total <= self.most_bytes:
                return
            for _, size, path in kept:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size
                if total <= LEFT * self.most_bytes:
                    return


def _copy(path: Path, to: Path, link: bool) -> None:
    if link:
        os.link(path, to)
    else:
        shutil.copyfile(path, to)


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process has deleted it
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif not PART.fullmatch(entry.name):
                yield entry.path, entry.stat()
