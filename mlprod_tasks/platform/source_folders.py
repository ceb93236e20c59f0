"""The folder that a connection names for files: on this machine, or in object storage."""

from __future__ import annotations

import fnmatch
import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from mlprod_tasks.declaration import Files
from mlprod_tasks.platform.files import delete_abandoned, telling_full_disk
from mlprod_tasks.platform.object_storage.addresses import AddressRefused, Place, is_remote, place_at
from mlprod_tasks.platform.object_storage.client import StorageUnreachable, download, listed, store, telling_why
from mlprod_tasks.platform.object_storage.copies import AT_ONCE
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.source_errors import SourceUnreachable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PATTERN_SIGNS = ("*", "?", "[")


class SourceFolder(Protocol):
    """A folder of files."""

    def names_like(self, pattern: str) -> list[str]:
        """The files whose names, relative to the folder, a glob matches; ascending."""

    def readable(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Where they can be read on this machine while the block runs. Raises: SourceUnreachable."""


def source_folder(table: str, source: Files, settings: Settings) -> SourceFolder:
    """The folder of a table's files. Raises: SourceUnreachable."""
    named = settings.connection(source.connection)
    if is_remote(named):
        try:
            place = place_at(named)
        except AddressRefused as error:
            raise SourceUnreachable(f"table {table!r}: connection {source.connection!r}: {error}") from None
        return RemoteFolder(table, place, settings.home / "source_copies")
    folder = Path(named.removeprefix("file://"))
    if not folder.is_dir():
        raise SourceUnreachable(
            f"table {table!r}: connection {source.connection!r} names the folder {folder}, which does not exist. "
            "Mount it, or set the connection to the right folder"
        )
    return LocalFolder(folder)


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def names_like(self, pattern: str) -> list[str]:
        return sorted(os.path.relpath(path, self._folder) for path in glob.glob(str(self._folder / pattern)))

    def readable(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        return nullcontext([self._folder / name for name in names])


class RemoteFolder:
    """A folder in object storage.

    Its files are copied below `scratch` while they are read and deleted then, since they may hold personal data.
    """

    def __init__(self, table: str, place: Place, scratch: Path) -> None:
        self._table, self._place, self._scratch = table, place, scratch
        self._tags: dict[str, str] = {}

    def __str__(self) -> str:
        return self._place.address

    def names_like(self, pattern: str) -> list[str]:
        wanted = os.path.normpath(pattern).split("/")
        fixed = wanted[: next((i for i, part in enumerate(wanted) if _has_signs(part)), len(wanted) - 1)]
        try:
            with telling_why(self._place, "list files in"):
                found = listed(store(self._place), "/".join(fixed) or None)
        except StorageUnreachable as error:
            raise SourceUnreachable(f"table {self._table!r}: {error}") from None
        self._tags = {one["path"]: one["e_tag"] or "" for one in found if _matches(one["path"].split("/"), wanted)}
        return sorted(self._tags)

    @contextmanager
    def readable(self, names: Sequence[str]) -> Iterator[list[Path]]:
        parts = urlsplit(self._place.address)
        self._scratch.mkdir(parents=True, exist_ok=True)
        delete_abandoned(self._scratch)  # of processes that were killed
        folder = self._scratch / f".{self._table}.{uuid.uuid4().hex}.part"
        folder.mkdir(mode=0o700)
        root = folder / parts.netloc / parts.path.lstrip("/")  # a message that names the file shows bucket and folder
        try:
            client = store(self._place)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                copied = list(pool.map(lambda name: self._copy(client, name, root / name), names))
            yield copied
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, client: ObjectStore, name: str, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with telling_full_disk(path), telling_why(self._place, f"read {name} in"):
                download(client, name, path, self._tags[name])
        except StorageUnreachable as error:
            raise SourceUnreachable(f"table {self._table!r}: {error}") from None
        return path


def _has_signs(part: str) -> bool:
    return any(sign in part for sign in PATTERN_SIGNS)


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    """As `glob` does on this machine: a sign matches within a folder, and no dot at the beginning of a name."""
    return len(name) == len(pattern) and all(
        fnmatch.fnmatchcase(part, wanted) and (not part.startswith(".") or wanted.startswith("."))
        for part, wanted in zip(name, pattern, strict=True)
    )
